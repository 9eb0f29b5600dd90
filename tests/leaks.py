"""Where a secret must not stand: walks values, formats what breaks, and searches for parts of secrets."""

from __future__ import annotations

import ast
import dataclasses
import re
import traceback
from base64 import b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec

from pli_protocol.secret import Secret

PART = 8
"""Bytes of a secret that are enough to call it shown."""

LONGEST = 64

_OPAQUE = (str, bytes, int, float, bool, type(None), type, ModuleType, FunctionType)
_SKIPPED = (MethodType, BuiltinFunctionType, property)


def reachable(*roots: Any, inside: str = "pli_") -> Iterator[Any]:
    """Every object that can be reached from these, through fields, attributes and containers.

    Objects of other packages than ours are yielded, but not entered.
    """
    seen: set[int] = set()
    keep: list[Any] = []  # so that no id is used twice
    waiting = list(roots)
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        keep.append(value)
        yield value
        waiting.extend(_parts(value, inside))


def _parts(value: Any, inside: str) -> Iterable[Any]:
    if isinstance(value, (*_OPAQUE, *_SKIPPED)):
        return ()
    if isinstance(value, Mapping):
        return [*value.keys(), *value.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, BaseException):
        return [*value.args, *vars(value).values(), value.__cause__, value.__context__]
    if not type(value).__module__.startswith((inside, "tests.")):
        return ()
    parts: list[Any] = list(getattr(value, "__dict__", {}).values())
    names: set[str] = set()
    if dataclasses.is_dataclass(value):
        names |= {field.name for field in dataclasses.fields(value)}
    if isinstance(value, msgspec.Struct):
        names |= set(value.__struct_fields__)
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        names |= {slots} if isinstance(slots, str) else set(slots)
    parts += [getattr(value, name) for name in names if hasattr(value, name)]
    return parts


def secrets_in(*roots: Any) -> set[bytes]:
    """Whatever is marked as secret in these values; not whole records, which hold public parts too."""
    marked = (bytes(value) for value in reachable(*roots) if isinstance(value, Secret))
    return {value for value in marked if PART <= len(value) <= LONGEST}


def parts_of(secrets: Collection[bytes], public: bytes) -> set[bytes]:
    """What must not be shown of them: parts that do not stand in what everybody may see."""
    parts = {
        secret[at : at + PART]
        for secret in secrets
        for at in range(0, len(secret) - PART + 1, PART)
    }
    return {part for part in parts if len(set(part)) > 3 and part not in public}


def shown(*roots: Any) -> str:
    """How every object in these values shows itself, in all the ways that a log could use."""
    texts: dict[str, None] = {}
    for value in reachable(*roots):
        if isinstance(value, str):
            continue  # a text is what it is; those that hold secrets must be hidden by their owners
        if type(value) is bytes or isinstance(value, dict | list | tuple):
            continue  # shown by whoever holds it
        for text in (repr(value), str(value), f"{value!s}"):
            texts[text] = None
    return "\n".join(texts)


def plain_bytes(*roots: Any) -> bytes:
    """All bytes in these values that are not marked as secret."""
    return b"\0\0".join({value for value in reachable(*roots) if type(value) is bytes})


def what_breaks(action: Callable[[], Any]) -> tuple[str, BaseException | None]:
    """The report of a crash reporter, with all variables, of what this raises."""
    try:
        action()
    except Exception as error:
        return report(error), error
    return "", None


def report(error: BaseException) -> str:
    """What a crash reporter writes down: the traceback with all variables, and the errors' own words."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    chain = [error, error.__cause__, error.__context__]
    words = [f"{e!r} {e!s} {e.args!r} {getattr(e, '__notes__', '')!r}" for e in chain if e]
    return "\n".join([*told.format(), *words])


_LITERAL = re.compile(r"""b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*\"""")
_HEX = re.compile(r"[0-9a-fA-F]{16,}")
_SPACED_HEX = re.compile(r"(?:[0-9a-fA-F]{2}[ :]){7,}[0-9a-fA-F]{2}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}")


def bytes_in(text: str) -> Iterator[tuple[str, bytes]]:
    """All bytes that a reader of the text could take from it, with how they are written there."""
    for written in set(_LITERAL.findall(text) + _LITERAL.findall(text.replace("\\\\", "\\"))):
        with suppress(ValueError, SyntaxError):
            yield written, ast.literal_eval(written)
    for written in set(_HEX.findall(text)):
        for start in range(2):
            digits = written[start:]
            yield written, bytes.fromhex(digits[: len(digits) // 2 * 2])
    for written in set(_SPACED_HEX.findall(text)):
        yield written, bytes.fromhex(written.replace(":", " "))
    for written in set(_BASE64.findall(text)):
        for start in range(4):
            letters = written[start:].replace("-", "+").replace("_", "/")
            yield written, b64decode(letters[: len(letters) // 4 * 4])


def leaks(text: str, parts: Collection[bytes], seen: set[str] | None = None) -> list[str]:
    """Which parts of secrets stand in the text, as bytes, in hexadecimal or in base64.

    `seen` remembers what was found harmless, for many texts with the same parts.
    """
    found = []
    for written, data in bytes_in(text):
        if seen is not None and written in seen:
            continue
        for at in range(len(data) - PART + 1):
            if data[at : at + PART] in parts:
                start = text.rfind("\n", 0, text.find(written)) + 1
                found.append(f"{text[start:][:90]} … {written[:200]}")
                break
    if seen is not None and not found:
        seen.update(written for written, _ in bytes_in(text))
    return found


def leaks_of_bytes(data: bytes, parts: Collection[bytes]) -> list[str]:
    """Which parts of secrets stand in these bytes."""
    return [part.hex() for part in parts if part in data]
