"""Coming back: this device asks to be added again; others' requests are checked and noted."""

from typing import Final

from pli_protocol.identity import Device, ReturnRequest, sign
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.message import peek
from pli_protocol.relay.frames import Position, Row
from pli_protocol.relay.log import RosterChange

from ..store import conversations, groups, log_rows, mls_state, people
from ..store.key_packages import Where
from . import candidates, key_package_stock
from .decisions import lowest_active, when_to_act
from .profile import SUITE, SUITES, ProfileError
from .sending import fail_all
from .work import Work

MAX_AGE: Final = 8 * 86_400
"""Seconds after which a request to return counts no more."""


def trouble(
    work: Work,
    row: groups.GroupRow,
    state: str,
    reason: str,
    *,
    seq: int | None = None,
    culprit: bytes | None = None,
) -> None:
    """This device cannot go on in the group: it sends nothing more from that state, and asks back."""
    groups.set_trouble(work.db, row.group_id, state, reason, at=work.now, seq=seq, culprit=culprit)
    mls_state.drop_pending(work.db, row.group_id)
    work.forget(row.group_id)
    person = people.person_of_device(work.db, culprit) if culprit else None
    work.event(row.conversation_id, "trouble", state=state, reason=reason, culprit=person)
    work.wake(row.conversation_id)


def note_removals(work: Work, row: groups.GroupRow, commit: bytes) -> None:
    """A commit that this device cannot open says whom it removes: never bring these back.

    It may lie; then those who can open it will say so, and the conversation is re-founded with
    everybody. Believing it costs a wait, not believing it would let a removed person in again.
    """
    try:
        change = RosterChange.decode(peek(commit).authenticated_data)
    except (MLSError, ValueError):
        return
    gone = set(change.removed) - set(change.added)
    for device_id in gone:
        groups.drop_member(work.db, row.group_id, device_id)
    if work.own.device_id in gone:
        shut_out(work, row)


def shut_out(work: Work, row: groups.GroupRow) -> None:
    """The conversation goes on without this person; by whom, this device could not read."""
    work.forget(row.group_id)
    groups.set_state(work.db, row.group_id, "removed", row.detail)
    conversations.set_state(work.db, row.conversation_id, "removed")
    fail_all(work, row.conversation_id, "removed")
    work.event(
        row.conversation_id,
        "members",
        by=None,
        added=[],
        removed=[work.own.person_id],
        returned=[],
        time=work.now,
    )


def request(work: Work, group_id: bytes, reason: str) -> bytes:
    """The signed request to be added again, with a fresh key package."""
    row = groups.read(work.db, group_id)
    last = None if row is None else Position(row.timeline, max(row.next_seq - 1, 0))
    number = work.suite_of(group_id)
    used = suite(number) if number in SUITES else SUITE
    package = key_package_stock.make(work, used=used, where=Where.OUT)
    statement = ReturnRequest(
        group_id, work.own.device_id, package.key_package, reason[:200], last, work.now_s
    )
    if row is not None:
        groups.set_asked(work.db, group_id, work.now)
    return sign(statement, work.own.key, work.own.chain)


def asked(work: Work, group_row: groups.GroupRow, row: Row, data: bytes) -> None:
    """A device asks to come back. Raises ProfileError, IdentityError, MLSError: put the row aside."""
    statement, device = _checked(work, group_row, data)
    if log_rows.kept_before(work.db, row, data):
        # The relay repeats an old request: its key package is used, the device would be locked out.
        raise ProfileError("return-repeated")
    members = groups.members(work.db, group_row.group_id)
    group = work.load(group_row.group_id)
    if group is None:
        return
    if device.device_id == work.own.device_id:
        return
    if device.person.person_id not in {m.person_id for m in members}:
        raise ProfileError("return-not-a-member")
    package, candidate = candidates.check(
        work,
        statement.key_package,
        device.person.account,
        # A device that never was in a group of an old suite does not know of it.
        (group.suite.number, SUITE.number),
    )
    if candidate.device_id != device.device_id:
        raise ProfileError("return-key-package")
    keys = {leaf.encryption_key for _, leaf in group.tree.leaves()}
    if package.leaf_node.encryption_key in keys or abs(work.now_s - statement.time) > MAX_AGE:
        raise ProfileError("return-repeated")
    inactive = {device.device_id} | {m.device_id for m in members if m.leaving}
    inactive |= {r.device_id for r in groups.returns(work.db, group_row.group_id)}
    lowest = lowest_active([(m.leaf, m.device_id) for m in members], inactive)
    delay = work.timing.between(work.timing.others_wait)
    due = when_to_act(work.now / 1000, int(group.own_leaf), lowest, delay)
    people.remember_device(work.db, device, work.now)
    groups.add_return(
        work.db,
        group_row.group_id,
        groups.ReturnRow(
            device.device_id,
            device.person.person_id,
            statement.key_package,
            row.position.seq,
            int(due * 1000),
        ),
        statement.reason,
    )
    work.wake(group_row.conversation_id)


def _checked(work: Work, group_row: groups.GroupRow, data: bytes) -> tuple[ReturnRequest, Device]:
    checked = work.trust.verify(data, ReturnRequest)
    device = checked.signer
    if not isinstance(device, Device):
        raise ProfileError("return-signer")
    work.trust.device(device.chain, work.now_s)
    if work.trust.refuses(device) is not None:
        raise ProfileError("return-revoked")
    if checked.statement.group != group_row.group_id:
        raise ProfileError("return-group")
    return checked.statement, device


def lost_state(work: Work, row: groups.GroupRow) -> None:
    """The group's state cannot be read: damaged, or gone.

    What was sealed stays so: its rows may be in the log, and are found there by their send ids.
    """
    trouble(work, row, "lost", "state-unreadable")
