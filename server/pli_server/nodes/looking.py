"""Queries by which a node compares the database with its memory: by key, some hundreds of keys at once."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from ..storage import tables as t

T = TypeVar("T")

AT_ONCE: Final = 500
"""Keys in one query, so that no reader is busy for long."""


class GroupNow(NamedTuple):
    """A group's row."""

    group_id: bytes
    last: int
    successor: bytes | None
    roster: int


class DeviceNow(NamedTuple):
    """A device's row."""

    no: int
    session: int
    locked: int | None
    revoked: int | None


class EnrolmentNow(NamedTuple):
    """A request and perhaps its answer."""

    request_id: bytes
    establishment: bytes
    sealed: bytes
    answer: bytes | None


def chunks(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    """The keys, as many at once as one query takes."""
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE]


def groups(db: sa.Connection, numbers: Sequence[int]) -> list[GroupNow]:
    """The groups with these numbers."""
    return [GroupNow(*row) for row in db.execute(_GROUPS, {"keys": list(numbers)})]


def devices(db: sa.Connection, numbers: Sequence[int]) -> list[DeviceNow]:
    """The devices with these numbers."""
    return [DeviceNow(*row) for row in db.execute(_DEVICES, {"keys": list(numbers)})]


def welcomes(db: sa.Connection, numbers: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many Welcomes wait for these devices, and the sum of their numbers: another sum, other Welcomes."""
    return {
        row.device_no: (row[1], int(row[2]))
        for row in db.execute(_WELCOMES, {"keys": list(numbers)})
    }


def revisions(db: sa.Connection) -> dict[bytes, int]:
    """How often each establishment changed."""
    return {row.id: row.revision for row in db.execute(_REVISIONS)}


def enrolments(db: sa.Connection, requests: Sequence[bytes]) -> list[EnrolmentNow]:
    """These requests."""
    return [EnrolmentNow(*row) for row in db.execute(_ENROLMENTS, {"keys": requests})]


def linkings(db: sa.Connection, requests: Sequence[bytes]) -> dict[bytes, bytes]:
    """The letters to those of these requests of further devices that were answered."""
    return {row.request_id: row.answer for row in db.execute(_LINKINGS, {"keys": requests})}


def waiting(db: sa.Connection, establishment: bytes) -> list[bytes]:
    """The requests that wait for an establishment's issuer."""
    return list(db.scalars(_WAITING, {"establishment": establishment}))


# One parameter whatever the number of keys, so that the statement is prepared once. PostgreSQL only, where
# alone nodes share a database.
_ANY = sa.any_(sa.bindparam("keys", type_=ARRAY(sa.BigInteger())))
_GROUPS = sa.select(
    t.groups.c.group_id, t.groups.c.last, t.groups.c.successor, t.groups.c.roster
).where(t.groups.c.no == _ANY)
_DEVICES = sa.select(
    t.devices.c.no, t.devices.c.session, t.devices.c.locked, t.devices.c.revoked
).where(t.devices.c.no == _ANY)
_WELCOMES = (
    sa.select(
        t.welcome_items.c.device_no, sa.func.count(), sa.func.sum(t.welcome_items.c.welcome_no)
    )
    .where(t.welcome_items.c.device_no == _ANY)
    .group_by(t.welcome_items.c.device_no)
)
_REVISIONS = sa.select(t.establishments.c.id, t.establishments.c.revision)
_ENROLMENTS = sa.select(
    t.enrolments.c.request_id,
    t.enrolments.c.establishment,
    t.enrolments.c.sealed,
    t.enrolments.c.answer,
).where(t.enrolments.c.request_id.in_(sa.bindparam("keys", expanding=True)))
_LINKINGS = sa.select(t.linkings.c.request_id, t.linkings.c.answer).where(
    t.linkings.c.request_id.in_(sa.bindparam("keys", expanding=True)),
    t.linkings.c.answer.is_not(None),
)
_WAITING = (
    sa.select(t.enrolments.c.request_id)
    .where(
        t.enrolments.c.establishment == sa.bindparam("establishment"),
        t.enrolments.c.answered.is_(None),
    )
    .order_by(t.enrolments.c.created, t.enrolments.c.request_id)
)
