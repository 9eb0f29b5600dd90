"""Playing a scenario's steps with a team on a relay."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from pli_protocol.content import RecordRef

from ..i18n import _
from .relay_process import RelayProcess
from .scenario import (
    Add,
    Attach,
    Detach,
    KillRelay,
    Remove,
    Rename,
    RestartRelay,
    Scenario,
    Send,
    Start,
    Step,
    file_of,
)
from .team import PATIENCE, Team

Tell = Callable[[str], None]


class Play:
    """One performance. `after_kill` is called while the relay is dead."""

    def __init__(
        self,
        scenario: Scenario,
        path: Path,
        team: Team,
        relay: RelayProcess,
        tell: Tell,
        after_kill: Callable[[], None] = lambda: None,
    ) -> None:
        self._scenario, self._path = scenario, path
        self._team, self._relay, self._tell = team, relay, tell
        self._after_kill = after_kill
        self._members: dict[str, set[str]] = {}
        self._in_flight = False

    async def run(self) -> None:
        """All steps, then until everybody has everything and the DUI has answered.

        Raises:
            PliError: a step did not come about.
        """
        steps = self._scenario.steps
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            # What is written just before the kill is on its way when the relay dies.
            self._in_flight = isinstance(following, KillRelay)
            await self._step(step)
        await self._everybody_settled()

    async def _step(self, step: Step) -> None:
        match step:
            case Start():
                await self._start(step)
            case Send():
                await self._send(step)
            case Attach() | Detach():
                await self._record(step)
            case Add() | Remove():
                await self._membership(step)
            case Rename():
                await self._rename(step)
            case KillRelay():
                self._say(_("— the relay is killed (SIGKILL) —"))
                self._relay.kill()
                self._after_kill()
            case RestartRelay():
                await self._relay.start()
                self._say(_("— the relay is back —"))
                await self._everybody_settled()

    async def _start(self, step: Start) -> None:
        player = self._team[step.who]
        others = [self._team[key].client.person.account for key in step.members]
        conversation = await player.client.start(step.title, others)
        self._team.conversations[step.conversation] = conversation.id
        self._members[step.conversation] = {step.who, *step.members}
        await player.client.settled(PATIENCE)
        await self._all_in(step.conversation)
        self._say(_("%(who)s opens “%(title)s”"), who=player.name, title=step.title)

    async def _send(self, step: Send) -> None:
        player = self._team[step.who]
        conversation = await player.conversation(self._team.conversations[step.conversation])
        reply_to = await self._team.message(step.who, step.reply_to) if step.reply_to else None
        sent = await conversation.send(
            step.text,
            record=self._reference(step.record) if step.record else None,
            note_type=step.note_type,
            urgent=step.urgent,
            files=[file_of(name, self._path) for name in step.files],
            reply_to=reply_to,
        )
        if step.id is not None:
            self._team.messages[step.id] = sent.message_id
        if self._relay.running and not self._in_flight:
            await sent.stored(PATIENCE)
        mark = "! " if step.urgent else ""
        self._say(_("%(who)s: %(mark)s%(text)s"), who=player.name, mark=mark, text=step.text)

    async def _record(self, step: Attach | Detach) -> None:
        player = self._team[step.who]
        message = await self._team.message(step.who, step.message)
        record = self._reference(step.record)
        if isinstance(step, Attach):
            sent = await player.client.attach(message, record, step.note_type)
            words = _("%(who)s attaches a message to record %(record)s")
        else:
            sent = await player.client.detach(message, record, step.reason)
            words = _("%(who)s detaches a message from record %(record)s")
        if self._relay.running:
            await sent.stored(PATIENCE)
        self._say(words, who=player.name, record=record.id)

    async def _membership(self, step: Add | Remove) -> None:
        player, other = self._team[step.who], self._team[step.person]
        conversation = await player.conversation(self._team.conversations[step.conversation])
        if isinstance(step, Add):
            await conversation.add(other.client.person.account, timeout=PATIENCE)
            self._members[step.conversation].add(step.person)
            words = _("%(who)s adds %(other)s")
        else:
            await conversation.remove(other.client.person.account, timeout=PATIENCE)
            self._members[step.conversation].discard(step.person)
            words = _("%(who)s removes %(other)s")
        await self._all_in(step.conversation)
        self._say(words, who=player.name, other=other.name)

    async def _rename(self, step: Rename) -> None:
        player = self._team[step.who]
        conversation = await player.conversation(self._team.conversations[step.conversation])
        sent = await conversation.rename(step.title)
        if self._relay.running:
            await sent.stored(PATIENCE)
        self._say(_("%(who)s renames it: “%(title)s”"), who=player.name, title=step.title)

    # --- waiting ------------------------------------------------------------------------------

    async def _all_in(self, conversation: str) -> None:
        """Until every member's vault has the conversation with the same members."""
        wanted = {self._team[key].client.person.person_id for key in self._members[conversation]}
        identifier = self._team.conversations[conversation]
        for key in self._members[conversation]:
            client = self._team[key].client

            async def look(client=client) -> bool | None:  # type: ignore[no-untyped-def]
                known = {c.id: c for c in await client.conversations()}
                if identifier not in known:
                    return None
                members = {m.person_id for m in await known[identifier].members()}
                return members == wanted or None

            await client.until(look, PATIENCE)

    async def _everybody_settled(self) -> None:
        """Until nothing is on its way any more: messages, forwards, receipts."""
        async with asyncio.timeout(2 * PATIENCE):
            while True:
                await asyncio.gather(*(p.client.settled(PATIENCE) for p in self._team.people))
                waiting = [p for p in self._team.people if await self._unfiled(p.key)]
                if not waiting:
                    return
                for player in waiting:
                    await player.client.engine.changed(0.5)

    async def _unfiled(self, key: str) -> bool:
        """Whether this person attached something that the DUI has not answered."""
        client = self._team[key].client
        for usager in self._scenario.usagers:
            for _message, attachment in await client.record(self._reference(usager.key)):
                mine = attachment.attached_by == client.person.person_id
                if mine and attachment.filing == "waiting":
                    return True
        return False

    def _reference(self, usager: str) -> RecordRef:
        return RecordRef(self._scenario.record_system, self._scenario.usager(usager).record)

    def _say(self, words: str, **names: str) -> None:
        text = words % names if names else words
        self._tell("  " + (text if len(text) <= 110 else text[:109] + "…"))
