"""A relay killed and restored from an old backup: what was acknowledged comes back with who had it."""

import time
from pathlib import Path
from typing import Final

import pytest
from nacl.public import PrivateKey

from pli_server.backup import making, restoring
from pli_server.settings import load

from .actor import Actor
from .checker import check
from .relay_process import RelayProcess
from .revocations import list_revokes
from .team import settle as team_settle
from .team import together
from .world import PATIENCE, PEOPLE, TITLE, World

KEY = PrivateKey(bytes(range(32)))
DAYS: Final = 86_400_000
TEAM: Final = "Étage 2"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def back_up(relay: RelayProcess) -> Path:
    """A backup while it runs."""
    to = relay.folder.parent / "backups"
    to.mkdir(exist_ok=True)
    settings = load(relay.folder)
    return making.make(relay.folder, settings, to, KEY.public_key, now_ms(), quiet).path


async def restore(
    relay: RelayProcess, archive: Path, days_ago: float = 0, failpoint: str | None = None
) -> None:
    """The machine is gone; the backup comes back in its place, under the same name and port."""
    await relay.kill()
    relay.folder.rename(relay.folder.with_name(f"lost-{time.time_ns()}"))
    restoring.restore(archive, KEY, relay.folder, now_ms() - int(days_ago * DAYS), quiet)
    await relay.start(failpoint)


class Story:
    """People of a world; what the relay acknowledged to each of them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.actors: dict[str, Actor] = {}
        self.acknowledged: list[bytes] = []

    async def come(self, *who: str) -> list[Actor]:
        for name in who:
            self.actors[name] = await self.world.open(name)
            await self.actors[name].ready()
        return [self.actors[name] for name in who]

    async def leave(self, *who: str) -> None:
        for name in who or list(self.actors):
            await self.actors.pop(name).close()

    async def say(self, who: str, title: str, *texts: str) -> None:
        actor = self.actors[who]
        conversation = await actor.conversation(title)
        sent = [await actor.send(conversation, text) for text in texts]
        for message_id in sent:
            await actor.stored(message_id)
        self.acknowledged += sent

    async def queue(self, who: str, title: str, text: str) -> None:
        """Said, and stored sooner or later."""
        actor = self.actors[who]
        await actor.send(await actor.conversation(title), text)

    async def settle(self) -> None:
        for _ in range(3):
            for actor in self.actors.values():
                await actor.settled()

    async def end(self, **options: object) -> None:
        await self.settle()
        await self.leave()
        vaults = await check(self.world, self.acknowledged, **options)  # type: ignore[arg-type]
        for vault in vaults:
            assert not vault.quarantine, f"{vault.who} put aside {vault.quarantine}"


def name(who: str) -> str:
    return PEOPLE[who].name


async def shown(actor: Actor, title: str) -> list[str]:
    conversation = await actor.conversation(title)
    rows = await actor.vault.read(
        lambda db: db.execute(
            """SELECT text FROM messages WHERE conversation_id = ? AND kind = 'post'
               ORDER BY generation, timeline, seq, id""",
            (conversation,),
        ).fetchall()
    )
    return [row[0] for row in rows]


@pytest.fixture
async def story(world: World) -> Story:
    await world.relay.start()
    return Story(world)


@pytest.mark.parametrize("order", [("amelie", "bruno"), ("bruno", "amelie")])
async def test_messages_after_the_backup_come_back_whoever_connects_first(
    story: Story, order: tuple[str, str]
) -> None:
    await story.come("amelie", "bruno")
    archive = back_up(story.world.relay)
    await story.say("amelie", TITLE, *(f"message {i}" for i in range(10)))
    await story.say("bruno", TITLE, *(f"réponse {i}" for i in range(10)))
    await story.settle()
    before = await shown(story.actors["amelie"], TITLE)
    await story.leave()
    await restore(story.world.relay, archive)
    assert story.world.relay.query("SELECT count(*) FROM rows")[0][0] < 20
    for who in order:
        await story.come(who)
        await story.say(who, TITLE, f"{who} est de retour")
    await story.settle()
    after = [*before, *(f"{who} est de retour" for who in order)]
    assert await shown(story.actors["bruno"], TITLE) == after
    assert story.world.relay.query("SELECT count(*) FROM brought_rows") == [(20,)]
    await story.end()


@pytest.mark.parametrize(
    "order",
    [
        ("amelie", "bruno", "chloe", "david"),
        ("david", "chloe", "bruno", "amelie"),
        ("chloe", "david", "amelie", "bruno"),
        ("bruno", "david", "chloe", "amelie"),
    ],
)
async def test_changes_of_members_after_the_backup_come_back(
    story: Story, order: tuple[str, ...]
) -> None:
    """David's device signed in only after the backup; Chloé was removed after it."""
    amelie, bruno, _ = await story.come("amelie", "bruno", "chloe")
    await amelie.start(TEAM, name("bruno"), name("chloe"))
    await story.say("amelie", TEAM, "avant")
    for who in ("bruno", "chloe"):
        await story.actors[who].received("avant")
    archive = back_up(story.world.relay)
    await story.say("chloe", TEAM, "encore là")
    await story.come("david")
    team = await amelie.conversation(TEAM)
    await amelie.add(team, name("david"))
    everybody = [name(who) for who in ("amelie", "bruno", "chloe", "david")]
    await amelie.members(team, *sorted(everybody))
    await story.say("david", TEAM, "bonjour de David")
    await bruno.received("bonjour de David")
    await bruno.remove(team, name("chloe"))
    rest = sorted(set(everybody) - {name("chloe")})
    await bruno.members(team, *rest)
    await story.say("amelie", TEAM, "sans Chloé")
    await story.settle()
    await story.leave()
    await restore(story.world.relay, archive)
    for who in order:
        await story.come(who)
        await story.queue(who, TEAM, f"{who} est de retour")
    for who in ("amelie", "bruno", "david"):
        await story.actors[who].members(team, *rest)
    assert "sans Chloé" not in await shown(story.actors["chloe"], TEAM)
    await story.end()


@pytest.mark.parametrize("order", [("amelie", "chloe"), ("chloe", "amelie")])
async def test_a_conversation_that_was_begun_after_the_backup_comes_back(
    story: Story, order: tuple[str, str]
) -> None:
    archive = back_up(story.world.relay)
    amelie, _ = await story.come("amelie", "chloe")
    await amelie.start(TEAM, name("chloe"))
    await story.say("amelie", TEAM, "un nouveau groupe")
    await story.say("chloe", TEAM, "j'y suis")
    await story.settle()
    await story.leave()
    await restore(story.world.relay, archive)
    for who in order:
        await story.come(who)
        await story.queue(who, TEAM, f"{who} est de retour")
    await story.end()


async def test_who_received_brings_what_an_absent_sender_had_sent(story: Story) -> None:
    amelie, *_ = await story.come("amelie", "bruno", "chloe")
    await amelie.start(TEAM, name("bruno"), name("chloe"))
    await story.say("amelie", TEAM, "avant")
    for who in ("bruno", "chloe"):
        await story.actors[who].received("avant")
    await story.leave("chloe")
    archive = back_up(story.world.relay)
    await story.say("amelie", TEAM, "pendant 1", "pendant 2")
    await story.actors["bruno"].received("pendant 2")
    await story.settle()
    await story.leave()
    await restore(story.world.relay, archive)
    chloe, _ = await story.come("chloe", "bruno")
    await chloe.received("pendant 2")
    await story.say("chloe", TEAM, "bien reçu")
    assert await shown(chloe, TEAM) == ["avant", "pendant 1", "pendant 2", "bien reçu"]
    await story.come("amelie")
    await story.end()


async def test_who_sent_brings_what_nobody_else_had_received(story: Story) -> None:
    await story.come("amelie")
    archive = back_up(story.world.relay)
    await story.say("amelie", TITLE, "seule 1", "seule 2")
    await story.leave()
    await restore(story.world.relay, archive)
    bruno, _ = await story.come("bruno", "amelie")
    await bruno.received("seule 2")
    await story.end()


async def test_a_change_waits_for_everybody_and_messages_do_not(story: Story) -> None:
    amelie, *_ = await story.come("amelie", "bruno", "chloe")
    archive = back_up(story.world.relay)
    await story.leave("bruno")
    await restore(story.world.relay, archive)
    team = await amelie.conversation(TITLE)
    await amelie.add(team, name("chloe"))
    await amelie.until(lambda db: db.execute("SELECT 1 FROM pending_commits").fetchone())
    await story.say("amelie", TITLE, *(f"pendant l'attente {i}" for i in range(12)))
    assert await amelie.vault.read(
        lambda db: db.execute("SELECT count(*) FROM pending_commits").fetchone()
    ) == (1,)
    await story.come("bruno")
    await amelie.members(team, *sorted(name(who) for who in ("amelie", "bruno", "chloe")))
    await story.say("chloe", TITLE, "me voilà")
    await story.end()


async def test_who_joins_a_restored_relay_holds_up_no_change(story: Story) -> None:
    amelie, bruno, _ = await story.come("amelie", "bruno", "david")
    await restore(story.world.relay, back_up(story.world.relay))
    await story.settle()
    team = await amelie.conversation(TITLE)
    await amelie.add(team, name("david"))
    await bruno.members(team, *sorted(name(who) for who in ("amelie", "bruno", "david")))
    await bruno.remove(team, name("david"))
    await bruno.members(team, *sorted(name(who) for who in ("amelie", "bruno")))
    await story.end()


async def test_after_72_hours_a_change_waits_for_nobody_and_a_late_one_refounds(
    story: Story,
) -> None:
    """Amélie alone knew that Chloé was removed; the others went on without that for three days."""
    amelie, *_ = await story.come("amelie", "bruno", "chloe")
    await amelie.start(TEAM, name("bruno"), name("chloe"))
    await story.say("amelie", TEAM, "avant")
    for who in ("bruno", "chloe"):
        await story.actors[who].received("avant")
    await story.settle()
    archive = back_up(story.world.relay)
    await story.leave("bruno", "chloe")
    team = await amelie.conversation(TEAM)
    await amelie.remove(team, name("chloe"))
    await amelie.members(team, *sorted(name(who) for who in ("amelie", "bruno")))
    await story.say("amelie", TEAM, "sans Chloé")
    await story.settle()
    await story.leave("amelie")
    await restore(story.world.relay, archive, days_ago=4)
    bruno, _ = await story.come("bruno", "david")
    await bruno.add(team, name("david"))
    await bruno.members(team, *sorted(name(who) for who in ("amelie", "bruno", "chloe", "david")))
    await story.say("bruno", TEAM, "avec David")
    amelie, _ = await story.come("amelie", "chloe")
    await bruno.received("sans Chloé")
    await bruno.members(team, *sorted(name(who) for who in ("amelie", "bruno")))
    await story.settle()
    assert "sans Chloé" not in await shown(story.actors["chloe"], TEAM)
    await story.leave()
    await check(story.world, story.acknowledged, returned={"amelie", "chloe", "david"})


async def test_a_revocation_after_the_backup_comes_back_with_a_device(story: Story) -> None:
    amelie, _ = await story.come("amelie", "bruno")
    archive = back_up(story.world.relay)
    await list_revokes(story.world, "person", name("chloe"), "lost")
    await amelie.until(lambda db: db.execute("SELECT 1 FROM revocation_lists").fetchone())
    await story.leave()
    await restore(story.world.relay, archive)
    number = "SELECT revocations_number FROM establishments"
    assert story.world.relay.query(number) == [(0,)]
    await story.come("amelie", "bruno")
    await story.settle()
    assert story.world.relay.query(number) == [(1,)]
    await story.end()


async def test_one_backup_is_restored_twice(story: Story) -> None:
    await story.come("amelie", "bruno")
    archive = back_up(story.world.relay)
    for again in range(2):
        await story.say("amelie", TITLE, f"message {again}")
        await story.say("bruno", TITLE, f"réponse {again}")
        await story.settle()
        await restore(story.world.relay, archive)
        await story.say("bruno", TITLE, f"revenu {again}")
        await story.settle()
    await story.end()


async def test_people_who_stay_online_go_on_through_a_restore(story: Story) -> None:
    amelie, bruno = await story.come("amelie", "bruno")
    archive = back_up(story.world.relay)
    team = await amelie.conversation(TITLE)
    sent = [await amelie.send(team, f"sans attendre {i}") for i in range(20)]
    await amelie.stored(sent[3])
    await restore(story.world.relay, archive)
    sent += [await bruno.send(team, f"de Bruno {i}") for i in range(5)]
    for actor, ids in ((amelie, sent[:20]), (bruno, sent[20:])):
        for message_id in ids:
            await actor.stored(message_id)
    story.acknowledged += sent
    await story.end()


async def test_a_file_that_was_sent_after_the_backup_comes_back_with_its_sender(
    world: World,
) -> None:
    content = b"une photo " * 20_000
    photo = world.folder / "photo.jpg"
    photo.write_bytes(content)
    await world.relay.start()
    archive = back_up(world.relay)
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        sent = await (await amelie.conversation(TITLE)).send("voici", files=[photo])
        await sent.stored(PATIENCE)
        await team_settle(amelie, bruno)
    await restore(world.relay, archive)
    assert not [path for path in (world.relay.folder / "blobs").rglob("*") if path.is_file()]
    async with together(world, "bruno", "amelie") as (bruno, amelie):
        await team_settle(amelie, bruno)
        (message,) = [
            m for m in await (await bruno.conversation(TITLE)).page() if m.text == "voici"
        ]
        (world.folder / "saved").mkdir()
        saved = await bruno.fetch(message.files[0], world.folder / "saved")
        assert saved.read_bytes() == content
