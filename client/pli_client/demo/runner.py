"""`pli demo` from beginning to end: build it all, play the scenario, close it, count."""

import asyncio
import dataclasses
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from pli_protocol.secret import Secret

from ..bots.dui import DuiBot
from ..i18n import _
from ..issuer import Issuer
from .counts import Counts, count_copies, history, notes
from .plaintext import Hit, Needle, Search, needles, search
from .playing import Play
from .relay_process import RelayProcess
from .scenario import Scenario, load
from .team import BOT, Folders, Team, at_work, enrol_all, found, new_passphrase
from .view import dui_side, relay_side, side_by_side, summary

Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What a performance left behind, counted."""

    counts: Counts
    searched: Search
    seconds: float

    def as_json(self) -> dict[str, object]:
        return {
            "kind": "demo",
            **dataclasses.asdict(self.counts),
            "ok": self.counts.good,
            "seconds": round(self.seconds, 1),
        }


async def play(path: Path, *, keep: bool, as_json: bool, progress: Tell) -> int:
    """Play a scenario; the exit code. With `keep` the relay and the folder stay.

    Raises:
        ScenarioError, RelayFailed; PliError: a step did not come about.
    """
    from ..cli.output import say, say_json

    scenario = load(path)
    root = Path(tempfile.mkdtemp(prefix="pli-demo-"))
    folders = Folders(root)
    relay = RelayProcess(folders.relay)
    stays = False
    try:
        result = await perform(scenario, path, folders, relay, progress)
        if as_json:
            say_json(result.as_json())
        else:
            for row in _page(result, folders):
                say(row)
        if keep:
            for row in _how_to_go_on(scenario, folders, relay):
                progress(row)
            stays = True
        return 0 if result.counts.good else 1
    finally:
        if not stays:
            await relay.stop()
            shutil.rmtree(root, ignore_errors=True)


async def perform(
    scenario: Scenario, path: Path, folders: Folders, relay: RelayProcess, tell: Tell
) -> Result:
    """Everything but the last page."""
    started = time.monotonic()
    wanted = needles(scenario, path)
    searches: list[Search] = []
    tell(_("Pli demonstration: %(title)s") % {"title": scenario.title})
    secret = await _prepare(scenario, folders, relay, tell)
    async with at_work(scenario, folders, secret) as team:
        filing = asyncio.create_task(DuiBot(team[BOT].client, folders.outbox).run())
        try:
            tell(_("The hand-over:"))
            # The relay's death is the moment to look: its write-ahead log is as it was.
            look = partial(_look, searches, folders, wanted)
            await Play(scenario, path, team, relay, tell, after_kill=look).run()
            persons = {p.key: p.client.person.person_id for p in team.people}
            receipts = await _receipts(team)
        finally:
            filing.cancel()
            await asyncio.gather(filing, return_exceptions=True)
    tell(_("Everybody has closed their vault; counting."))
    _look(searches, folders, wanted)
    searched = _together(searches)
    counts = await count(scenario, folders, secret, persons, searched, receipts)
    return Result(counts, searched, time.monotonic() - started)


async def count(
    scenario: Scenario,
    folders: Folders,
    secret: Secret,
    persons: Mapping[str, bytes],
    searched: Search,
    receipts: int,
) -> Counts:
    """Count what lies in the vaults and in the outbox."""
    histories = {key: await history(folders.vault(key), secret) for key in persons}
    copies = count_copies(scenario, histories, persons)
    created, withdrawn = notes(folders.outbox)
    return Counts(
        copies.messages,
        copies.lost,
        copies.doubled,
        copies.overread,
        len(searched.hits),
        len(created),
        len(withdrawn),
        receipts,
    )


def _look(searches: list[Search], folders: Folders, wanted: Sequence[Needle]) -> None:
    searches.append(search(folders.relay, wanted))


async def _prepare(scenario: Scenario, folders: Folders, relay: RelayProcess, tell: Tell) -> Secret:
    """Relay, establishment, people; the passphrase of all vaults."""
    code = await relay.make()
    await relay.start()
    tell(_("The relay runs as process %(pid)s at %(url)s") % {"pid": relay.pid, "url": relay.url})
    secret = new_passphrase(folders)
    async with AsyncExitStack() as stack:
        issuer: Issuer = await stack.enter_async_context(
            await found(scenario, folders, relay.url, code, secret)
        )
        tell(_("%(name)s is founded; its issuer signs") % {"name": scenario.establishment})
        serving = asyncio.create_task(issuer.serve())
        try:
            await enrol_all(scenario, folders, issuer, secret)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
    for person in scenario.people:
        tell(f"  {person.name}, {person.profession}")
    tell(f"  {scenario.bot.name} (" + _("the DUI, outside the conversations") + ")")
    return secret


async def _receipts(team: Team) -> int:
    """Attachments that their attacher sees as filed, with the DUI's signed receipt."""
    count = 0
    for player in team.people:
        for conversation in await player.client.conversations():
            async for message in conversation.messages():
                count += sum(
                    attachment.filing == "filed"
                    and attachment.attached_by == player.client.person.person_id
                    for attachment in message.records
                )
    return count


def _together(searches: list[Search]) -> Search:
    """The last search, with what any of them found."""
    hits: dict[Hit, None] = {}
    for found_then in searches:
        hits |= dict.fromkeys(found_then.hits)
    return dataclasses.replace(searches[-1], hits=tuple(hits))


def _page(result: Result, folders: Folders) -> list[str]:
    width = min(max(shutil.get_terminal_size((120, 24)).columns, 80), 160)
    left = relay_side(folders.relay, result.searched)
    right = dui_side(*notes(folders.outbox))
    return ["", *side_by_side(left, right, width), "", *summary(result.counts, result.seconds)]


def _how_to_go_on(scenario: Scenario, folders: Folders, relay: RelayProcess) -> list[str]:
    called = Path(sys.argv[0])
    program = str(called) if called.stem == "pli" else f"{sys.executable} -m pli_client"
    secret = f"--passphrase-file {folders.passphrase_file}"
    keys = [step.who for step in scenario.messages]
    first, last = keys[0], keys[-1]

    def pli(key: str, command: str) -> str:
        return f"    {program} {command} --vault {folders.vault(key)} {secret}"

    return [
        "",
        _("The relay still runs (process %(pid)s, %(url)s). To go on by hand:")
        % {"pid": relay.pid, "url": relay.url},
        pli(last, "conversations"),
        pli(last, "inbox"),
        pli(first, "people"),
        _("The DUI's bot, and the issuer that signs newcomers, in terminals of their own:"),
        pli(BOT, f"bot dui --outbox {folders.outbox}"),
        f"    {program} admin serve --vault {folders.establishment} {secret}",
        _("To stop it and remove everything: kill %(pid)s, then remove %(folder)s")
        % {"pid": relay.pid, "folder": folders.root},
    ]
