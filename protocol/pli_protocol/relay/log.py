"""What both ends compute over a group's log: the hash chain, challenges, a commit's roster change."""

import hashlib
import struct

import msgspec

from .frames import BlobRef, Id16, Payload, Position

FIRST_CHAIN = bytes(32)
"""The chain before the first row of a log."""


def payload_hash(payload: Payload) -> bytes:
    """SHA-256 of a payload's bytes (32 bytes); a blob's is in its reference, to be checked on fetch."""
    if isinstance(payload, BlobRef):
        return payload.sha256
    return hashlib.sha256(payload).digest()


def chain_hash(
    previous: bytes,
    group: bytes,
    position: Position,
    epoch: int,
    kind: str,
    sender: bytes,
    send_id: bytes,
    payload: Payload,
) -> bytes:
    """The log's chain at a row (32 bytes): it fixes this row and all before it.

    SHA-256("pli log v1" || previous || len(group) || group || timeline || seq || epoch ||
    len(kind) || kind || sender || send_id || SHA-256(payload)), numbers as 8 bytes big-endian,
    lengths as 1 byte.
    """
    name = kind.encode()
    return hashlib.sha256(
        b"".join(
            (
                b"pli log v1",
                previous,
                struct.pack(">B", len(group)),
                group,
                struct.pack(">QQQB", position.timeline, position.seq, epoch, len(name)),
                name,
                sender,
                send_id,
                payload_hash(payload),
            )
        )
    ).digest()


def sign_in_challenge(relay: str, challenge: bytes, token: bytes | None) -> bytes:
    """What a device or an issuer signs to sign in, bound to the relay's name."""
    return b"\0".join((b"pli sign-in v1", relay.encode(), challenge + (token or b"")))


def registration_challenge(relay: str, challenge: bytes, code: str) -> bytes:
    """What the issuer signs to open an establishment on a relay."""
    return b"\0".join((b"pli registration v1", relay.encode(), challenge + code.encode()))


def refusal_challenge(relay: str, challenge: bytes) -> bytes:
    """What a device signs to be told why it is refused."""
    return b"\0".join((b"pli refusal v1", relay.encode(), challenge))


class RosterChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """The AAD of a commit: the devices it adds and removes, for routing. MessagePack array.

    A device id is the first 16 bytes of SHA-256 of the device's signature key. A device that is
    re-added (Remove and Add in one commit, new leaf) stands in both. Clients refuse a commit whose
    AAD is not exactly its change.
    """

    added: tuple[Id16, ...] = ()
    removed: tuple[Id16, ...] = ()

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "RosterChange":
        """Raises ValueError where the bytes are not exactly one roster change."""
        try:
            change = msgspec.msgpack.decode(data, type=cls)
        except (msgspec.DecodeError, RecursionError):
            raise ValueError("not a roster change") from None
        if change.encode() != data:
            raise ValueError("a roster change must be encoded canonically")
        return change


def device_id(signature_key: bytes) -> bytes:
    """The 16-byte id of the device that holds this signature key."""
    return hashlib.sha256(signature_key).digest()[:16]
