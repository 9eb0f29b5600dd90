"""A relay that was restored from an old backup: both its logs are whole."""

import sqlalchemy as sa

from pli_protocol.identity import SigningKey
from pli_protocol.relay import frames as f
from pli_server.audit.log_key import load
from pli_server.audit.verifying import Report, verify
from pli_server.backup import timeline
from pli_server.storage.database import Use, writing

from ..conftest import Server
from ..databases import ask
from ..people import TestEstablishment
from ..team import joins, team


async def restored(server: Server) -> int:
    """The database goes on in a new timeline, as after `restore`; its number."""

    def begin(db: sa.Connection) -> int:
        with writing(db):
            return timeline.begin(db, server.clock())

    await server.stop()
    number = ask(server.relay.database, Use.CHANGING, begin)
    await server.start()
    return number


def own_key(server: Server) -> SigningKey:
    key = load(server.folder)
    assert key is not None
    return key


def report(server: Server) -> Report:
    key = own_key(server).public
    return server.read(lambda db: verify(db, "relay.test", key, server.clock()))


async def test_the_logs_of_both_timelines_and_the_rows_chains_are_whole(
    server: Server, home: TestEstablishment
) -> None:
    """Red where the chain of rows is not begun anew with the timeline."""
    anne = await joins(server, home)
    group = await team(anne)
    await group.says(anne)
    await restored(server)
    again = await server.signed(anne.device)
    await again.ask(f.BroughtAll(again.rid()))
    anne.client = again
    await group.says(anne)
    found = report(server)
    assert (found.faults, found.rows) == ([], 3)
