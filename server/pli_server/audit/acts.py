"""What the trace may say: the acts, and the few small facts of each. No name, text, address or key.

The body of an entry is MessagePack of `Entry`. It names an establishment, an account and a device by
their ids, which tell nothing to who has not the relay's tables; a fact is a number, an id, or one of
our own words.
"""

import hashlib
import re
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

Fact = int | bytes | str

_WORD: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_LONGEST: Final = 64
"""Bytes of the longest id: a group's."""


class Act(StrEnum):
    """The classes of entries. A class stays when retention takes the body."""

    SIGN_IN = "sign-in"
    SIGN_IN_FAILED = "sign-in-failed"
    CLONE = "clone"
    FACTORS = "factors"
    """Password and second factor were given, to be linked or to administer."""
    CREDENTIALS = "credentials"
    """They were set up, changed or erased; the fact `what` says which."""
    REGISTRATION = "registration"
    ENROLMENT_ASKED = "enrolment-asked"
    ENROLMENT_ANSWERED = "enrolment-answered"
    AUTHORITY_CHANGE = "authority-change"
    CERTIFICATE = "certificate"
    """A newer certificate of a person; the fact `signed` is the account."""
    REVOCATION = "revocation"
    PARTNER = "partner"
    KEY_PACKAGES_CLAIMED = "key-packages-claimed"
    ACCOUNT_CLOSED = "account-closed"
    LINKING_ASKED = "linking-asked"
    LINKING_ANSWERED = "linking-answered"
    GROUP_CREATED = "group-created"
    GROUP_CHANGED = "group-changed"
    GROUP_REFOUNDED = "group-refounded"
    LEAVE = "leave"
    RETURN = "return"
    MESSAGES = "messages"
    """The rows that one transaction took; its body is a `transparency.Batch`."""
    BLOB_STORED = "blob-stored"
    BLOB_FETCHED = "blob-fetched"
    RETENTION = "retention"
    ADMINISTRATION = "administration"
    """The host's own act, by a command; the fact `what` says which."""
    AUDIT_READ = "audit-read"
    BACKUP = "backup"
    ROWS_BROUGHT = "rows-brought"
    """Rows that a restored relay lacked, by the device that had them."""
    TIMELINE = "timeline"
    """The first entry of a restored relay's log: the last head known of the one before."""


class Entry(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The body of an entry."""

    time: int
    establishment: bytes | None = None
    account: bytes | None = None
    device: bytes | None = None
    facts: dict[str, Any] = {}
    """Of each name a Fact (MessagePack keeps numbers, ids and words apart)."""


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Entry)


def body_of(entry: Entry) -> bytes:
    """The entry's bytes.

    Raises:
        ValueError: a fact is no number, id or word of ours: what came from outside has no place here.
    """
    _check(entry)
    return _encoder.encode(entry)


def read_entry(body: bytes) -> Entry:
    """Raises ValueError where the bytes are no entry's."""
    try:
        entry = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("not the body of an entry") from None
    _check(entry)
    return entry


def blob_name(blob: bytes) -> bytes:
    """How the trace names a blob (16 bytes): its id lets whoever knows it fetch it."""
    return hashlib.sha256(b"pli trace blob v1" + blob).digest()[:16]


def _check(entry: Entry) -> None:
    for name, fact in entry.facts.items():
        if isinstance(fact, str):
            good = _WORD.fullmatch(fact) is not None
        else:
            good = isinstance(fact, int) or (isinstance(fact, bytes) and len(fact) <= _LONGEST)
        if not good:
            raise ValueError(f"the fact {name} of an entry is no number, id or word of ours")
