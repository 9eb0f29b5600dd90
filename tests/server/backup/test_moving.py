"""A backup of either database is restored into either: a relay moves from the one to the other."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_server.backup import making, restoring
from pli_server.errors import OperatorError
from pli_server.relay import now_ms
from pli_server.settings import FILE_NAME, load
from pli_server.settings_file import template
from pli_server.storage import tables as t
from pli_server.storage.database import Database, Use, open_database
from pli_server.storage.url import DatabaseURL

from ..conftest import Server
from ..databases import ask, drop_database, new_database
from ..people import TestEstablishment, mls
from ..team import joins, team
from .test_backup import KEY, quiet

pytestmark = pytest.mark.needs_postgresql

CHANGED = {"timelines", "groups", "devices", "key_packages", "trace_entries", "trace_trees"}
"""Tables in which a new timeline writes."""


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    def read(db: sa.Connection) -> dict[str, list[tuple[Any, ...]]]:
        return {
            name: sorted((tuple(row) for row in db.execute(sa.select(table))), key=repr)
            for name, table in t.metadata.tables.items()
            if name not in CHANGED
        }

    return ask(database, Use.READING, read)


def refuse(*_: object) -> None:
    raise OperatorError("no timeline")


async def test_a_relay_moves_from_either_database_to_postgresql(
    server: Server, home: TestEstablishment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    for _ in range(300):
        await group.says(a)
    await server.stop()
    settings = load(server.folder)
    before = everything(open_database(server.folder, settings.database_url))

    def back_up() -> making.Made:
        return making.make(server.folder, settings, tmp_path, KEY.public_key, now_ms(), quiet)

    made = await asyncio.to_thread(back_up)
    url = new_database()
    try:
        with monkeypatch.context() as broken:
            broken.setattr("pli_server.backup.timeline._trace", refuse)
            with pytest.raises(OperatorError, match="no timeline"):
                await asyncio.to_thread(
                    restoring.restore,
                    made.path,
                    KEY,
                    tmp_path / "none",
                    now_ms(),
                    quiet,
                    DatabaseURL(url),
                )
        into = tmp_path / "moved"
        await asyncio.to_thread(
            restoring.restore, made.path, KEY, into, now_ms(), quiet, DatabaseURL(url)
        )
        assert everything(open_database(into, DatabaseURL(url))) == before
        with pytest.raises(OperatorError, match="has a relay in it"):
            await asyncio.to_thread(
                restoring.restore,
                made.path,
                KEY,
                tmp_path / "two",
                now_ms(),
                quiet,
                DatabaseURL(url),
            )
        (into / FILE_NAME).write_text(template("relay.test", "127.0.0.1:0", database_url=url))
        moved = Server(into, "")
        await moved.start()
        try:
            client = await moved.signed(a.device, a.client.signed_in.token)
            held = await client.ask(f.BringRows(client.rid(), group.group, 1))
            await client.sends(mls(group.group, group.epoch), held.last_send)
        finally:
            await moved.stop()
    finally:
        await asyncio.to_thread(drop_database, url)
    await server.start()


async def test_a_relay_moves_from_either_database_to_a_file(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await (await team(a, b)).says(a)
    settings = load(server.folder)

    def back_up() -> making.Made:
        return making.make(server.folder, settings, tmp_path, KEY.public_key, now_ms(), quiet)

    made = await asyncio.to_thread(back_up)
    into = tmp_path / "moved"
    await asyncio.to_thread(restoring.restore, made.path, KEY, into, now_ms(), quiet)
    assert restoring.verify(made.path, KEY, tmp_path, quiet).problems == []
    counted = ask(
        open_database(into, None),
        Use.READING,
        lambda db: db.scalar(sa.select(sa.func.count()).select_from(t.rows)),
    )
    assert counted == 2
