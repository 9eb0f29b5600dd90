"""The DUI's bot: receives forwarded messages with their proofs, files them, answers with receipts.

Order of writing, so that a crash anywhere leads to the same end: the Bundle into the outbox (same name,
same content), what the bot remembers into its vault, the receipt into its vault's queue, and only then
the next event. A forward that comes again is answered from memory.
"""

import asyncio
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

import msgspec

from pli_protocol.content import FilePart, Forward, Receipt
from pli_protocol.content.proof import ProofError, VerifiedForward, verify_forward

from ..client import Client
from ..errors import FileDamaged, Offline, RelayMisbehaved, RelayRefused
from ..events import RecordAttached, RecordDetached, RecordForwarded
from ..message import StoredMessage
from ..store import device
from ..store import events as event_store
from ..vault import Database, transaction
from .filing import Filing, Known, Outbox, Systems, file, refusal_before_files

READER: Final = "dui"
"""Name of the bot's place in its vault's events."""

REMEMBER: Final = transaction("dui-remember")
_RECENT: Final = 200
_KINDS: Final = frozenset({"forwarded", "attached", "detached"})
"""Events that the bot works on, by their names in the vault."""


class DuiBot:
    """Runs on an open client, whose account is a bot's.

    Args:
        systems: `URI`, or `NAME=URI`: the record systems that this DUI keeps, see `Systems`.
        report: told what was done about each forwarded message.
    """

    def __init__(
        self,
        client: Client,
        outbox: Path,
        *,
        systems: Collection[str] = (),
        report: Callable[[Filing], None] = lambda _: None,
    ) -> None:
        self._client, self._report = client, report
        self._outbox = Outbox(outbox)
        self._systems = Systems.parse(systems, client.person.establishment)
        self._incoming = client.vault.folder / "incoming"

    async def run(self) -> None:
        """File what comes, until cancelled."""
        async for event in self._client.events(READER):
            match event:
                case RecordForwarded(message=message):
                    await self._forwarded(message)
                case RecordAttached() | RecordDetached():
                    await self._happened_here(event)

    async def catch_up(self, timeout: float | None = None) -> None:
        """File everything that the relay has for this bot, and see the receipts off.

        Raises:
            Offline, NotSettled: not within `timeout` seconds.
        """
        await self._client.settled(timeout)
        running = asyncio.create_task(self.run())
        try:
            await self._client.until(self._nothing_waits, timeout)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        await self._client.settled(timeout)

    async def _nothing_waits(self) -> bool | None:
        def look(db: Database) -> bool:
            cursor = event_store.read_cursor(db, READER) or 0
            return not any(row[2] in _KINDS for row in event_store.after(db, cursor, 10_000))

        return await self._client.vault.read(look) or None

    async def _forwarded(self, message: StoredMessage) -> None:
        """The usual way: the bot stands outside, the attacher's device hands the message over."""
        if message.content is not None and isinstance(message.content.body, Forward):
            await self._deal(message, message.content.body)

    async def _happened_here(self, event: RecordAttached | RecordDetached) -> None:
        """In a conversation of which the bot is a member nobody forwards: it makes the proofs itself."""
        act = await self._client.message(event.act)
        if act is None:
            return
        proof = await self._client.proof(event.message_id)
        act_proof = await self._client.proof(event.act) if event.act != event.message_id else None
        if proof is None:
            # Written before the bot was a member.
            unseen = Filing(event.message_id, event.record, False, code="not-seen")
            await self._conclude(act, unseen)
        else:
            await self._deal(act, Forward(proof, act_proof))

    async def _deal(self, message: StoredMessage, forwarded: Forward) -> None:
        try:
            forward = verify_forward(forwarded, self._client.trust)
        except ProofError:
            return  # nothing is proven: not even to which message an answer would belong
        await self._conclude(message, await self._file(forward))

    async def _conclude(self, message: StoredMessage, filing: Filing) -> None:
        if not await self._answered(message):
            await self._client.answer(message, filing.receipt, filing.document)
        self._report(filing)

    async def _file(self, forward: VerifiedForward) -> Filing:
        message_id, record = forward.message.message_id, forward.record
        refused = refusal_before_files(forward, self._systems)
        if refused is not None:
            return Filing(message_id, record, False, code=refused)
        known = await self._known(forward)
        files = await self._fetch(forward.message.message.files)
        filing, after = await asyncio.to_thread(
            file, forward, known, files, self._outbox, self._systems
        )
        if after is not None and after != known:
            await self._remember(forward, after)
        return filing

    async def _fetch(self, parts: Collection[FilePart]) -> dict[bytes, bytes]:
        """The plaintext of those files that the relay has; waits for the relay where it is away."""
        found: dict[bytes, bytes] = {}
        for part in parts:
            while True:
                try:
                    found[part.blob] = await self._plaintext(part)
                except Offline:
                    await self._client.online()
                    continue
                except (RelayRefused, RelayMisbehaved, FileDamaged):
                    pass
                break
        return found

    async def _plaintext(self, part: FilePart) -> bytes:
        # In the vault's folder, which is closed to others, and only for a moment.
        self._incoming.mkdir(mode=0o700, exist_ok=True)
        try:
            path = await self._client.fetch(part, self._incoming)
            return await asyncio.to_thread(path.read_bytes)
        finally:
            shutil.rmtree(self._incoming, ignore_errors=True)

    async def _answered(self, forwarded: StoredMessage) -> bool:
        """Whether a receipt was queued before a crash."""
        conversation = await self._client.conversation(forwarded.conversation_id)
        for message in await conversation.page(limit=_RECENT, everything=True):
            body = message.content.body if message.content is not None else None
            answers = message.in_reply_to == forwarded.message_id
            if message.own and answers and isinstance(body, Receipt):
                return True
        return False

    # --- what is remembered -------------------------------------------------------------------

    async def _known(self, forward: VerifiedForward) -> Known | None:
        name = _name(forward)
        data = await self._client.vault.read(lambda db: device.read_meta(db, name))
        return None if data is None else msgspec.msgpack.decode(data, type=Known)

    async def _remember(self, forward: VerifiedForward, known: Known) -> None:
        name, data = _name(forward), msgspec.msgpack.encode(known)
        await self._client.vault.write(lambda db: device.write_meta(db, name, data), name=REMEMBER)


def _name(forward: VerifiedForward) -> str:
    return f"dui/{forward.message.message_id.hex()}/{forward.record}"
