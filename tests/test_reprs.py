"""How every class that can hold a secret shows itself, as a snapshot (python -m tests.test_reprs renews it).

The classes are found by their fields' types, so a new one is in it by itself; rows and frames that hold
secrets as plain bytes are named below. Instances are made with fields that say what they are.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pli_client
import pli_protocol
from pli_client.enrolment.beginning import UnderWay
from pli_client.store.access import Access
from pli_client.store.key_packages import KeyPackageRow
from pli_client.store.mls_state import PendingCommit
from pli_client.store.outbox import Outgoing
from pli_protocol.content import FilePart, TextPart
from pli_protocol.identity.enrolment import EnrolmentRequest
from pli_protocol.mls.framing import FramedContent
from pli_protocol.relay.frames import ConfirmToken, SignedIn, SignIn
from pli_protocol.secret import Secret

SNAPSHOT = Path(__file__).parent / "reprs.txt"

PLAIN: dict[type, set[str]] = {
    Access: {"proxy"},
    ConfirmToken: {"token"},
    EnrolmentRequest: {"secret"},
    FilePart: {"key", "name", "description"},
    FramedContent: {"content"},
    KeyPackageRow: {"secrets"},
    Outgoing: {"content", "signed"},
    PendingCommit: {"changes", "message", "welcome"},
    SignIn: {"token"},
    SignedIn: {"token"},
    TextPart: {"text"},
    UnderWay: {"code", "reply_key"},
}
"""Classes whose secrets are no Secrets (databases and MessagePack take plain bytes only)."""


def classes() -> dict[str, type]:
    """Every class of the protocol and the client, by its full name."""
    found = {}
    for package in (pli_protocol, pli_client):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith("__main__"):
                continue
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and value.__module__ == module.name:
                    found[f"{value.__module__}.{value.__qualname__}"] = value
    return found


def types_named(cls: type) -> Iterator[str]:
    """Names of the types of its fields."""
    for base in cls.__mro__:
        for annotation in base.__dict__.get("__annotations__", {}).values():
            text = annotation if isinstance(annotation, str) else repr(annotation)
            yield from re.findall(r"\w+", text)


def is_record(cls: type) -> bool:
    """A class whose repr shows its fields, unless told otherwise."""
    return (
        dataclasses.is_dataclass(cls)
        or issubclass(cls, msgspec.Struct)
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
    )


def bearing() -> dict[str, type]:
    """The records that can hold a secret, themselves or in what they hold."""
    everything = classes()
    names = {cls.__name__ for cls in everything.values() if issubclass(cls, Secret)}
    found: dict[str, type] = {}
    while True:
        more = {
            full: cls
            for full, cls in everything.items()
            if full not in found and is_record(cls) and names & set(types_named(cls))
        }
        if not more:
            break
        found |= more
        names |= {cls.__name__ for cls in more.values()}
    return found | {f"{cls.__module__}.{cls.__qualname__}": cls for cls in PLAIN}


class Stub:
    """A value of another class, which has a line of its own where that matters."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.name}>"


def value_of(cls: type, name: str, annotation: str) -> Any:
    """What stands in a field: something that says what it is."""
    if name in PLAIN.get(cls, ()):
        text = f"SECRET-{name}-SECRET"
        return text if annotation.startswith(("str", "typing.Annotated[str")) else text.encode()
    if re.match(r"(?:\w*Secret|\w*PrivateKey|FileKey|DatabaseKey)\b", annotation):
        return Secret(f"SECRET-{name}-SECRET".encode())
    if annotation.startswith(("bytes", "typing.Annotated[bytes")):
        return f"{name}".encode()
    if annotation.startswith("str"):
        return name
    if annotation.startswith(("int", "typing.Annotated[int")):
        return 7
    if annotation.startswith("bool"):
        return True
    return Stub(annotation.split("[")[0].split("|")[0].strip())


def instance(cls: Any) -> Any:
    """One with every field filled; no constructor runs, since none may look at such values."""
    fields: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in base.__dict__.get("__annotations__", {}).items():
            text = annotation if isinstance(annotation, str) else repr(annotation)
            if "ClassVar" not in text:
                text = re.sub(r"<class '(?:.*\.)?(\w+)'>", r"\1", text)
                fields[name] = re.sub(r"^ForwardRef\('(.*)'(, .*)?\)$", r"\1", text)
    values = {name: value_of(cls, name, text) for name, text in fields.items()}
    if issubclass(cls, tuple):
        return tuple.__new__(cls, [values[name] for name in cls._fields])
    if issubclass(cls, msgspec.Struct):
        return cls(**{name: values[name] for name in cls.__struct_fields__})
    made = object.__new__(cls)
    for field in dataclasses.fields(cls):
        object.__setattr__(made, field.name, values[field.name])
    return made


def snapshot() -> str:
    lines = [f"{full}\n    {instance(cls)!r}" for full, cls in sorted(bearing().items())]
    return "\n".join(lines) + "\n"


def test_every_class_that_can_hold_a_secret_shows_itself_as_it_did() -> None:
    assert snapshot() == SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("full", sorted(bearing()))
def test_no_class_shows_its_secrets(full: str) -> None:
    made = instance(bearing()[full])
    for text in (repr(made), str(made), f"{made}"):
        assert "SECRET" not in text


def test_the_classes_are_found() -> None:
    found = {cls.__name__ for cls in bearing().values()}
    assert {"KeyPackageSecrets", "EpochSecrets", "Group", "Committed", "SigningKey"} <= found
    assert {"DeviceRow", "IssuerKeys", "SealedFile", "Asker", "Invited"} <= found


def test_a_class_that_shows_a_secret_would_be_found() -> None:
    @dataclasses.dataclass
    class Careless:
        key: Secret
        plain: bytes

    made = instance(Careless)
    assert "SECRET" not in repr(made), "a Secret hides itself"
    made.plain = bytes(made.key)
    assert "SECRET" in repr(made)


if __name__ == "__main__":
    SNAPSHOT.write_text(snapshot(), encoding="utf-8")
