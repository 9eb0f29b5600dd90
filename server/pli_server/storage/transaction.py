"""One write transaction: many requests, rows gathered and inserted together, one COMMIT."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from pli_protocol.relay.frames import BlobRef, Origin, Payload, Position
from pli_protocol.relay.log import chain_hash

from ..audit.acts import Act, Fact
from ..audit.tally import Tally
from ..audit.trail import Trail
from . import tables as t
from .changes import Changes
from .database import Statements
from .groups import GroupCache, GroupState, Member
from .usage import Amount, Usage

KINDS: Final = {1: "application", 2: "proposal", 3: "commit", 4: "return"}
"""Row kinds: MLS content types (RFC 9420 §6), and the request to return."""

APPLICATION, PROPOSAL, COMMIT, RETURN = 1, 2, 3, 4


class Held(NamedTuple):
    """Where a send was stored before."""

    group_no: int
    seq: int
    chain: bytes
    time: int


@dataclass(frozen=True, slots=True)
class Appended:
    """A row that was appended, as all its receivers get it."""

    group_no: int
    group_id: bytes
    position: Position
    epoch: int
    kind: int
    sender: bytes
    send_id: bytes
    time: int
    payload: Payload
    chain: bytes
    first: Origin | None = None
    """Of a row that was brought: where it stood in an older timeline."""


def pack(payload: Payload) -> tuple[int, bytes]:
    """`is_blob` and `payload` of a row."""
    if isinstance(payload, BlobRef):
        return 1, msgspec.msgpack.encode(payload)
    return 0, payload


def unpack(is_blob: int, payload: bytes) -> Payload:
    """The payload of a row."""
    return msgspec.msgpack.decode(payload, type=BlobRef) if is_blob else payload


class Transaction:
    """What a request sees of the database while it is applied. Belongs to the writer's thread."""

    def __init__(
        self,
        connection: sa.Connection,
        statements: Statements,
        cache: GroupCache,
        *,
        now: int,
        timeline: int,
        usage: Usage,
        shared: bool = False,
        tally: Tally | None = None,
    ) -> None:
        self.connection = connection
        self.now = now
        self.timeline = timeline
        self._statements = statements
        self._cache = cache
        self._shared = shared
        self._locked: set[bytes] = set()
        self._rows: list[tuple[Any, ...]] = []
        self._moved: dict[int, GroupState] = {}
        self._senders: dict[tuple[int, int], Member] = {}
        self._known: dict[tuple[int, bytes], Held] = {}
        self.touched: set[bytes] = set()
        self.usage = usage
        usage.begin(now)
        self.changes = Changes()
        """What other nodes are told after COMMIT."""
        self.trail = Trail(now, timeline, tally)

    # --- groups -------------------------------------------------------------------------------

    def lock(self, group_ids: Collection[bytes], numbers: Collection[int] = ()) -> None:
        """Nobody else changes these groups or their members until the end; what is cached of them is
        as they are. Called once, at the start, with all that the batch is known to need."""
        self._locked.update(group_ids)
        locked = self._statements.lock_groups(group_ids, numbers)
        self._locked.update(group.group_id for group in locked)
        behind = self._cache.compare(locked)
        for group_no, device_no, last_send in self._statements.senders_after(behind):
            self._cache.sent(group_no, device_no, last_send)

    def group(self, group_id: bytes) -> GroupState | None:
        """The group as of the last request applied; None: no such group."""
        self.touched.add(group_id)
        if self._shared and group_id not in self._locked:
            self.lock((group_id,))
        return self._cache.get(self.connection, group_id)

    def adopt(self, group: GroupState) -> None:
        """A group that this transaction made."""
        self.touched.add(group.group_id)
        self._locked.add(group.group_id)
        self._cache.put(group)

    def roster_changed(self, group: GroupState) -> None:
        """Some member's place was written: other nodes read the roster again."""
        group.roster += 1
        self.changes.groups[group.group_id] = group.last
        self._moved[group.no] = group

    # --- the trace ----------------------------------------------------------------------------

    def trace(
        self,
        act: Act,
        establishment: bytes | None,
        *,
        account: bytes | None = None,
        device: bytes | None = None,
        **facts: Fact,
    ) -> None:
        """Note an act that matters; it is in the log with COMMIT. Ids only, no content (audit.acts)."""
        self.trail.note(act, establishment, account, device, facts)

    # --- what other nodes hold in memory ------------------------------------------------------

    def establishment_changed(self, establishment: bytes) -> None:
        """Its certificates, lists, statements or partners: every node reads them again."""
        self.changes.add(Changes(establishments={establishment: 1}))
        self.connection.execute(
            sa.update(t.establishments)
            .where(t.establishments.c.id == establishment)
            .values(revision=t.establishments.c.revision + 1)
        )

    def devices_changed(self, devices: Iterable[int]) -> None:
        """Their memberships or Welcomes: the node at which they are online looks."""
        self.changes.devices.update(devices)

    # --- rows ---------------------------------------------------------------------------------

    def look_up(self, keys: Sequence[tuple[int, bytes]]) -> None:
        """Learn which of these sends (device number, send id) are held already."""
        for sender_no, send_id, *place in self._statements.held(keys):
            self._known[sender_no, send_id] = Held(*place)

    def held(self, device_no: int, send_id: bytes) -> Held | None:
        """Where this send is, if it was stored before; its key was given to `look_up`."""
        return self._known.get((device_no, send_id))

    def append(
        self,
        group: GroupState,
        kind: int,
        sender: Member,
        send_id: bytes,
        payload: Payload,
        *,
        epoch: int | None = None,
        time: int | None = None,
        first: Origin | None = None,
        charged: int | None = None,
    ) -> Appended:
        """Append a row to the group's log; the caller has checked that it may.

        Args:
            epoch, time, first: of a row that was brought; else it is of the group's epoch, and of now.
            charged: the account that brought it; else it counts as its sender's.

        Raises:
            Refusal: limit, its sender or establishment has stored as much as it may.
        """
        is_blob, data = pack(payload)
        spare = kind != APPLICATION or first is not None
        account_no = sender.account_no if charged is None else charged
        self.store(account_no, Amount(1, len(data)), spare=spare)
        seq = group.last + 1
        epoch = group.epoch if epoch is None else epoch
        time = self.now if time is None else time
        position = Position(self.timeline, seq)
        chain = chain_hash(
            group.chain,
            group.group_id,
            position,
            epoch,
            KINDS[kind],
            sender.device_id,
            send_id,
            payload,
        )
        self._rows.append(
            (
                group.no,
                seq,
                epoch,
                kind,
                sender.device_no,
                send_id,
                time,
                chain,
                is_blob,
                data,
                self.trail.batch,
            )
        )
        self.trail.row(chain)
        group.last, group.chain = seq, chain
        self.changes.groups[group.group_id] = seq
        self._moved[group.no] = group
        self._known[sender.device_no, send_id] = Held(group.no, seq, chain, time)
        return Appended(
            group.no,
            group.group_id,
            position,
            epoch,
            kind,
            sender.device_id,
            send_id,
            time,
            payload,
            chain,
            first,
        )

    def store(self, account_no: int, amount: Amount, *, spare: bool = False) -> None:
        """Count what an account stores; raises Refusal "limit" (storage.usage)."""
        self.usage.charge(self.connection, account_no, amount, spare=spare)

    def sent(self, group: GroupState, sender: Member, send_id: bytes) -> None:
        """This send is the sender's last one in the group."""
        sender.last_send = send_id
        self._senders[group.no, sender.device_no] = sender

    def begin_request(self) -> None:
        """A request comes that may be undone alone."""
        self.flush()
        self.touched.clear()
        self.trail.mark()
        self.usage.begin_request()

    def finish(self) -> None:
        """The last step before COMMIT: what was gathered, then the trace of it."""
        self.flush()
        self.usage.write(self._statements)
        self.trail.append(self._statements)

    def flush(self) -> None:
        """Write what was gathered; it is durable with COMMIT only."""
        if self._rows:
            self._statements.insert_rows(self._rows)
        if self._moved:
            self._statements.move_groups(
                [(g.no, g.epoch, g.last, g.chain, g.roster) for g in self._moved.values()]
            )
        if self._senders:
            self._statements.move_senders(
                [(*key, member.last_send) for key, member in self._senders.items()]
            )
        self._rows, self._moved, self._senders = [], {}, {}

    def abandon(self) -> None:
        """A request was refused after it had begun: forget what it gathered, touched and locked."""
        for row in self._rows:
            self._known.pop((row[4], row[5]), None)
        self._rows, self._moved, self._senders = [], {}, {}
        self.trail.undo()
        self.usage.undo_request()
        self._locked -= self.touched
        for group_id in self.touched:
            self._cache.drop(group_id)

    def acknowledge(self, cursors: Iterable[tuple[int, int, int]]) -> None:
        """Move cursors (group, device, seq) forwards; their groups are locked."""
        self._statements.move_cursors(list(cursors))
