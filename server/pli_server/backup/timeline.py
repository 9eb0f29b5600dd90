"""What makes a relay's database the beginning of a new timeline, once it was restored (rule 6)."""

import sqlalchemy as sa

from pli_protocol.relay.log import FIRST_CHAIN
from pli_protocol.transparency import Frontier

from ..audit.acts import Act, Fact
from ..audit.trail import record
from ..storage import tables as t
from ..storage import timelines


def begin(connection: sa.Connection, now: int) -> int:
    """Begin a new timeline in a database that was restored; returns its number.

    The number is the time (milliseconds since 1970): greater than any that was used before, also when
    the same backup is restored twice. Each log's hash chain begins anew. Key packages that may have been
    handed out since are gone, sign-in tokens are forgotten (the first one shown is taken), uploads that
    were under way begin anew, establishment codes that were open may have been used since and are void.
    """
    before = timelines.read(connection).current
    number = max(now, before + 1)
    rows, groups, welcomes = (
        int(connection.scalar(sa.select(sa.func.max(table.c.no))) or 0)
        for table in (t.rows, t.groups, t.welcomes)
    )
    mark = timelines.Mark(number, rows, groups, welcomes, now)
    connection.execute(sa.insert(t.timelines).values(mark._asdict()))
    connection.execute(sa.update(t.groups).values(chain=FIRST_CHAIN))
    connection.execute(
        sa.update(t.key_packages)
        .where(t.key_packages.c.last_resort == 0, t.key_packages.c.claimed.is_(None))
        # The hashes stay, so that none of them is ever published again.
        .values(claimed=now, key_package=None)
    )
    connection.execute(sa.update(t.devices).values(token=None, next_token=None))
    connection.execute(sa.delete(t.blobs).where(t.blobs.c.complete == 0))
    codes = t.establishment_codes
    connection.execute(sa.update(codes).where(codes.c.used.is_(None)).values(used=now))
    _trace(connection, now, number, before)
    return number


def _trace(connection: sa.Connection, now: int, number: int, before: int) -> None:
    """The first entry of the new timeline's log names the last head known of the one before."""
    found = connection.execute(
        sa.select(t.trace_trees).where(t.trace_trees.c.timeline == before)
    ).first()
    frontier = Frontier.decode(found.size, found.frontier) if found is not None else Frontier()
    facts: dict[str, Fact] = {"before": before, "size": frontier.size, "root": frontier.root}
    record(connection, now, number, Act.TIMELINE, None, **facts)
