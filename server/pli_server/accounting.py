"""`pli-server usage`: what each establishment has, for the host that sells it."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click
import sqlalchemy as sa
from msgspec import Struct

from pli_protocol.identity import verify_authority

from . import settings as setting
from .storage import tables as t
from .storage.database import open_database, read_once

DAY: Final = 86_400


class Used(Struct, frozen=True):
    """Of one establishment; messages and bytes of the days that retention keeps."""

    establishment: str
    name: str
    accounts: int
    devices: int
    messages: int
    message_bytes: int
    file_bytes: int


def used(folder: Path) -> list[Used]:
    """Of all establishments, the largest first; raises OperatorError."""
    settings = setting.load(folder)
    database = open_database(folder, settings.database_url)
    first = int(time.time()) // DAY - settings.retention.days
    found = read_once(database, lambda db: db.execute(_QUERY, {"first": first}).all())
    return sorted(map(_used, found), key=lambda each: -(each.message_bytes + each.file_bytes))


def show(folder: Path, as_json: bool) -> None:
    """A table, or one JSON object."""
    found = used(folder)
    if as_json:
        shown = [{name: getattr(each, name) for name in Used.__struct_fields__} for each in found]
        click.echo(json.dumps({"event": "usage", "establishments": shown}))
        return
    click.echo(
        f"{'accounts':>8} {'devices':>8} {'messages':>10} {'MiB':>9} {'files MiB':>10}  establishment"
    )
    for each in found:
        sizes = f"{each.message_bytes / 2**20:>9.1f} {each.file_bytes / 2**20:>10.1f}"
        counts = f"{each.accounts:>8} {each.devices:>8} {each.messages:>10} {sizes}"
        click.echo(f"{counts}  {each.name} ({each.establishment})")


def _used(row: sa.Row[Any]) -> Used:
    return Used(
        row.id.hex(),
        verify_authority(row.authority).name,
        row.accounts,
        row.devices,
        int(row.messages or 0),
        int(row.bytes or 0),
        int(row.files or 0),
    )


def _counted() -> sa.Select[Any]:
    e, a, d, u = t.establishments.c, t.accounts.c, t.devices.c, t.usage.c
    active = sa.and_(a.establishment == e.id, a.revoked.is_(None))
    of_days = sa.and_(u.establishment == e.id, u.day > sa.bindparam("first"))
    signing_in = sa.and_(d.account_no == a.no, d.revoked.is_(None), d.locked.is_(None), active)

    def total(column: sa.ColumnElement[int]) -> sa.ScalarSelect[Any]:
        return sa.select(sa.func.sum(column)).where(of_days).scalar_subquery()

    def count(condition: sa.ColumnElement[bool], *tables: sa.Table) -> sa.ScalarSelect[Any]:
        return sa.select(sa.func.count()).select_from(*tables).where(condition).scalar_subquery()

    return sa.select(
        e.id,
        e.authority,
        count(active, t.accounts).label("accounts"),
        count(signing_in, t.accounts, t.devices).label("devices"),
        total(u.messages).label("messages"),
        total(u.bytes).label("bytes"),
        total(u.files).label("files"),
    )


_QUERY: Final = _counted()
