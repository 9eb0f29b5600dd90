"""The device before it has a certificate: its keys and its request, durable before anything is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pli_protocol.identity import Invitation, SigningKey
from pli_protocol.identity.enrolment import ReplyKey

from ..vault import Database, Vault, transaction
from .errors import AlreadyEnrolled, BadInvitation

BEGIN = transaction("enrolment-begin")


class UnderWay(msgspec.Struct, frozen=True, array_like=True):
    """An enrolment that began: what the vault keeps of it. Secret."""

    version: Literal[1]
    code: str
    request_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    reply_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    sealed: bytes | None = None

    def __repr__(self) -> str:
        return "UnderWay(…)"


@dataclass(frozen=True, slots=True)
class Asker:
    """The device before it has a certificate."""

    identity: SigningKey
    device: SigningKey
    under_way: UnderWay
    relay_name: str | None
    ca: str | None
    proxy: str | None = field(repr=False)
    table: Literal["device", "rejoining"] = "device"
    """Where the vault keeps it."""

    @property
    def invitation(self) -> Invitation:
        return Invitation.parse(self.under_way.code)


async def begin(
    vault: Vault,
    invitation: Invitation | None,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
    clock: Callable[[], float],
    random: Callable[[int], bytes],
) -> Asker:
    """The keys and the request's id, durable before the first byte is sent."""

    def work(db: Database) -> Asker:
        row: tuple[object, ...] | None = db.execute(
            "SELECT identity_key, signature_key, chain, enrolment, ca_file, proxy, relay_name"
            " FROM device"
        ).fetchone()
        if row is not None and row[2] is not None:
            raise AlreadyEnrolled()
        _settle(db, relay_name, ca, proxy)
        begun = None if row is None or row[3] is None else _read(row[3])
        if (
            row is not None
            and begun is not None
            and (invitation is None or begun.code == invitation.text())
        ):
            return _asker(row, begun, relay_name, ca, proxy)
        if invitation is None:
            raise BadInvitation("empty")
        under_way = UnderWay(
            1, invitation.text(), random(16), bytes(ReplyKey.generate(random).private)
        )
        if row is None:
            row = (random(32), random(32), None, None, ca, proxy, relay_name)
            db.execute(
                """INSERT INTO device (one, relay_url, relay_name, ca_file, proxy, identity_key,
                    signature_key, enrolment, created_at) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    invitation.relay,
                    relay_name,
                    ca,
                    proxy,
                    row[0],
                    row[1],
                    msgspec.msgpack.encode(under_way),
                    int(clock() * 1000),
                ),
            )
        else:
            db.execute(
                "UPDATE device SET relay_url = ?, enrolment = ?",
                (invitation.relay, msgspec.msgpack.encode(under_way)),
            )
        return _asker(row, under_way, relay_name, ca, proxy)

    return await vault.write(work, name=BEGIN)


def _settle(db: Database, relay_name: str | None, ca: str | None, proxy: str | None) -> None:
    """What a later attempt gives stays too: the first may have failed for want of it."""
    db.execute(
        """UPDATE device SET relay_name = coalesce(?, relay_name), ca_file = coalesce(?, ca_file),
            proxy = coalesce(?, proxy)""",
        (relay_name, ca, proxy),
    )


def _asker(
    row: tuple[object, ...],
    under_way: UnderWay,
    relay_name: str | None,
    ca: str | None,
    proxy: str | None,
) -> Asker:
    identity, device, _chain, _enrolment, kept_ca, kept_proxy, kept_name = row
    assert isinstance(identity, bytes)
    assert isinstance(device, bytes)
    return Asker(
        SigningKey.from_seed(identity),
        SigningKey.from_seed(device),
        under_way,
        relay_name or _text(kept_name),
        ca or _text(kept_ca),
        proxy or _text(kept_proxy),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _read(data: object) -> UnderWay:
    assert isinstance(data, bytes)
    return msgspec.msgpack.decode(data, type=UnderWay)
