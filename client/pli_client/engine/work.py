"""One vault transaction as the engine's steps see it: database, groups in memory, what follows.

A step is a plain function `step(work, …)` that runs on the vault's thread inside a transaction. It
loads groups, keeps new values of them, notes events, and leaves frames to send and conversations to
wake. All of that takes effect after the commit; when anything fails, the groups that were touched
are thrown out of memory and read again from the vault (reliability rule 1).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pli_protocol.identity import Device, SigningKey, Trust
from pli_protocol.mls.ciphersuite import SignatureKeyPair
from pli_protocol.mls.codec import decode
from pli_protocol.mls.credential import X509Credential
from pli_protocol.mls.epoch import Member
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.group import Group
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.transparency import SignedHead

from ..connection.requests import Unanswered
from ..store import conversations, events, groups, mls_state, people
from ..vault import Database
from .timing import Timing
from .trust_check import TrustCheck

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Own:
    """This device: who signs, and as whom."""

    device: Device
    key: SigningKey = field(repr=False)

    @property
    def device_id(self) -> bytes:
        return self.device.device_id

    @property
    def person_id(self) -> bytes:
        return self.device.person.person_id

    @property
    def account(self) -> bytes:
        return self.device.person.account

    @property
    def address(self) -> people.Account:
        """The own account, as it is claimed."""
        return people.Account(self.device.person.establishment, self.account)

    @property
    def chain(self) -> tuple[bytes, bytes, bytes]:
        return self.device.chain

    @property
    def signer(self) -> SignatureKeyPair:
        return SignatureKeyPair(self.key.public, self.key.seed)

    @property
    def credential(self) -> X509Credential:
        return X509Credential(self.device.chain)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a transaction finds around it; replaced as a whole where something of it changes."""

    own: Own
    trust: Trust
    timing: Timing
    random: Random = field(repr=False)
    clock_doubtful: bool = False
    """This computer's clock and the relay's differ by more than a day: no end date is acted upon."""


class Work:
    """The view of one transaction."""

    def __init__(self, db: Database, around: Surroundings, memory: Mapping[bytes, Group]) -> None:
        self.db = db
        self.own, self.trust = around.own, around.trust
        self.timing, self.random = around.timing, around.random
        self.now = int(around.timing.clock() * 1000)
        """Milliseconds since 1970, by this computer's clock."""
        self.clock_doubtful = around.clock_doubtful
        self.identity = TrustCheck(around.trust)
        self._memory = memory
        self._values: dict[bytes, Group] = {}
        self.gone: set[bytes] = set()
        self.frames: list[Unanswered] = []
        self.awake: set[bytes] = set()
        self.scrub = False
        self.heads: list[tuple[SignedHead, bytes]] = []
        """Heads of the relay's log that members' messages carried, each with the person."""
        self.newer_lists: dict[bytes, int] = {}
        """By establishment: number of a revocation list that a member knows and this vault does not."""

    @property
    def now_s(self) -> int:
        return self.now // 1000

    @property
    def values(self) -> dict[bytes, Group]:
        """The groups that this transaction changed or read."""
        return self._values

    # --- groups -------------------------------------------------------------------------------

    def load(self, group_id: bytes) -> Group | None:
        """The group's newest value; None when the vault has none, or a damaged one."""
        if group_id in self._values:
            return self._values[group_id]
        if group_id in self.gone:
            return None
        group = self._memory.get(group_id) or self._read(group_id)
        if group is not None:
            self._values[group_id] = group
        return group

    def _read(self, group_id: bytes) -> Group | None:
        entries = mls_state.read_entries(self.db, group_id)
        if not entries:
            return None
        try:
            return Group.from_entries(entries, self.own.signer)
        except (MLSError, ValueError, KeyError):
            return None

    def suite_of(self, group_id: bytes) -> int | None:
        """The suite of a group that is or was held, also when its state is gone."""
        context = mls_state.newest_context(self.db, group_id)
        return None if context is None else decode(GroupContext, context).cipher_suite

    def keep(self, group: Group, changes: Mapping[str, bytes | None]) -> None:
        """Take over a new value of a group."""
        mls_state.write_entries(self.db, group.group_id, changes)
        self._values[group.group_id] = group

    def forget(self, group_id: bytes) -> None:
        """Delete a group's keys; they leave the write-ahead log at once."""
        mls_state.delete_entries(self.db, group_id)
        self._values.pop(group_id, None)
        self.gone.add(group_id)
        self.scrub = True

    def enter_epoch(self, group: Group) -> None:
        """Note what is public of an epoch that begins: its context (for proofs) and members."""
        groups.set_epoch(self.db, group.group_id, group.epoch)
        mls_state.add_epoch(
            self.db,
            group.group_id,
            group.epoch,
            group.context.encoded,
            group.epoch_authenticator,
            self.now,
        )
        leaves = []
        for member in group.members():
            device = self.identity.member(member)
            people.remember_device(self.db, device, self.now)
            leaves.append((int(member.leaf), device.device_id, device.person.person_id))
        groups.write_members(self.db, group.group_id, group.epoch, leaves)

    def device(self, member: Member) -> Device:
        """Who sits at a leaf. Raises ValidationError("credential")."""
        return self.identity.member(member)

    # --- what follows -------------------------------------------------------------------------

    def event(self, conversation_id: bytes | None, kind: str, **body: Any) -> None:
        events.add(self.db, conversation_id, kind, body, self.now)

    def wake(self, conversation_id: bytes) -> None:
        self.awake.add(conversation_id)

    def wake_all(self) -> None:
        self.awake.update(row.id for row in conversations.list_all(self.db, services=True))

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """A part that is undone as a whole when it raises; the rest of the transaction stands."""
        values, gone = dict(self._values), set(self.gone)
        frames, awake, heads = list(self.frames), set(self.awake), list(self.heads)
        self.db.execute("SAVEPOINT attempt")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK TO attempt")
            self.db.execute("RELEASE attempt")
            self._values, self.gone, self.frames, self.awake = values, gone, frames, awake
            self.heads = heads
            raise
        self.db.execute("RELEASE attempt")
