"""Delivering rows: rooms of online devices, and per connection a window of unacknowledged rows.

A row that was committed is encoded once and pushed to every session of its room that is up to date and
has credit. A session without credit falls *behind* in that group; what it lacks is read from the
database when it acknowledges. A stream exists only while something is unacknowledged or behind, so an
idle connection holds nothing but its place in the rooms.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import WINDOW, Row, WelcomeWaiting

from .storage import reading
from .storage.transaction import KINDS, Appended

if TYPE_CHECKING:
    from .relay import Relay
    from .session import Session

WELCOMES_AHEAD: Final = 16
"""Welcomes that are pushed ahead of their acknowledgements."""

READ_ROWS: Final = 64
"""Rows that are read at once for one connection."""


class Room:
    """The online devices of one group. `last` is the newest row that was handed to them."""

    __slots__ = ("group_id", "last", "no", "sessions")

    def __init__(self, no: int, group_id: bytes, last: int) -> None:
        self.no = no
        self.group_id = group_id
        self.last = last
        self.sessions: set[Session] = set()


class Rooms:
    """All rooms with somebody in them."""

    def __init__(self) -> None:
        self._rooms: dict[bytes, Room] = {}
        self.published: Counter[str] = Counter()
        """Rows that were committed here, by kind."""
        self.delivered = 0
        """Rows pushed to devices."""

    def __len__(self) -> int:
        return len(self._rooms)

    def get(self, group_id: bytes) -> Room | None:
        return self._rooms.get(group_id)

    def enter(self, session: "Session", no: int, group_id: bytes, last: int) -> Room:
        """Add a session; `last` is the log's newest row in the order of commits."""
        room = self._rooms.get(group_id)
        if room is None:
            room = self._rooms[group_id] = Room(no, group_id, last)
        room.sessions.add(session)
        return room

    def leave(self, session: "Session", group_id: bytes) -> None:
        room = self._rooms.get(group_id)
        if room is not None:
            room.sessions.discard(session)
            if not room.sessions:
                del self._rooms[group_id]

    def publish(self, row: Appended) -> None:
        """Hand a committed row to everybody online."""
        self.published[KINDS[row.kind]] += 1
        room = self._rooms.get(row.group_id)
        if room is None:
            return
        seq = room.last = row.position.seq
        data = encode(as_row(row))
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
    )


@dataclass(slots=True)
class Stream:
    """One group's rows on their way to one device."""

    no: int
    acked: int
    sent: int
    behind: bool = False
    until: int | None = None
    """The device's membership ended at this row; None: it follows the room."""


class Delivery:
    """What one signed-in device was sent and has acknowledged."""

    __slots__ = (
        "_behind",
        "_pump",
        "_relay",
        "_session",
        "_streams",
        "_unacked",
        "_welcome_added",
        "_welcome_after",
        "_welcomes_behind",
        "_welcomes_open",
        "device_no",
        "groups",
    )

    def __init__(self, relay: "Relay", session: "Session", device_no: int) -> None:
        self._relay = relay
        self._session = session
        self.device_no = device_no
        self.groups: set[bytes] = set()
        self._streams: dict[bytes, Stream] = {}
        self._behind: dict[bytes, None] = {}
        self._unacked = 0
        self._welcomes_open: set[bytes] = set()
        self._welcomes_behind = False
        self._welcome_after = 0
        self._welcome_added = False
        self._pump: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        """Groups of which something is unacknowledged or missing."""
        return len(self._streams)

    def begin(self, memberships: Sequence[reading.Membership], welcomes: bool) -> None:
        """At sign-in: enter the rooms, note what is missing, start to send it."""
        for m in memberships:
            if m.until is None:
                self._enter(m.no, m.group_id, m.last)
            target = m.last if m.until is None else m.until
            if m.acked < target:
                self._streams[m.group_id] = Stream(m.no, m.acked, m.acked, True, m.until)
                self._behind[m.group_id] = None
        self._welcomes_behind = welcomes
        self.resume()

    def close(self) -> None:
        """The connection ended."""
        for group_id in self.groups:
            self._relay.rooms.leave(self._session, group_id)
        self.groups.clear()
        if self._pump is not None:
            self._pump.cancel()

    # --- what happens in the log --------------------------------------------------------------

    def offer(self, room: Room, seq: int) -> bool:
        """Whether this new row may be pushed now; if not, it is read later."""
        stream = self._streams.get(room.group_id)
        if stream is None:
            stream = self._streams[room.group_id] = Stream(room.no, seq - 1, seq - 1)
        elif stream.behind:
            return False
        # A group's rows never come before its Welcome, so what waits behind Welcomes waits here too.
        if self._welcomes_behind or self._unacked >= WINDOW or self._session.congested:
            stream.behind = True
            self._behind[room.group_id] = None
            if self._session.congested:
                self.resume()
            return False
        stream.sent = seq
        self._unacked += 1
        return True

    def created(self, no: int, group_id: bytes) -> None:
        """This device opened a group: all its rows follow, from the first commit on."""
        self._enter(no, group_id, 0)

    def added(self, no: int, last: int, welcome: WelcomeWaiting) -> None:
        """This device was added to a group: its Welcome, then the rows after it."""
        self._forget(welcome.group)
        self._enter(no, welcome.group, last)
        seq = welcome.position.seq
        if self._welcomes_behind or len(self._welcomes_open) >= WELCOMES_AHEAD:
            self._welcomes_behind = self._welcome_added = True
            self._streams[welcome.group] = Stream(no, seq, seq, True)
            self._behind[welcome.group] = None
            return
        self._welcomes_open.add(welcome.item)
        self._session.push(encode(welcome))

    def ended(self, group_id: bytes, until: int) -> None:
        """This device's membership ended at a row; what it lacks up to there is still sent."""
        if group_id not in self.groups:
            return
        self.groups.discard(group_id)
        self._relay.rooms.leave(self._session, group_id)
        stream = self._streams.get(group_id)
        if stream is not None and stream.behind:
            stream.until = until

    # --- what the device says -----------------------------------------------------------------

    def acknowledge(self, group_id: bytes, seq: int) -> None:
        """Rows up to `seq` are durable on the device; what it was not sent cannot be acknowledged."""
        stream = self._streams.get(group_id)
        if stream is None:
            return
        seq = min(seq, stream.sent)
        if seq <= stream.acked:
            return
        self._unacked -= seq - stream.acked
        stream.acked = seq
        if stream.acked == stream.sent and not stream.behind:
            del self._streams[group_id]
        self._relay.writer.acknowledge(stream.no, self.device_no, seq)
        if self._behind and self._unacked <= WINDOW // 2:
            self.resume()

    def welcome_used(self, item: bytes) -> None:
        """A Welcome was acknowledged."""
        self._welcomes_open.discard(item)
        if self._welcomes_behind:
            self.resume()

    # --- sending what was missed --------------------------------------------------------------

    def resume(self) -> None:
        """Send what is missing as far as the window allows."""
        if self._pump is None and (self._behind or self._welcomes_behind):
            self._pump = asyncio.create_task(self._run(), name="pli delivery")
            self._pump.add_done_callback(self._stopped)

    def _stopped(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._session.fault(error)

    async def _run(self) -> None:
        try:
            while self._session.open:
                await self._session.drained()
                if self._welcomes_behind:
                    if not await self._send_welcomes():
                        return
                elif self._behind and self._unacked < WINDOW:
                    await self._send_rows(next(iter(self._behind)))
                else:
                    return
        finally:
            # Here, not when the task is found to have ended: nothing may fall behind in between.
            self._pump = None

    async def _send_welcomes(self) -> bool:
        room = WELCOMES_AHEAD - len(self._welcomes_open)
        if room <= 0:
            return False
        # Behind until they are pushed: a row that is committed meanwhile must not come before them.
        self._welcome_added = False
        found = await self._relay.readers.run(
            lambda db: reading.welcomes(db, self.device_no, self._welcome_after, room)
        )
        for no, welcome in found:
            self._welcome_after = max(self._welcome_after, no)
            if welcome.item not in self._welcomes_open:
                self._welcomes_open.add(welcome.item)
                self._session.push(encode(welcome))
        self._welcomes_behind = len(found) == room or self._welcome_added
        return True

    async def _send_rows(self, group_id: bytes) -> None:
        stream = self._streams[group_id]
        target = self._target(group_id, stream)
        limit = min(READ_ROWS, WINDOW - self._unacked)
        after = stream.sent
        rows = await self._relay.readers.run(
            lambda db: reading.rows(db, stream.no, group_id, after, target, limit)
        )
        if self._streams.get(group_id) is not stream:
            return
        for row in rows:
            self._unacked += row.position.seq - stream.sent
            stream.sent = row.position.seq
            self._session.push(encode(row))
        self._relay.rooms.delivered += len(rows)
        if not rows and stream.sent < target:
            # Retention took the rest: the device sees the gap by the numbers.
            self._unacked += target - stream.sent
            stream.sent = target
            self._skip(stream)
        if stream.sent >= self._target(group_id, stream):
            stream.behind = False
            del self._behind[group_id]
            if stream.acked == stream.sent:
                del self._streams[group_id]
        else:
            # Another group's turn.
            del self._behind[group_id]
            self._behind[group_id] = None

    def _skip(self, stream: Stream) -> None:
        """Rows that no longer exist need no acknowledgement."""
        self._unacked -= stream.sent - stream.acked
        stream.acked = stream.sent
        self._relay.writer.acknowledge(stream.no, self.device_no, stream.sent)

    def _target(self, group_id: bytes, stream: Stream) -> int:
        if stream.until is not None:
            return stream.until
        room = self._relay.rooms.get(group_id)
        return stream.sent if room is None else room.last

    def _enter(self, no: int, group_id: bytes, last: int) -> None:
        self.groups.add(group_id)
        self._relay.rooms.enter(self._session, no, group_id, last)

    def _forget(self, group_id: bytes) -> None:
        stream = self._streams.pop(group_id, None)
        if stream is not None:
            self._unacked -= stream.sent - stream.acked
            self._behind.pop(group_id, None)
