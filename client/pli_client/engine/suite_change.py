"""A group of an old cipher suite takes nobody in: its conversation is re-founded under today's suite first.

The same persons, by the way that a wedged group takes (`founding.refound`); whoever was to come in is added
to the successor. Nobody is lost by it: while a member person has no device that offers today's suite,
nothing is done and whoever wanted it is told why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pli_protocol.mls.errors import MLSError

from ..store import conversations, groups, people
from ..vault import transaction
from . import candidates, committing, founding
from .profile import ProfileError
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

REFOUND: Final = transaction("refound")

MAX_TRIES: Final = 3
"""Times that the relay may not take the successor before what was wanted fails visibly."""

Claimed = list[tuple[bytes, bytes, bytes]]


class SuiteChange:
    """One conversation's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._made: dict[bytes, int] = {}
        """Successors that were made of a group, which is still the conversation's: others were first."""

    async def make(self, row: groups.GroupRow) -> None:
        """Make the successor, pending, or let fail what asked for it."""
        engine = self._engine
        if self._made.get(row.group_id, 0) >= MAX_TRIES:
            self._made.pop(row.group_id)  # what is wanted later is tried anew
            await engine.write(lambda work: _give_up(work, row, "conflict", []), name=REFOUND)
            return
        accounts = await engine.write(lambda work: founding.accounts_of(work, row.group_id))
        claimed = await engine.claim([*accounts, engine.own.address])

        def step(work: Work) -> bool:
            now = groups.current(work.db, row.conversation_id)
            if now is None or now.group_id != row.group_id or now.state != "active":
                return False
            lacking = left_behind(work, now, claimed)
            if lacking:
                _give_up(work, now, "old-software", lacking)
                return False
            _forget_claims(work, now.conversation_id)
            return founding.refound(work, now, claimed, None)

        if await engine.write(step, name=REFOUND):
            self._made[row.group_id] = self._made.get(row.group_id, 0) + 1


def left_behind(work: Work, row: groups.GroupRow, claimed: Claimed) -> list[bytes]:
    """Accounts of members whom a successor would leave out: none of their devices can be added.

    Args:
        claimed: (account, device, key package) of all members, as the relay answered.
    """
    there = {work.own.person_id}
    for account, _device_id, data in claimed:
        try:
            there.add(candidates.check(work, data, account)[1].person.person_id)
        except (ProfileError, MLSError):
            continue
    staying = {m.person_id for m in groups.members(work.db, row.group_id) if not m.leaving}
    staying -= committing.unwanted(work, row)
    known = (people.read_person(work.db, person_id) for person_id in staying - there)
    return sorted(person.account for person in known if person is not None and not person.revoked)


def _give_up(work: Work, row: groups.GroupRow, reason: str, accounts: list[bytes]) -> None:
    """What was wanted fails visibly; a device that asked to be added asks again by itself."""
    adds = conversations.intents(work.db, row.conversation_id, "add")
    conversations.fail_intents(work.db, [intent.id for intent in adds], reason)
    for asked in groups.returns(work.db, row.group_id):
        if asked.due_at <= work.now:
            groups.drop_return(work.db, row.group_id, asked.device_id)
    if adds:
        work.event(row.conversation_id, "add-failed", accounts=accounts, reason=reason)


def _forget_claims(work: Work, conversation_id: bytes) -> None:
    """Key packages that were fetched for the old group fit the successor no more."""
    for intent in conversations.intents(work.db, conversation_id, "add"):
        body = {name: value for name, value in intent.body.items() if name != "claimed"}
        conversations.rewrite_intent(work.db, intent.id, body)
