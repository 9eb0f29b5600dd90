"""New groups: a conversation's first, and its successor when the group cannot go on."""

from collections.abc import Collection
from typing import Any

import msgspec

from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.group import Group
from pli_protocol.relay.frames import Position
from pli_protocol.relay.log import FIRST_CHAIN

from ..store import conversations, groups, mls_state, outbox, people
from . import candidates, committing
from .commit_checks import plan_data
from .profile import SUITE, ProfileError, capabilities, group_extensions, lifetime
from .sending import fail_all
from .work import Work

GROUP_ID_SIZE = 32


def start(
    work: Work,
    title: str,
    accounts: Collection[bytes],
    kind: str,
    *,
    service_with: bytes | None = None,
    persons: Collection[bytes] | None = None,
    claimed: list[tuple[bytes, bytes, bytes]] | None = None,
) -> bytes:
    """A new conversation; its group comes about when the relay is there. Returns its id.

    Args:
        persons: person ids of those whom the accounts are to stand for.
        claimed: key packages for it, where they were fetched already.
    """
    conversation_id = work.random(16)
    conversations.add(work.db, conversation_id, title, kind, "starting", work.now)
    body: dict[str, object] = {"accounts": sorted({*accounts, work.own.account})}
    if service_with is not None:
        body["service_with"] = service_with
    if claimed is not None:
        body["claimed"] = [list(entry) for entry in claimed]
    if persons is not None:
        body["persons"] = sorted(persons)
    conversations.add_intent(work.db, conversation_id, "create", body, work.now)
    work.wake(conversation_id)
    return conversation_id


def create(work: Work, intent: conversations.Intent) -> bool:
    """Make the first group of a conversation, pending until the relay has it."""
    conversation_id = intent.conversation_id
    if groups.current(work.db, conversation_id) is not None:
        return False
    adds, accounts = candidates.adds_of(work, intent.body, set(), set())
    wanted: list[Any] = list(intent.body["accounts"])  # type: ignore[call-overload]
    missing = set(wanted) - accounts - {work.own.account}
    reason = candidates.why_nobody(intent.body["claimed"], missing)
    if missing and not adds:
        conversations.fail_intents(work.db, [intent.id], reason)
        conversations.set_state(work.db, conversation_id, "failed")
        fail_all(work, conversation_id, reason)
        work.event(conversation_id, "add-failed", accounts=sorted(missing), reason=reason)
        return True
    if missing:
        work.event(conversation_id, "add-failed", accounts=sorted(missing), reason=reason)
    _found(work, conversation_id, adds, 1, None, (intent.id,))
    return True


def refound(
    work: Work,
    old: groups.GroupRow,
    claimed: list[tuple[bytes, bytes, bytes]],
    culprit: bytes | None,
) -> bool:
    """Make the successor of a group: the same persons, less a culprit's device.

    Only persons that were members as far as this device knows; key packages for others are dropped.
    """
    known = groups.members(work.db, old.group_id)
    if groups.current(work.db, old.conversation_id) != old:
        return False
    persons = {m.person_id for m in known if not m.leaving}
    usable = []
    for account, device_id, data in claimed:
        try:
            _, device = candidates.check(work, data, account)
        except (ProfileError, MLSError):
            continue
        if device.person.person_id in persons and culprit not in (device_id, device.device_id):
            usable.append((account, device_id, data))
    asked = [account for account, _device, _package in usable]
    wanted = {"accounts": asked, "persons": list(persons), "claimed": usable}
    adds, _ = candidates.adds_of(work, wanted, set(), set())
    beside = old.successor is not None
    generation = old.generation + 1
    _found(work, old.conversation_id, adds, generation, old.group_id, (), beside=beside)
    return True


def accounts_of(work: Work, group_id: bytes) -> list[people.Account]:
    """Accounts of a group's members, as far as they are known and not revoked."""
    members = groups.members(work.db, group_id)
    persons = (people.read_person(work.db, m.person_id) for m in members)
    return [person.address for person in persons if person is not None and not person.revoked]


def _found(
    work: Work,
    conversation_id: bytes,
    adds: list[Any],
    generation: int,
    predecessor: bytes | None,
    intents: tuple[int, ...],
    *,
    beside: bool = False,
) -> None:
    group_id = work.random(GROUP_ID_SIZE)
    created = Group.create(
        SUITE,
        group_id,
        work.own.credential,
        work.own.signer,
        lifetime=lifetime(work.now_s),
        capabilities=capabilities(),
        extensions=group_extensions(conversation_id),
        random=work.random,
    )
    committed = committing.commit(work, created.group, adds)
    groups.add(
        work.db,
        group_id,
        conversation_id,
        "creating",
        generation=generation,
        position=Position(0, 0),
        chain=FIRST_CHAIN,
        epoch=0,
        predecessor=predecessor,
        now=work.now,
    )
    work.keep(committed.sent, committed.sent.entries())
    groups.write_members(
        work.db,
        group_id,
        0,
        [(int(created.group.own_leaf), work.own.device_id, work.own.person_id)],
    )
    mls_state.add_pending(
        work.db,
        mls_state.PendingCommit(
            group_id,
            work.random(16),
            0,
            committed.message,
            committed.welcome,
            mls_state.encode_changes(committed.changes),
            plan_data(committed.plan),
            msgspec.msgpack.encode(committing.CommitIntent(intents, bool(adds), beside=beside)),
            None,
            True,
        ),
        work.now,
    )


def abandon(work: Work, group_id: bytes, reason: str) -> None:
    """The relay does not open this group: somebody else's successor was first, or it will not.

    A group whose first commit came back in the log meanwhile is open: nothing is done then.
    """
    row = groups.read(work.db, group_id)
    if row is None or row.state != "creating":
        return
    pending = mls_state.pending(work.db, row.group_id)
    work.forget(row.group_id)
    groups.delete_group(work.db, row.group_id)
    if row.predecessor is None and pending is not None:
        intent = msgspec.msgpack.decode(pending.intent, type=committing.CommitIntent)
        conversations.fail_intents(work.db, list(intent.intents), reason)
        conversations.set_state(work.db, row.conversation_id, "failed")
        fail_all(work, row.conversation_id, reason)
        work.event(row.conversation_id, "change-failed", reason=reason)


def adopt_successor(work: Work, old: groups.GroupRow, successor: bytes) -> None:
    """The old group takes no more; what was sealed for it is looked for in its log, then sealed anew."""
    groups.set_successor(work.db, old.group_id, successor)
    mls_state.drop_pending(work.db, old.group_id)
    if old.state != "closed":
        groups.set_state(work.db, old.group_id, "closed", old.detail or old.state)
    work.wake(old.conversation_id)


def drained(work: Work, old: groups.GroupRow) -> None:
    """The old group's log was read to its end: what is not in it was never stored."""
    outbox.unseal(work.db, old.group_id)
    work.wake(old.conversation_id)
