"""The commented settings file that `init` writes, made from the settings' own declarations."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from .settings import Settings

WIDTH: Final = 96

_HEAD = """\
# Settings of a Pli relay. Lines that begin with # show the value that holds without them. Any of them
# may come from the environment instead: PLI_LISTEN for `listen`, PLI_LOG_LEVEL for `level` of [log].
"""


def template(
    name: str,
    listen: str,
    certificate: str | None = None,
    key: str | None = None,
    database_url: str | None = None,
) -> str:
    """The settings file of a new relay, with every setting there is."""
    given = {
        "name": name,
        "listen": listen,
        "certificate": certificate,
        "key": key,
        "database_url": database_url,
    }
    parts = [_HEAD, *_values(Settings, given)]
    for field in msgspec.structs.fields(Settings):
        section = type(field.default)
        if issubclass(section, Struct):
            parts.append(f"{_comment(inspect.getdoc(section) or '')}\n[{field.name}]\n")
            # A relay on a port that the system chooses has its figures on another such port.
            chosen = field.name == "metrics" and listen.endswith(":0")
            parts += _values(section, {"listen": "127.0.0.1:0"} if chosen else {})
    return "\n".join(parts)


@functools.cache
def descriptions(section: type[Struct]) -> Mapping[str, str]:
    """Of each setting that has one, the text below its declaration."""
    (declared,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(declared, ast.ClassDef)
    found = {}
    for field, text in zip(declared.body, declared.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(described))),
            ):
                found[name] = inspect.cleandoc(described)
    return found


def _values(section: type[Struct], given: Mapping[str, Any]) -> Iterator[str]:
    described, hints = descriptions(section), get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        if isinstance(field.default, Struct):
            continue
        if field.name in described:
            yield _comment(described[field.name])
        value = given.get(field.name)
        if value is not None:
            yield f"{field.name} = {_toml(value)}\n"
        else:
            default = _example(hints[field.name]) if field.default is None else field.default
            yield f"# {field.name} = {_toml(default)}\n"


def _comment(text: str) -> str:
    paragraph = " ".join(text.split())
    return textwrap.fill(paragraph, WIDTH, initial_indent="# ", subsequent_indent="# ")


def _example(hint: Any) -> Any:
    """What stands behind the # of a setting that has no value by itself."""
    if isinstance(meta := next(iter(getattr(hint, "__metadata__", ())), None), Meta):
        return (meta.examples or [""])[0]
    return next((found for part in get_args(hint) if (found := _example(part))), "")


def _toml(value: Any) -> str:
    """A string, number, truth value or list of these: in TOML they are written as in JSON."""
    return msgspec.json.encode(value).decode()
