"""One person at work on the engine itself, for tests that need more than the SDK shows.

Waiting is by the engine's own changes, never by time.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pli_client.client import Client
from pli_client.connection import backoff
from pli_client.engine import founding, sending
from pli_client.engine.engine import Engine
from pli_client.engine.timing import Timing
from pli_client.store import conversations, groups, messages, people
from pli_client.vault import Database, Vault
from pli_protocol.content import Post, Rename, TextPart
from pli_protocol.secret import Secret

QUICK: Final = Timing(
    refound_after=1.5, others_wait=(0.3, 0.6), retry=(0.005, 0.03), welcome_grace=0.2, trouble=0.1
)
"""The engine's delays, shortened: what takes minutes in a care home takes a second here."""


class Actor:
    """An open vault with its engine."""

    def __init__(self, vault: Vault, engine: Engine) -> None:
        self.vault, self.engine = vault, engine
        self.client = Client(engine)
        self.closed = False

    @classmethod
    async def open(cls, folder: Path, passphrase: Secret, timing: Timing = QUICK) -> Self:
        vault = await Vault.open(folder, passphrase)
        engine = await Engine.open(vault, timing=timing)
        assert engine is not None
        await engine.start()
        return cls(vault, engine)

    async def close(self) -> None:
        """Hang up, close the vault. Again: does nothing."""
        if self.closed:
            return
        self.closed = True
        await self.engine.stop()
        await self.vault.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def described(self) -> str:
        """Where it stands, for a failed test's report."""

        def look(db: Database) -> list[object]:
            return [
                db.execute(sql).fetchall()
                for sql in (
                    "SELECT hex(group_id), state, next_seq, epoch, detail FROM groups",
                    "SELECT kind, state, attempts FROM intents",
                    "SELECT id, kind, state, epoch, reason FROM outbox",
                    "SELECT hex(group_id), epoch FROM pending_commits",
                    "SELECT hex(group_id), seq, kind, reason FROM quarantine",
                )
            ]

        idle = self.engine.inflow.idle
        return f"{self.engine.connection.state!r} idle={idle} {await self.engine.read(look)}"

    # --- acting -------------------------------------------------------------------------------

    async def start(self, title: str, *names: str) -> bytes:
        """A new conversation with these people; its id."""
        accounts = [(await self.person(name)).account for name in names]
        return await self.engine.write(lambda work: founding.start(work, title, accounts, "team"))

    async def send(self, conversation: bytes, text: str) -> bytes:
        """Queue a text; the message's id."""
        body = Post((TextPart(text),))
        return await self.engine.write(lambda work: sending.queue(work, conversation, body))

    async def rename(self, conversation: bytes, title: str) -> None:
        await self.engine.write(lambda work: sending.queue(work, conversation, Rename(title)))

    async def add(self, conversation: bytes, *names: str) -> None:
        accounts = [(await self.person(name)).account for name in names]
        await self._want(conversation, "add", accounts=accounts)

    async def remove(self, conversation: bytes, name: str) -> None:
        await self._want(conversation, "remove", person=(await self.person(name)).person_id)

    async def _want(self, conversation: bytes, kind: str, **body: object) -> None:
        def step(work: Any) -> None:
            conversations.add_intent(work.db, conversation, kind, body, work.now)
            work.wake(conversation)

        await self.engine.write(step)

    # --- waiting ------------------------------------------------------------------------------

    async def until(self, look: Callable[[Database], Any]) -> Any:
        """Wait until a look into the vault gives something true; that."""
        while True:
            event = self.engine.next_change()
            if found := await self.engine.read(look):
                return found
            await event.wait()

    async def ready(self) -> None:
        """Until the device can be added by others: its key packages are published."""
        await self.until(
            lambda db: db.execute("SELECT min(published) FROM key_packages").fetchall()[0][0]
        )

    async def person(self, name: str) -> people.KnownPerson:
        """Somebody of the directory, once it is known."""
        found: people.KnownPerson = await self.until(
            lambda db: next((p for p in people.all_people(db) if p.name == name), None)
        )
        return found

    async def stored(self, message_id: bytes) -> None:
        """Until the relay has acknowledged it."""

        def look(db: Database) -> bool:
            row = messages.read(db, message_id)
            assert row is not None
            assert row.state != "failed", f"it could not be sent: {_why(db, message_id)}"
            return row.state == "stored"

        await self.until(look)

    async def state_of(self, message_id: bytes) -> str:
        """queued, stored, failed…"""
        row = await self.engine.read(lambda db: messages.read(db, message_id))
        assert row is not None
        return row.state

    async def group(self, conversation: bytes) -> groups.GroupRow:
        """The conversation's newest group."""
        row = await self.engine.read(lambda db: groups.current(db, conversation))
        assert row is not None
        return row

    async def received(self, text: str) -> messages.MessageRow:
        """Until a message with this text is in the history."""

        def look(db: Database) -> messages.MessageRow | None:
            row = db.execute("SELECT message_id FROM messages WHERE text = ?", (text,)).fetchone()
            return None if row is None else messages.read(db, row[0])

        found: messages.MessageRow = await self.until(look)
        return found

    async def conversation(self, title: str) -> bytes:
        """The id of the conversation with this title, once this person is in it."""
        found: bytes = await self.until(
            lambda db: next((c.id for c in conversations.list_all(db) if c.title == title), None)
        )
        return found

    async def members(self, conversation: bytes, *names: str) -> None:
        """Until exactly these people are members, by name."""

        def look(db: Database) -> bool:
            row = groups.current(db, conversation)
            if row is None or row.state != "active":
                return False
            persons = {m.person_id for m in groups.members(db, row.group_id)}
            found = [people.read_person(db, person) for person in persons]
            return sorted(p.name for p in found if p is not None) == sorted(names)

        await self.until(look)

    async def settled(self) -> None:
        """Until nothing is left to send or to do, and the log was read to its end."""
        await self.client.settled()


def _why(db: Database, message_id: bytes) -> object:
    return db.execute("SELECT reason FROM outbox WHERE message_id = ?", (message_id,)).fetchone()


def reconnect_quickly() -> None:
    """Shorten the pauses between two attempts to connect; for a test's whole process."""
    backoff.FIRST = 0.02  # type: ignore[misc]
    backoff.LONGEST = 0.1  # type: ignore[misc]
