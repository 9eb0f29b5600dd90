"""docs/validation.md lists the rules that the code enforces, and each is tested."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pli_protocol.mls

ROOT = Path(__file__).parents[3]
MODULES = Path(pli_protocol.mls.__file__).parent
TABLE = ROOT / "docs" / "validation.md"
ERRORS = {"ValidationError", "GenerationError", "WrongEpochError", "UnknownGroupError"}
RULE = re.compile(r"[a-z]+(-[a-z]+)*")


def rules_in_the_code() -> set[str]:
    """What these errors are made with, and what is handed to a function as its `rule`."""
    rules = set()
    for module in MODULES.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            found: ast.expr | None = None
            match node:
                case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in ERRORS:
                    found = first
                case ast.Call(func=ast.Name(id="check_encryption_key"), args=[_, _, rule]):
                    found = rule
                case ast.FunctionDef(name="check_encryption_key"):
                    found = node.args.defaults[-1]
            if isinstance(found, ast.Constant):
                rules.add(str(found.value))
    return rules


def rules_in_the_table() -> list[str]:
    return re.findall(r"^\| `([a-z-]+)` \|", TABLE.read_text(), re.MULTILINE)


def test_the_table_has_every_rule_once() -> None:
    listed = rules_in_the_table()
    assert len(set(listed)) == len(listed)
    assert set(listed) == rules_in_the_code()


def test_rules_are_short_ids() -> None:
    assert all(RULE.fullmatch(rule) for rule in rules_in_the_code())


def test_every_rule_is_named_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    # As `refused(member, "rule")`, as `pytest.raises(…, match="^rule")`, or as a parameter.
    missing = [rule for rule in rules_in_the_code() if f'"{rule}"' not in tests]
    missing = [rule for rule in missing if not re.search(rf'["^]{rule}\b', tests)]
    assert missing == []
