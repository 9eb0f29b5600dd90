"""Extensions (RFC 9420 §13): typed opaque data in leaves, key packages, GroupContext, GroupInfo."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from .codec import Reader, Writer
from .errors import ValidationError
from .quick import quick


# uint16 ExtensionType;
class ExtensionType(IntEnum):
    """The registry's types that RFC 9420 defines (§17.3)."""

    APPLICATION_ID = 0x0001
    RATCHET_TREE = 0x0002
    REQUIRED_CAPABILITIES = 0x0003
    EXTERNAL_PUB = 0x0004
    EXTERNAL_SENDERS = 0x0005
    LAST_RESORT = 0x000A
    """From the MLS extensions document; marks a key package that may be used more than once."""


DEFAULT_EXTENSIONS: Final = frozenset(range(0x0001, 0x0006))
"""Types that every client has; they are not listed in capabilities (§7.2)."""

DEFAULT_PROPOSALS: Final = frozenset(range(0x0001, 0x0008))
"""Proposal types that every client has; they are not listed in capabilities (§7.2)."""


# struct {
#     ExtensionType extension_type;
#     opaque extension_data<V>;
# } Extension;
@quick
@dataclass(frozen=True, slots=True)
class Extension:
    """An extension; unknown types (GREASE among them) are carried as they are."""

    extension_type: int
    extension_data: bytes

    def write(self, w: Writer) -> None:
        w.u16(self.extension_type)
        w.opaque(self.extension_data)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.u16(), r.opaque())


def read_extensions(r: Reader) -> tuple[Extension, ...]:
    """Extension extensions<V>."""
    return r.vector(Extension.read)


def write_extensions(w: Writer, extensions: Sequence[Extension]) -> None:
    """Extension extensions<V>."""
    w.structs(extensions)


def find_extension(extensions: Sequence[Extension], extension_type: int) -> bytes | None:
    """The data of the extension of that type, or None."""
    for extension in extensions:
        if extension.extension_type == extension_type:
            return extension.extension_data
    return None


def check_unique(extensions: Sequence[Extension]) -> None:
    """A list has at most one extension of a type (§13.4)."""
    types = [extension.extension_type for extension in extensions]
    if len(set(types)) != len(types):
        raise ValidationError("extensions-duplicate", "§13.4")


# struct {
#     ExtensionType extension_types<V>;
#     ProposalType proposal_types<V>;
#     CredentialType credential_types<V>;
# } RequiredCapabilities;
@quick
@dataclass(frozen=True, slots=True)
class RequiredCapabilities:
    """What every member of the group must support (§11.1)."""

    extension_types: tuple[int, ...] = ()
    proposal_types: tuple[int, ...] = ()
    credential_types: tuple[int, ...] = ()

    def write(self, w: Writer) -> None:
        for types in (self.extension_types, self.proposal_types, self.credential_types):
            w.vector(types, Writer.u16)

    @classmethod
    def read(cls, r: Reader) -> Self:
        return cls(r.vector(Reader.u16), r.vector(Reader.u16), r.vector(Reader.u16))
