"""Whether nothing is left to do: all that was queued is stored, all that the relay has was received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pli_protocol.relay.frames import GetGroups, GroupState

from ..errors import Offline, RelayRefused
from ..store import conversations, groups, mls_state, outbox, people
from ..vault import Database
from . import joining

if TYPE_CHECKING:
    from .engine import Engine


async def is_settled(engine: Engine) -> bool | None:
    """True, or None while something is left; waits for the connection, and asks the relay once."""
    if not engine.online:
        await engine.until_online(None)
    if await _busy(engine):
        return None
    try:
        listed = (await engine.connection.request(GetGroups(0))).groups
    except (RelayRefused, Offline):  # the connection was lost just now, perhaps on purpose
        return None
    if any([await _missing(engine, state) for state in listed]):
        return None
    return None if await _busy(engine) else True


async def _busy(engine: Engine) -> bool:
    away = engine.housekeeping.bots_away
    if not (engine.housekeeping.informed and engine.repair.ready):
        return True
    return not engine.inflow.idle or await engine.read(lambda db: _waits(db, away))


async def _missing(engine: Engine, state: GroupState) -> bool:
    """The relay has a group, or rows of one, that this device ought to have and has not."""
    if not state.member:
        return False

    def look(db: Database) -> bool:
        row = groups.read(db, state.group)
        if row is not None:
            return row.state == "active" and row.next_seq <= state.last
        why = groups.refused_welcome(db, state.group)
        # Somebody's attempt to draw us into a group was refused: nothing is to come of it.
        refused = why is not None and not joining.can_be_mended(why)
        return state.successor is None and not refused

    return await engine.read(look)


def _waits(db: Database, away: frozenset[bytes]) -> bool:
    if outbox.busy(db):
        return True
    bots = people.bots(db)
    bot_there = bool(bots) and bots[0].person_id not in away
    if any(i.kind != "forward" or bot_there for i in conversations.intents(db, None)):
        return True
    return any(
        row.state in ("creating", "refused", "lost")
        or mls_state.pending(db, row.group_id) is not None
        for row in groups.all_groups(db)
    )
