"""Rooms: the online devices of each group, and the newest row that was handed to them.

A row that this node committed is encoded once and pushed to everybody in its room. With several nodes
it may come before an earlier row of another node was heard of: then the room *lacks* rows, and what it
lacks is read from the database, with the places of its devices, since a commit among those rows may have
changed them. So each room hands its rows out in the order of the log, whatever was heard first.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import GroupRefounded, Row

from .storage import reading
from .storage.faults import describe
from .storage.transaction import KINDS, Appended

if TYPE_CHECKING:
    from .relay import Relay
    from .session import Session

log = logging.getLogger(__name__)

READ_ROWS: Final = 64
"""Rows that are read at once, for a room or for one connection."""

RETRY_SECONDS: Final = 1.0


class Room:
    """The online devices of one group."""

    __slots__ = ("group_id", "heard", "last", "no", "refounded", "roster", "sessions")

    def __init__(self, no: int, group_id: bytes, last: int) -> None:
        self.no = no
        self.group_id = group_id
        self.last = last
        """The newest row that was handed to them."""
        self.heard = last
        """The newest row that is known to be in the log."""
        self.roster = -1
        """The state of the group's members that was looked at last: `groups.roster`."""
        self.refounded = False
        """They were told of the group's successor."""
        self.sessions: set[Session] = set()


class Rooms:
    """All rooms with somebody in them."""

    def __init__(self, relay: "Relay") -> None:
        self._relay = relay
        self._rooms: dict[bytes, Room] = {}
        self._lacking: dict[bytes, Room] = {}
        self._reading: asyncio.Task[None] | None = None
        self.published: Counter[str] = Counter()
        """Rows that were committed here, by kind."""
        self.delivered = 0
        """Rows pushed to devices."""

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, group_id: bytes) -> Room | None:
        return self._rooms.get(group_id)

    def __iter__(self) -> Iterator[Room]:
        return iter(self._rooms.values())

    def enter(self, session: "Session", no: int, group_id: bytes, last: int) -> Room:
        """Add a session; `last` is the log's newest row as far as it knows."""
        room = self._rooms.get(group_id)
        if room is None:
            room = self._rooms[group_id] = Room(no, group_id, last)
        room.sessions.add(session)
        self.hear(room, last)
        return room

    def leave(self, session: "Session", group_id: bytes) -> None:
        room = self._rooms.get(group_id)
        if room is not None:
            room.sessions.discard(session)
            if not room.sessions:
                del self._rooms[group_id]

    def publish(self, row: Appended) -> None:
        """Hand a committed row to everybody online, or note that it is there."""
        self.published[KINDS[row.kind]] += 1
        room = self._rooms.get(row.group_id)
        if room is None:
            return
        if row.position.seq == room.last + 1:
            self._hand_out(room, as_row(row))
        else:
            self.hear(room, row.position.seq)

    def hear(self, room: Room, seq: int) -> None:
        """There is a row `seq` in the log: what the room lacks up to there is read."""
        room.heard = max(room.heard, seq)
        if room.heard > room.last:
            self._lacks(room)

    def look(self, room: Room, last: int, roster: int) -> None:
        """The group's row says this now; what is new of it is read."""
        if last > room.last or roster != room.roster:
            self._lacks(room)

    def _lacks(self, room: Room) -> None:
        self._lacking[room.group_id] = room
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="pli rooms")

    def refound(self, room: Room, successor: bytes) -> None:
        """Tell everybody in the room, once, that its group was re-founded."""
        if not room.refounded:
            room.refounded = True
            for session in tuple(room.sessions):
                session.answer(GroupRefounded(room.group_id, successor))

    def close(self) -> None:
        """The relay stops."""
        if self._reading is not None:
            self._reading.cancel()

    # --- reading what another node wrote --------------------------------------------------------

    async def _read(self) -> None:
        try:
            while self._lacking:
                _, room = self._lacking.popitem()
                if not await self._catch_up(room):
                    # A room made anew meanwhile may lack rows too: it comes first.
                    self._lacking.setdefault(room.group_id, room)
        finally:
            self._reading = None

    async def _catch_up(self, room: Room) -> bool:
        """Whether the room has all that was heard of, or nobody is in it any more."""
        if self._rooms.get(room.group_id) is not room:
            return True
        known = {s: s.delivery.changes for s in room.sessions if s.delivery is not None}
        after = room.last
        try:
            now = await self._relay.readers.run(
                lambda db: reading.room(
                    db, room.no, room.group_id, after, READ_ROWS, [s.device_no for s in known]
                )
            )
        except Exception as error:
            log.error("reading for a room failed: %s", describe(error))
            await asyncio.sleep(RETRY_SECONDS)
            return False
        for session in tuple(room.sessions):
            # Whoever came meanwhile, or was changed by this node, may be another than was read.
            if session.delivery is None or known.get(session) != session.delivery.changes:
                return False
        for session in tuple(room.sessions):
            assert session.delivery is not None
            session.delivery.placed(room, now.places.get(session.device_no))
        room.roster = now.roster
        if now.last > after:
            self._take(room, now.rows, after, min(now.last, after + READ_ROWS))
        return max(room.heard, now.last) <= room.last

    def _take(self, room: Room, rows: Sequence[Row], after: int, until: int) -> None:
        dense = [row.position.seq for row in rows] == list(range(after + 1, after + 1 + len(rows)))
        if not rows or not dense:
            # Retention took some: each connection finds out by itself what there is.
            before, room.last = room.last, max(room.last, until)
            for session in tuple(room.sessions):
                if session.delivery is not None:
                    session.delivery.fall_behind(room, before)
            return
        for row in rows:
            if row.position.seq == room.last + 1:
                self._hand_out(room, row)

    def _hand_out(self, room: Room, row: Row) -> None:
        seq = room.last = row.position.seq
        data = encode(row)
        for session in room.sessions:
            delivery = session.delivery
            if delivery is not None and delivery.offer(room, seq):
                session.push(data)
                self.delivered += 1


def as_row(row: Appended) -> Row:
    """The frame of a row."""
    return Row(
        row.group_id,
        row.position,
        row.epoch,
        KINDS[row.kind],
        row.sender,
        row.send_id,
        row.time,
        row.payload,
        row.chain,
        row.first,
    )
