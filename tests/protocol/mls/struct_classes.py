"""Every struct of the package, found by looking: classes with `write` and `read`, and pairs of functions."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import pli_protocol.mls
from pli_protocol.mls.codec import Reader, Writer

Read = Callable[[Reader], Any]
Write = Callable[[Writer, Any], None]


def modules() -> list[ModuleType]:
    """All modules of pli_protocol.mls."""
    package = pli_protocol.mls
    return [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]


def struct_classes() -> dict[str, type[Any]]:
    """Classes that are encoded by a method `write` and decoded by a class method `read`, by name."""
    return {
        name: value
        for module in modules()
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and callable(getattr(value, "write", None))
        and callable(getattr(value, "read", None))
        # Protocols and the codec itself.
        and is_dataclass(value)
    }


def struct_functions() -> dict[str, tuple[Read, Write]]:
    """Structs that are encoded by functions `write_x(w, value)`, `read_x(r)`, by x."""
    found = {}
    for module in modules():
        for name, read in vars(module).items():
            if not name.startswith("read_") or read.__module__ != module.__name__:
                continue
            write = getattr(module, "write_" + name.removeprefix("read_"), None)
            if write is None or len(inspect.signature(read).parameters) != 1:
                continue
            found[name.removeprefix("read_")] = (read, write)
    return found


def structs_within(value: object, seen: set[int] | None = None) -> Iterator[Any]:
    """Every struct that a value holds, itself among them, however deep."""
    seen = set() if seen is None else seen
    if id(value) in seen or isinstance(value, bytes | str | int | type):
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for item in value.values():
            yield from structs_within(item, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from structs_within(item, seen)
    elif is_dataclass(value):
        if type(value).__name__ in struct_classes():
            yield value
        for field in fields(value):
            yield from structs_within(getattr(value, field.name), seen)
