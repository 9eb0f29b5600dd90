"""The house's rules that a program can check: first lines, names, what each package may import."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "pli_protocol": ROOT / "protocol/pli_protocol",
    "pli_client": ROOT / "client/pli_client",
    "pli_server": ROOT / "server/pli_server",
}
# What a distribution on the index is called when imported, where the names differ.
IMPORT_NAMES = {
    "argon2-cffi": "argon2",
    "pynacl": "nacl",
    "nats-py": "nats",
    "sqlalchemy": "sqlalchemy",
}


def modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGES[package].rglob("*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


def dependencies(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = list(project["dependencies"])
    for extra in extras:
        listed += project["optional-dependencies"][extra]
    names = set()
    for line in listed:
        name = line.split(";")[0].split(">")[0].split("[")[0].strip().lower()
        names.add(IMPORT_NAMES.get(name, name.replace("-", "_")))
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_in_its_first_line_what_it_is(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path, tree in modules(package)
        if not ast.get_docstring(tree)
    ]
    assert silent == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_has_a_name_that_says_nothing(package: str) -> None:
    empty_names = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [str(p) for p, _ in modules(package) if p.stem in empty_names] == []


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("pli_protocol", {"msgspec", "cryptography", "nacl", "argon2"}),
        ("pli_client", dependencies() | {"pli_protocol", "pli_client"}),
        ("pli_server", dependencies("server") | {"pli_protocol", "pli_server"}),
    ],
)
def test_each_package_imports_only_what_its_installation_brings(
    package: str, allowed: set[str]
) -> None:
    """Plain `pli` is the client library and the command line: nothing of the extras may be needed."""
    known = set(sys.stdlib_module_names) | allowed | {package}
    foreign = {
        f"{path.relative_to(ROOT)}: {name}"
        for path, tree in modules(package)
        for name in imported(tree) - known
    }
    assert foreign == set()


def test_the_demonstration_asks_only_for_what_the_extra_brings() -> None:
    from pli_client.cli.demo import RELAY_NEEDS

    assert set(RELAY_NEEDS) <= dependencies("server") - dependencies()
