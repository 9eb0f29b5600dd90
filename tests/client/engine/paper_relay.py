"""A relay on paper: one log in memory, people with real vaults, steps run by hand."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pli_client.engine import candidates, founding, joining, key_package_stock, receiving, sending
from pli_client.engine.timing import Timing
from pli_client.engine.work import Own, Surroundings, Work
from pli_client.store import conversations, groups, messages, mls_state, outbox
from pli_client.vault import Kdf, Vault, passphrase
from pli_protocol.content import Post, TextPart
from pli_protocol.identity import (
    SigningKey,
    Trust,
    make_authority,
    make_device,
    make_issuer,
    make_person,
)
from pli_protocol.mls.framing import ContentType
from pli_protocol.mls.group import Group
from pli_protocol.mls.message import peek
from pli_protocol.relay.frames import Position, Row, WelcomeWaiting
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

T = TypeVar("T")

NOW = 1_800_000_000.0
KINDS = {
    ContentType.APPLICATION: "application",
    ContentType.PROPOSAL: "proposal",
    ContentType.COMMIT: "commit",
}


@dataclass
class PaperLog:
    """One group's log."""

    rows: list[Row] = field(default_factory=list)

    def append(self, sender: bytes, send_id: bytes, message: bytes, kind: str | None = None) -> Row:
        header = peek(message)
        assert header.group_id is not None
        assert header.content_type is not None
        assert header.epoch is not None
        kind = kind or KINDS[header.content_type]
        position = Position(1, len(self.rows) + 1)
        before = self.rows[-1].chain if self.rows else FIRST_CHAIN
        chain = chain_hash(
            before, header.group_id, position, header.epoch, kind, sender, send_id, message
        )
        row = Row(
            header.group_id,
            position,
            header.epoch,
            kind,
            sender,
            send_id,
            int(NOW * 1000),
            message,
            chain,
        )
        self.rows.append(row)
        return row


class Somebody:
    """A vault, and the engine's steps on it."""

    def __init__(self, vault: Vault, around: Surroundings) -> None:
        self.vault, self.around = vault, around
        self.memory: dict[bytes, Group] = {}

    @property
    def device_id(self) -> bytes:
        return self.around.own.device_id

    async def write(self, step: Callable[[Work], T]) -> T:
        """As Engine.write does it, without what follows."""
        self.work: Work | None = None

        def run(db: object) -> T:
            self.work = Work(db, self.around, self.memory)  # type: ignore[arg-type]
            return step(self.work)

        try:
            result = await self.vault.write(run)
        except BaseException:
            self.memory.clear()
            raise
        assert self.work is not None
        for gone in self.work.gone:
            self.memory.pop(gone, None)
        self.memory.update(self.work.values)
        return result

    def later(self, seconds: float) -> None:
        """This person's clock goes on."""
        now = self.around.timing.clock() + seconds
        timing = replace(self.around.timing, clock=lambda: now)
        self.around = replace(self.around, timing=timing)

    async def take(self, *rows: Row) -> list[receiving.Taken]:
        return await self.write(
            lambda work: [receiving.take(work, row, row.message) for row in rows]  # type: ignore[arg-type]
        )

    async def key_package(self) -> bytes:
        row = await self.write(key_package_stock.make)
        return row.key_package

    async def say(self, conversation: bytes, text: str) -> bytes:
        return await self.write(
            lambda work: sending.queue(work, conversation, Post((TextPart(text),)))
        )

    async def seal(self, conversation: bytes) -> list[outbox.Outgoing]:
        """Seal what waits; all that is sealed."""

        def step(work: Work) -> list[outbox.Outgoing]:
            row = groups.current(work.db, conversation)
            assert row is not None
            sending.seal_waiting(work, row, sending.IN_FLIGHT)
            return outbox.in_state(work.db, conversation, "sealed")

        return await self.write(step)

    async def posts(self, conversation: bytes) -> list[tuple[str, str]]:
        """(text, state) of the history."""

        def look(db: object) -> list[tuple[str, str]]:
            rows = messages.page(db, conversation, None, 100, ("post",))  # type: ignore[arg-type]
            return [(_text(row), row.state) for row in rows]

        return await self.vault.read(look)

    async def group(self, conversation: bytes) -> groups.GroupRow:
        row = await self.vault.read(lambda db: groups.current(db, conversation))
        assert row is not None
        return row


def _text(row: messages.MessageRow) -> str:
    from pli_protocol.content import decode

    return decode(row.content).text


class Town:
    """An establishment and its people."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._root, self._issuing = SigningKey.generate(), SigningKey.generate()
        now = int(NOW)
        self.authority = make_authority("EHPAD Les Tilleuls", self._root, now)
        self.issuer = make_issuer(self._root, self.authority, self._issuing.public, now=now)

    @asynccontextmanager
    async def somebody(self, name: str, kind: str = "person") -> AsyncIterator[Somebody]:
        identity, device = SigningKey.generate(), SigningKey.generate()
        person = make_person(
            self._issuing,
            self.issuer,
            account=os.urandom(16),
            name=name,
            profession="Infirmière",
            kind=kind,  # type: ignore[arg-type]
            identity_key=identity.public,
            now=int(NOW),
        )
        chain = (
            make_device(identity, person, device.public, now=int(NOW)),
            person,
            self.issuer,
        )
        trust = Trust(self.authority)
        own = Own(trust.device(chain, None), device)
        timing = Timing(clock=lambda: NOW, chance=lambda: 0.5)
        around = Surroundings(own, trust, timing, os.urandom)
        vault = await Vault.create(self._folder / name, passphrase("p"), kdf=Kdf(8, 1, 1))
        async with vault:
            yield Somebody(vault, around)


async def found(
    log: PaperLog,
    creator: Somebody,
    *others: Somebody,
    frames: list[WelcomeWaiting] | None = None,
) -> bytes:
    """A conversation of these; everybody is in, and the log has one row."""
    claimed = [
        (other.around.own.account, other.device_id, await other.key_package()) for other in others
    ]

    def create(work: Work) -> bytes:
        accounts = [account for account, _device, _package in claimed]
        conversation = founding.start(work, "Étage 2", accounts, "team")
        (intent,) = conversations.intents(work.db, conversation, "create")
        candidates.keep_claimed(work, conversation, intent.id, claimed)
        (intent,) = conversations.intents(work.db, conversation, "create")
        founding.create(work, intent)
        return conversation

    conversation = await creator.write(create)
    await commit(log, creator, conversation, *others, frames=frames)
    return conversation


async def commit(
    log: PaperLog,
    committer: Somebody,
    conversation: bytes,
    *newcomers: Somebody,
    frames: list[WelcomeWaiting] | None = None,
) -> Row:
    """The committer's pending commit enters the log and is merged; newcomers get the Welcome."""
    row = await committer.group(conversation)
    pending = await committer.vault.read(lambda db: mls_state.pending(db, row.group_id))
    assert pending is not None
    taken = log.append(committer.device_id, pending.send_id, pending.message)
    await committer.take(taken)
    for newcomer in newcomers:
        assert pending.welcome is not None
        frame = WelcomeWaiting(
            os.urandom(16),
            taken.group,
            pending.welcome,
            taken.position,
            taken.chain,
            committer.device_id,
            taken.time,
        )
        welcome = pending.welcome
        if frames is not None:
            frames.append(frame)
        outcome = await newcomer.write(lambda work: joining.welcome(work, frame, welcome))  # noqa: B023
        assert outcome.refused is None, outcome.refused
    return taken


async def deliver(log: PaperLog, sender: Somebody, conversation: bytes) -> list[Row]:
    """Everything that the sender has sealed enters the log."""
    return [
        log.append(sender.device_id, item.send_id or b"", item.ciphertext or b"")
        for item in await sender.seal(conversation)
    ]
