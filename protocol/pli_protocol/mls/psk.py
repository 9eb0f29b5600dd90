"""Pre-shared keys and how they enter the key schedule (RFC 9420 §8.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from ..secret import Secret
from .ciphersuite import CipherSuite
from .codec import Reader, Writer
from .errors import CodecError, UsageError, ValidationError
from .labels import expand_with_label


# enum {
#   reserved(0),
#   external(1),
#   resumption(2),
#   (255)
# } PSKType;
class PSKType(IntEnum):
    """Where a pre-shared key comes from."""

    EXTERNAL = 1
    RESUMPTION = 2


# enum {
#   reserved(0),
#   application(1),
#   reinit(2),
#   branch(3),
#   (255)
# } ResumptionPSKUsage;
class ResumptionPSKUsage(IntEnum):
    """What the resumption secret of an epoch is used for."""

    APPLICATION = 1
    REINIT = 2
    BRANCH = 3


# struct {
#   PSKType psktype;
#   select (PreSharedKeyID.psktype) {
#     case external:
#       opaque psk_id<V>;
#     case resumption:
#       ResumptionPSKUsage usage;
#       opaque psk_group_id<V>;
#       uint64 psk_epoch;
#   };
#   opaque psk_nonce<V>;
# } PreSharedKeyID;
@dataclass(frozen=True, slots=True)
class PreSharedKeyID:
    """Names one pre-shared key; make it with `external` or `resumption`."""

    psktype: PSKType
    psk_nonce: bytes
    psk_id: bytes = b""
    usage: ResumptionPSKUsage | None = None
    psk_group_id: bytes = b""
    psk_epoch: int = 0

    @classmethod
    def external(cls, psk_id: bytes, psk_nonce: bytes) -> Self:
        """A key that the application hands out under an id of its own."""
        return cls(PSKType.EXTERNAL, psk_nonce, psk_id=psk_id)

    @classmethod
    def resumption(
        cls, usage: ResumptionPSKUsage, group_id: bytes, epoch: int, psk_nonce: bytes
    ) -> Self:
        """The resumption secret of a group's epoch."""
        return cls(
            PSKType.RESUMPTION, psk_nonce, usage=usage, psk_group_id=group_id, psk_epoch=epoch
        )

    def write(self, w: Writer) -> None:
        """Append the struct of §8.4."""
        w.u8(self.psktype)
        if self.usage is None:
            w.opaque(self.psk_id)
        else:
            w.u8(self.usage)
            w.opaque(self.psk_group_id)
            w.u64(self.psk_epoch)
        w.opaque(self.psk_nonce)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §8.4; unknown types and usages are CodecErrors."""
        psktype = r.u8()
        if psktype == PSKType.EXTERNAL:
            return cls.external(r.opaque(), r.opaque())
        if psktype != PSKType.RESUMPTION:
            raise CodecError(f"unknown PSKType {psktype}", "enum", "§8.4")
        usage = r.u8()
        if usage not in (1, 2, 3):
            raise CodecError(f"unknown ResumptionPSKUsage {usage}", "enum", "§8.4")
        return cls.resumption(ResumptionPSKUsage(usage), r.opaque(), r.u64(), r.opaque())


PskLookup = Mapping[bytes, bytes] | Callable[[PreSharedKeyID], bytes | None]
"""Pre-shared keys at hand: external ones by their id, or a function for any kind."""


def find_psk(psks: PskLookup, psk: PreSharedKeyID) -> Secret:
    """The key of this id. Raises ValidationError("psk-unknown") when it is not at hand (§12.4.2)."""
    if callable(psks):
        value = psks(psk)
    elif psk.psktype == PSKType.EXTERNAL:
        value = psks.get(psk.psk_id)
    else:
        value = None
    if value is None:
        raise ValidationError("psk-unknown", "§12.4.2")
    return Secret(value)


# struct {
#     PreSharedKeyID id;
#     uint16 index;
#     uint16 count;
# } PSKLabel;
def _psk_label(psk: PreSharedKeyID, index: int, count: int) -> bytes:
    w = Writer()
    psk.write(w)
    w.u16(index)
    w.u16(count)
    return w.getvalue()


def psk_secret(suite: CipherSuite, psks: Sequence[tuple[PreSharedKeyID, bytes]]) -> Secret:
    """The one secret made of all pre-shared keys, in the order of the commit.

    Without any it is Nh zero bytes. More than 65535 is a UsageError.
    """
    if len(psks) > 0xFFFF:
        raise UsageError("more than 65535 pre-shared keys", "sender-psk-count", "§8.4")
    zero = bytes(suite.hash_size)
    secret: bytes = zero
    for index, (psk, value) in enumerate(psks):
        extracted = suite.hkdf_extract(zero, value)
        psk_input = expand_with_label(
            suite, extracted, "derived psk", _psk_label(psk, index, len(psks)), suite.hash_size
        )
        secret = suite.hkdf_extract(psk_input, secret)
    return Secret(secret)
