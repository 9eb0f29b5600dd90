"""docs/validation.md lists the rules that the code enforces; each has its code and its test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import pli_protocol.mls

ROOT = Path(__file__).parents[3]
MODULES = Path(pli_protocol.mls.__file__).parent
TESTS = Path(__file__).parent
TABLE = ROOT / "docs" / "validation.md"

RULE_AT = {
    "ValidationError": 0,
    "GenerationError": 0,
    "WrongEpochError": 0,
    "UnknownGroupError": 0,
    "CodecError": 1,
    "UsageError": 1,
}
"""At which argument of an error its rule stands."""
KEY_CHECK = "check_encryption_key"
"""Is handed the rule to raise."""
RULE = re.compile(r"[a-z]+(-[a-z]+)*")
CLAUSE = re.compile(r"§\d+(\.\d+)*(, §\d+(\.\d+)*)*")


class Row(NamedTuple):
    rule: str
    clause: str
    refused: str
    code: str
    test: str


def table() -> list[Row]:
    lines = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [Row(*(cell.strip().strip("`") for cell in line.split("|")[1:-1])) for line in lines]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Functions and methods by their qualified names; those within functions count as these."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from functions(node, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield prefix + node.name, node


def rules_in(tree: ast.AST) -> set[str]:
    """What the errors made here are made with, or what is handed on to be raised."""
    rules = set()
    for node in ast.walk(tree):
        found: ast.expr | None = None
        match node:
            case ast.Call(func=ast.Name(id=name), args=args) if len(args) > RULE_AT.get(name, 99):
                found = args[RULE_AT[name]]
            case ast.Call(func=ast.Name(id=name), args=[_, _, rule]) if name == KEY_CHECK:
                found = rule
            case ast.FunctionDef(name=name) if name == KEY_CHECK:
                found = node.args.defaults[-1]
        if isinstance(found, ast.Constant):
            rules.add(str(found.value))
    return rules


def rules_in_the_code() -> set[str]:
    return set().union(*(rules_in(tree_of(path)) for path in MODULES.glob("*.py")))


def test_the_table_has_every_rule_once() -> None:
    listed = [row.rule for row in table()]
    assert len(set(listed)) == len(listed)
    assert set(listed) == rules_in_the_code()


def test_rules_are_short_ids() -> None:
    assert all(RULE.fullmatch(rule) for rule in rules_in_the_code())


@pytest.mark.parametrize("row", table(), ids=lambda row: row.rule)
def test_a_row_has_its_clause_code_and_test(row: Row) -> None:
    assert CLAUSE.fullmatch(row.clause), row.clause
    assert row.refused
    module, _, name = row.code.partition(":")
    code = dict(functions(tree_of(MODULES / f"{module}.py")))
    raised = name in code and row.rule in rules_in(code[name])
    assert raised, f"{row.code} does not raise {row.rule}; {where_raised(row.rule)} does"
    module, _, name = row.test.partition(":")
    tests = tree_of(TESTS / f"{module}.py")
    assert name in dict(functions(tests)), f"{row.test} does not exist"
    assert name.startswith("test_")
    assert row.rule in words_of(tests, dict(functions(tests))[name]), f"{row.test} does not name it"


def where_raised(rule: str) -> list[str]:
    """What could stand in the table."""
    return [
        f"{path.stem}:{name}"
        for path in sorted(MODULES.glob("*.py"))
        for name, function in functions(tree_of(path))
        if rule in rules_in(function)
    ]


def words_of(module: ast.Module, test: ast.AST) -> set[str]:
    """The words of the strings of a test, and of the tables of the modules that it may use."""
    tables = [node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    if any(isinstance(node, ast.ImportFrom) and node.level for node in module.body):
        shared = tree_of(TESTS / "test_rules_of_leaves.py")
        tables += [node for node in shared.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    words: set[str] = set()
    for root in (test, *tables):
        for node in ast.walk(root):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words.add(node.value)
    return words


def test_the_page_says_where_the_tests_are() -> None:
    assert "tests/protocol/mls/test_validation_table.py" in TABLE.read_text()
