"""Delivering rows: per connection a window of unacknowledged rows.

A session without credit falls *behind* in a group; what it lacks is read from the database when it
acknowledges. A stream exists only while something is unacknowledged or behind, so an idle connection
holds nothing but its place in the rooms.

What another node changed (a membership, a Welcome) is found by looking into the database: `refresh` for
one device, `placed` for a room that reads on. Both may see a change before this node's own answer to it
was handled, so everything here may be told twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import WINDOW, WelcomeWaiting

from .rooms import READ_ROWS, Room
from .storage import reading

if TYPE_CHECKING:
    from .relay import Relay
    from .session import Session

WELCOMES_AHEAD: Final = 16
"""Welcomes that are pushed ahead of their acknowledgements."""


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
        "_welcomes",
        "_welcomes_behind",
        "_welcomes_open",
        "changes",
        "device_no",
        "groups",
        "welcomed",
    )

    def __init__(self, relay: "Relay", session: "Session", device_no: int) -> None:
        self._relay = relay
        self._session = session
        self.device_no = device_no
        self.groups: dict[bytes, int] = {}
        """The groups whose rows are delivered, each with the row after which they are this device's."""
        self.welcomed: tuple[int, int] = (0, 0)
        """What `reading.waiting_welcomes` said when it was looked at last."""
        self.changes = 0
        """Grows with each change of `groups` that this node made."""
        self._streams: dict[bytes, Stream] = {}
        self._behind: dict[bytes, None] = {}
        self._unacked = 0
        self._welcomes: dict[bytes, bool] = {}
        """Those that were pushed; True: not acknowledged."""
        self._welcomes_open = 0
        self._welcomes_behind = False
        self._welcome_added = False
        self._pump: asyncio.Task[None] | None = None

    @property
    def open_streams(self) -> int:
        """Groups of which something is unacknowledged or missing."""
        return len(self._streams)

    def begin(self, memberships: Sequence[reading.Membership], welcomes: bool) -> None:
        """At sign-in: enter the rooms, note what is missing, start to send it."""
        for m in memberships:
            self._join(m)
        self._welcomes_behind = welcomes
        self.resume()

    def refresh(self, memberships: Sequence[reading.Membership], welcomes: bool) -> None:
        """The same later, when another node may have changed something."""
        current = {m.group_id: m for m in memberships}
        for group_id in tuple(self.groups):
            m = current.get(group_id)
            if m is None or m.until is not None:
                self._end(group_id, 0 if m is None or m.until is None else m.until)
            elif m.since > self.groups[group_id]:
                self._restart(m.no, group_id, m.since)
        for m in memberships:
            if m.until is None and m.group_id not in self.groups:
                self._join(m)
        if welcomes:
            self._welcomes_behind = self._welcome_added = True
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
            if seq <= self.groups[room.group_id]:
                return False
            stream = self._streams[room.group_id] = Stream(room.no, seq - 1, seq - 1)
        elif stream.behind or seq <= stream.sent:
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

    def fall_behind(self, room: Room, before: int) -> None:
        """Rows after `before` are in the log: they are read for this connection alone."""
        stream = self._streams.get(room.group_id)
        if stream is None:
            sent = max(before, self.groups[room.group_id])
            if sent >= room.last:
                return
            stream = self._streams[room.group_id] = Stream(room.no, sent, sent)
        stream.behind = True
        self._behind[room.group_id] = None
        self.resume()

    def placed(self, room: Room, place: reading.Place | None) -> None:
        """What the database says of this device in a room that reads on."""
        if place is None or place.until is not None:
            self._end(room.group_id, 0 if place is None or place.until is None else place.until)
        elif place.since > self.groups[room.group_id]:
            self._restart(room.no, room.group_id, place.since)
            self._welcomes_behind = self._welcome_added = True
            self.resume()

    def created(self, no: int, group_id: bytes) -> None:
        """This device opened a group: all its rows follow, from the first commit on."""
        self.changes += 1
        if group_id not in self.groups:
            self._enter(no, group_id, 0, 0)

    def entered(self, no: int, group_id: bytes, since: int) -> None:
        """A commit that was brought put this device on a roster: its Welcome it has, or gets later."""
        self.changes += 1
        self._restart(no, group_id, since)
        self.resume()

    def added(self, no: int, welcome: WelcomeWaiting) -> None:
        """This device was added to a group: its Welcome, then the rows after it."""
        self.changes += 1
        if welcome.item in self._welcomes:
            return
        seq = welcome.position.seq
        room = self._restart(no, welcome.group, seq)
        if self._welcomes_behind or self._welcomes_open >= WELCOMES_AHEAD:
            self._welcomes_behind = self._welcome_added = True
        else:
            self._push_welcome(welcome)
            if room.last <= seq:
                # Nothing waits behind the Welcome: rows are pushed as they come.
                self._forget(welcome.group)
        self.resume()

    def ended(self, group_id: bytes, until: int) -> None:
        """This device's membership ended at a row; what it lacks up to there is still sent."""
        self.changes += 1
        self._end(group_id, until)

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
        if self._welcomes.get(item):
            self._welcomes[item] = False
            self._welcomes_open -= 1
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
        if self._welcomes_open >= WELCOMES_AHEAD:
            return False
        # Behind until they are pushed: a row that is committed meanwhile must not come before them.
        self._welcome_added = False
        # Those under way are among those found: nodes number their Welcomes side by side, so that a
        # smaller number may come later.
        limit = 2 * WELCOMES_AHEAD
        found = await self._relay.readers.run(
            lambda db: reading.welcomes(db, self.device_no, limit)
        )
        new = [welcome for welcome in found if welcome.item not in self._welcomes]
        room = WELCOMES_AHEAD - self._welcomes_open
        for welcome in new[:room]:
            self._begin_behind(welcome)
            self._push_welcome(welcome)
        self._welcomes_behind = len(new) > room or len(found) == limit or self._welcome_added
        return True

    def _begin_behind(self, welcome: WelcomeWaiting) -> None:
        """It may be of a newer membership than this node has heard of: no older row follows it."""
        after, room = self.groups.get(welcome.group), self._relay.rooms.get(welcome.group)
        if after is not None and room is not None and after < welcome.position.seq:
            self._restart(room.no, welcome.group, welcome.position.seq)

    def _push_welcome(self, welcome: WelcomeWaiting) -> None:
        self._welcomes[welcome.item] = True
        self._welcomes_open += 1
        self._session.push(encode(welcome))

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

    # --- places in the rooms ------------------------------------------------------------------

    def _join(self, m: reading.Membership) -> None:
        """Enter the room of a membership, and send what is missing of it."""
        target = m.until
        if target is None:
            target = self._enter(m.no, m.group_id, m.acked, m.last).last
        if m.acked < target:
            self._streams[m.group_id] = Stream(m.no, m.acked, m.acked, True, m.until)
            self._behind[m.group_id] = None

    def _restart(self, no: int, group_id: bytes, since: int) -> Room:
        """A new membership, perhaps after an older one: rows after `since`, behind the Welcome."""
        self._forget(group_id)
        room = self._enter(no, group_id, since, since)
        self._streams[group_id] = Stream(no, since, since, True)
        self._behind[group_id] = None
        return room

    def _end(self, group_id: bytes, until: int) -> None:
        after, room = self.groups.pop(group_id, None), self._relay.rooms.get(group_id)
        if after is None or room is None:
            return
        self._relay.rooms.leave(self._session, group_id)
        stream = self._streams.get(group_id)
        sent = max(after, room.last) if stream is None else stream.sent
        if stream is None and until > sent:
            stream = self._streams[group_id] = Stream(room.no, sent, sent)
        if stream is not None and (stream.behind or until > sent):
            stream.behind, stream.until = True, until
            self._behind[group_id] = None
            self.resume()

    def _enter(self, no: int, group_id: bytes, after: int, last: int) -> Room:
        self.groups[group_id] = after
        return self._relay.rooms.enter(self._session, no, group_id, last)

    def _forget(self, group_id: bytes) -> None:
        stream = self._streams.pop(group_id, None)
        if stream is not None:
            self._unacked -= stream.sent - stream.acked
            self._behind.pop(group_id, None)
