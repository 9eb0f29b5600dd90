"""What follows a sign-in: key packages, directory, revocations, groups that this device should be in."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pli_protocol.identity import IdentityError
from pli_protocol.relay.frames import (
    AskReturn,
    GetDirectory,
    GetGroups,
    GetRevocations,
    GroupState,
    PublishKeyPackages,
)

from ..connection import Online
from ..errors import Offline, RelayError, RelayRefused
from ..linking.approving import add_when_ready
from ..payloads import from_payload
from ..store import conversations, groups, log_rows, messages, mls_state, outbox, people, repair
from ..store.key_packages import KeyPackageRow
from ..vault import transaction
from . import founding, joining, key_package_stock, refusal, renewal, returning, statements
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

STOCK: Final = transaction("key-packages")
DIRECTORY: Final = transaction("directory")
REVOCATIONS: Final = transaction("revocations")
ASK: Final = transaction("ask-return")

DAY_MS: Final = 86_400_000
LONGEST_MS: Final = 90 * DAY_MS
"""Milliseconds after which no device comes back with what it has (the relay's retention)."""
REPAIR_WINDOW: Final = 8 * 86_400_000
"""Milliseconds for which rows of the log are kept."""


class Housekeeping:
    """One engine's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._asked: dict[bytes, float] = {}
        self._held: int | None = None
        self._heard: dict[bytes, int] = {}
        self._bots_away: dict[bytes, float] = {}
        self.directory_known = False
        self.informed = False
        """What is signed of revocations was asked for since the last sign-in."""

    async def after_sign_in(self, online: Online) -> None:
        """All of it, once; what fails for lack of a connection is done at the next sign-in."""
        signed_in = online.signed_in
        if signed_in is None:
            return
        trust = self._engine.around.trust
        try:
            if signed_in.revocations > trust.head().number:
                await self.fetch_revocations(trust.own.establishment, signed_in.revocations)
            await self.fetch_statements(trust.own.establishment, signed_in.statements)
        finally:
            self.informed = True
        with suppress(Offline):
            await renewal.if_due(self._engine)
            await self._engine.partners.refresh()
            await self.restock(signed_in.key_packages)
            await self._forget_sealed()
            await self.refresh_directory()
            await self.look_for_groups()
            await add_when_ready(self._engine)

    async def _forget_sealed(self) -> None:
        """Ciphertexts of attachments go after the repair window: no relay is restored from before."""
        engine = self._engine
        before = int(engine.timing.clock() * 1000) - REPAIR_WINDOW
        old = await engine.read(lambda db: messages.sealed_before(db, before))
        for _blob, name in old:
            engine.in_vault(name).unlink(missing_ok=True)
        if old:
            blobs = [blob for blob, _name in old]
            await engine.write(lambda work: messages.forget_sealed(work.db, blobs), name=STOCK)

    def package_used(self) -> None:
        """A Welcome came: what lies at the relay runs low without another sign-in, too."""
        if self._held is None:
            return
        self._held = max(self._held - 1, 0)
        self._engine.spawn(self.restock_again(), "pli key packages")

    async def restock_again(self) -> None:
        """Without another sign-in; what fails is done at the next one."""
        with suppress(RelayError):
            await self.restock(self._held or 0)

    async def restock(self, held: int) -> None:
        engine = self._engine
        self._held = held

        def step(work: Work) -> tuple[list[KeyPackageRow], bool]:
            log_rows.forget_rows(work.db, work.now - REPAIR_WINDOW)
            repair.forget(work.db, work.now - REPAIR_WINDOW, work.now - LONGEST_MS)
            for row in groups.all_groups(work.db):
                _forget_closed(work, row)
            return key_package_stock.restock(work, held), key_package_stock.outdated(work)

        rows, outdated = await engine.write(step, name=STOCK)
        if outdated:
            self._held = 0
        for start in range(0, len(rows), 8):
            part, replace = rows[start : start + 8], outdated and start == 0
            plain = tuple(row.key_package for row in part if not row.last_resort)
            last = next((row.key_package for row in part if row.last_resort), None)
            try:
                await engine.connection.request(PublishKeyPackages(0, plain, last, replace))
            except RelayRefused as refused:
                if refused.refusal != "limit":
                    raise
                return  # what lies there stays; tried again at the next sign-in
            await engine.write(
                lambda work, part=part, replaced=replace: key_package_stock.published(  # type: ignore[misc]
                    work, part, replaced=replaced
                )
            )
            self._held += len(plain)

    # --- bots ---------------------------------------------------------------------------------

    def bot_is_away(self, person_id: bytes) -> None:
        """It has no device that could be added; what is for it waits, and holds up nothing."""
        self._bots_away[person_id] = self._engine.timing.clock()

    def may_look_for(self, person_id: bytes) -> bool:
        """Whether to ask for its devices (again)."""
        seen = self._bots_away.get(person_id)
        timing = self._engine.timing
        if seen is not None and timing.clock() - seen < timing.look_for_bot:
            return False
        self._bots_away.pop(person_id, None)
        return True

    @property
    def bots_away(self) -> frozenset[bytes]:
        """Bots that have no device as far as was seen."""
        return frozenset(self._bots_away)

    # --- people -------------------------------------------------------------------------------

    async def refresh_directory(self, partner: bytes | None = None) -> None:
        """Learn who is in the establishment, or in a partner's, from certificates that verify."""
        engine = self._engine
        establishment = partner or engine.around.trust.own.establishment
        after: bytes | None = None
        own: tuple[bytes, ...] | None = None
        while True:
            page = await engine.connection.request(GetDirectory(0, after, partner))

            def step(work: Work, page: object = page) -> None:
                for chain in page.people:  # type: ignore[attr-defined]
                    with suppress(IdentityError):
                        person = work.trust.person(chain)
                        if person.establishment != establishment:
                            continue
                        people.remember_person(
                            work.db, person, chain[1], work.now, in_directory=True
                        )
                        if work.trust.refuses(person) is not None:
                            people.mark_revoked(work.db, establishment, person.person_id, work.now)
                        else:
                            people.count_again(work.db, person.person_id)

            await engine.write(step, name=DIRECTORY)
            own = next(filter(self._newer, page.people), own)
            after = page.after
            if after is None:
                break
        if partner is not None:
            return
        self.directory_known = True
        if own is not None:
            await renewal.take_over(engine, own)
        for intent in await engine.read(lambda db: conversations.intents(db, None, "forward")):
            engine.wake(intent.conversation_id)

    def _newer(self, chain: tuple[bytes, ...]) -> bool:
        """Whether a chain may be this person's with another certificate; to be checked still."""
        person = self._engine.own.device.person
        with suppress(IdentityError):
            found = self._engine.around.trust.person(chain)
            return found.person_id == person.person_id and chain[0] != person.certificate
        return False

    def heard_of(self, establishment: bytes, number: int) -> None:
        """A member knows a newer list: ask for it, once for each that is heard of."""
        if number > self._heard.get(establishment, 0):
            self._heard[establishment] = number
            fetching = self.fetch_revocations(establishment, number)
            self._engine.spawn(fetching, "pli revocations")

    async def fetch_revocations(self, establishment: bytes, number: int) -> None:
        """Take the newest list, one's own or a partner's.

        The relay may lack it, but cannot forge or hide what we know.
        """
        engine = self._engine
        with suppress(RelayError):
            answer = await engine.connection.request(GetRevocations(0, establishment))
            data = None
            if answer.statement is not None:
                data = await from_payload(engine.connection, answer.statement)
            await engine.write(
                lambda work: statements.take_list(work, establishment, data, number),
                name=REVOCATIONS,
            )
            await self._settle_own()

    async def fetch_statements(self, establishment: bytes, newest: int) -> None:
        """What persons stated about their own devices counts before it is listed."""
        state = self._engine.connection.state
        if not isinstance(state, Online) or state.signed_in is None:
            return
        with suppress(RelayError):
            timeline = state.signed_in.timeline
            await statements.fetch(self._engine, timeline, establishment, newest)
            await self._settle_own()

    async def learn_anew(self) -> None:
        """Another authority counts: what was refused under it before is asked for again."""
        state = self._engine.connection.state
        if not isinstance(state, Online) or state.signed_in is None:
            return
        own = self._engine.around.trust.own.establishment
        with suppress(RelayError):
            await self.fetch_revocations(own, state.signed_in.revocations)
            await self.fetch_statements(own, state.signed_in.statements + 1)
            await self.refresh_directory()

    async def _settle_own(self) -> None:
        """This device may be among those that count no more."""
        error = await refusal.settle(self._engine)
        if error is not None:
            self._engine.connection.stop(error)

    # --- groups -------------------------------------------------------------------------------

    async def look_for_groups(self) -> None:
        """Groups on whose roster we are but which the vault does not have, after a grace period."""
        engine = self._engine
        listed = (await engine.connection.request(GetGroups(0))).groups
        await engine.write(lambda work: _note_successors(work, listed))
        if any([await self._unknown(state) for state in listed]):
            await engine.timing.pause(engine.timing.welcome_grace)
            for state in (await engine.connection.request(GetGroups(0))).groups:
                if state.successor is None and await self._unknown(state):
                    await self.ask_return(state.group, "unknown-group")

    async def _unknown(self, state: GroupState) -> bool:
        if await self._engine.read(lambda db: groups.read(db, state.group)) is not None:
            return False
        why = await self._engine.read(lambda db: groups.refused_welcome(db, state.group))
        return why is None or joining.can_be_mended(why)

    def ask_return_soon(self, group_id: bytes, reason: str) -> None:
        async def ask() -> None:
            with suppress(RelayError):
                await self.ask_return(group_id, reason)

        self._engine.spawn(ask(), "pli return")

    async def note_successors(self) -> None:
        """Learn which groups were re-founded."""
        listed = (await self._engine.connection.request(GetGroups(0))).groups
        await self._engine.write(lambda work: _note_successors(work, listed))

    async def ask_return(self, group_id: bytes, reason: str) -> str | None:
        """Ask the members to add this device again; once an hour at most.

        Returns the relay's refusal, if it refused.
        """
        engine = self._engine
        now = engine.timing.clock()
        if now - self._asked.get(group_id, 0.0) < engine.timing.ask_again:
            return None

        def step(work: Work) -> bytes | None:
            row = groups.read(work.db, group_id)
            if row is not None and row.state == "active":
                return None  # a Welcome came meanwhile: to be added again would cost a gap
            return returning.request(work, group_id, reason)

        request = await engine.write(step, name=ASK)
        if request is None:
            return None
        try:
            await engine.connection.request(
                AskReturn(0, group_id, engine.around.random(16), request)
            )
        except RelayRefused as refused:
            return refused.refusal
        self._asked[group_id] = now
        return None

    def may_ask_again(self, group_id: bytes) -> None:
        self._asked.pop(group_id, None)


def _forget_closed(work: Work, row: groups.GroupRow) -> None:
    """A re-founded group's keys are of no use once its successor has lived for a day."""
    successor = None if row.successor is None else groups.read(work.db, row.successor)
    if row.state != "closed" or successor is None:
        return
    since = mls_state.epoch_since(work.db, successor.group_id, successor.epoch)
    open_sends = outbox.unfinished(work.db, row.group_id)
    if since is not None and work.now - since > DAY_MS and not open_sends:
        work.forget(row.group_id)


def _note_successors(work: Work, listed: tuple[GroupState, ...]) -> None:
    for state in listed:
        row = groups.read(work.db, state.group)
        if row is not None and state.successor is not None and row.successor is None:
            founding.adopt_successor(work, row, state.successor)
