"""GroupContext: what all members of an epoch agree upon (RFC 9420 §8.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from .ciphersuite import MLS10
from .codec import Reader, Writer
from .errors import CodecError
from .extension import Extension, read_extensions, write_extensions
from .quick import quick


# struct {
#     ProtocolVersion version = mls10;
#     CipherSuite cipher_suite;
#     opaque group_id<V>;
#     uint64 epoch;
#     opaque tree_hash<V>;
#     opaque confirmed_transcript_hash<V>;
#     Extension extensions<V>;
# } GroupContext;
@quick
@dataclass(frozen=True, slots=True)
class GroupContext:
    """The state of a group in one epoch, as every member signs and derives over it.

    The encoding is made once, with the value: every message of the epoch is signed over it.
    """

    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: tuple[Extension, ...] = ()
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def encoded(self) -> bytes:
        """The encoding of the struct."""
        encoded = self._encoded
        if encoded is None:
            encoded = self._encode()
            object.__setattr__(self, "_encoded", encoded)
        return encoded

    def _encode(self) -> bytes:
        w = Writer()
        w.u16(MLS10)
        w.u16(self.cipher_suite)
        w.opaque(self.group_id)
        w.u64(self.epoch)
        w.opaque(self.tree_hash)
        w.opaque(self.confirmed_transcript_hash)
        write_extensions(w, self.extensions)
        return w.getvalue()

    def write(self, w: Writer) -> None:
        """Append the struct of §8.1."""
        w.raw(self.encoded)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §8.1; another protocol version is a CodecError."""
        version = r.u16()
        if version != MLS10:
            raise CodecError(f"GroupContext of version {version}, not mls10", "version", "§8.1")
        return cls(
            cipher_suite=r.u16(),
            group_id=r.opaque(),
            epoch=r.u64(),
            tree_hash=r.opaque(),
            confirmed_transcript_hash=r.opaque(),
            extensions=read_extensions(r),
        )

    def extension(self, extension_type: int) -> bytes | None:
        """The data of the extension of this type, or None."""
        for extension in self.extensions:
            if extension.extension_type == extension_type:
                return extension.extension_data
        return None

    def with_transcript(self, confirmed_transcript_hash: bytes) -> GroupContext:
        """The same context after its commit went into the transcript."""
        return GroupContext(
            self.cipher_suite,
            self.group_id,
            self.epoch,
            self.tree_hash,
            confirmed_transcript_hash,
            self.extensions,
        )
