"""A conversation as a program sees it: write, read, add, remove, leave."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pli_protocol.content import (
    FilePart,
    NoteType,
    Part,
    Post,
    RecordRef,
    Rename,
    TextPart,
)
from pli_protocol.content.codec import ContentError

from .engine import history, sending
from .engine.errors import (
    ChangeFailed,
    ConversationOver,
    NotAllPartners,
    OldSoftware,
    SendFailed,
    UnknownConversation,
    UnknownMessage,
)
from .engine.work import Work
from .errors import InvalidInput
from .files import CHUNK_SIZE, SealedFile, safe_name, seal
from .i18n import _
from .message import StoredMessage, of_row
from .store import conversations, groups, messages, outbox, people
from .store.people import KnownPerson
from .vault import Database, transaction

if TYPE_CHECKING:
    from .client import Client

QUEUE = transaction("queue")
WANT = transaction("want")


@dataclass(frozen=True, slots=True)
class ConversationMember:
    """A person in a conversation."""

    person: KnownPerson
    devices: int
    leaving: bool

    @property
    def person_id(self) -> bytes:
        return self.person.person_id


class SentMessage:
    """A message of one's own that is in the vault, and will be at the relay."""

    def __init__(self, client: "Client", conversation_id: bytes, message_id: bytes) -> None:
        self._client = client
        self.conversation_id = conversation_id
        self.message_id = message_id

    async def state(self) -> str:
        """queued, stored or failed."""
        row = await self._client.engine.read(lambda db: messages.read(db, self.message_id))
        return "failed" if row is None else row.state

    async def stored(self, timeout: float | None = None) -> StoredMessage:
        """Wait until the relay has it on its disk.

        Raises:
            SendFailed: it will not be sent. NotSettled: not within `timeout` seconds; it is kept.
        """
        state = await self._client.until(self._outcome, timeout)
        message = await self._client.message(self.message_id)
        if state != "stored" or message is None:
            item = await self._client.engine.read(
                lambda db: outbox.by_message_id(db, self.message_id)
            )
            raise SendFailed(item.reason if item is not None else "")
        return message

    async def uploaded(self) -> tuple[int, int]:
        """Bytes of its files that are at the relay, and bytes in all, as ciphertext."""
        engine = self._client.engine
        files = await engine.read(lambda db: messages.sizes_to_upload(db, self.message_id))
        done = sum(size if there else engine.uploads.done(blob) for blob, size, there in files)
        return done, sum(size for _blob, size, _there in files)

    async def cancel(self) -> bool:
        """Take it back while it waits, also in the middle of its files; it stays shown as not sent.

        Returns:
            False: too late, it is sealed or stored.
        """
        engine = self._client.engine
        names = await engine.write(lambda work: sending.cancel(work, self.message_id), name=QUEUE)
        if names is None:
            return False
        engine.uploads.cancel(self.message_id)
        for name in names:
            engine.in_vault(name).unlink(missing_ok=True)
        return True

    async def _outcome(self) -> str | None:
        state = await self.state()
        return None if state == "queued" else state


class Conversation:
    """A conversation of this person. `title`, `kind`, `state` are as of when it was read.

    `state`: starting, active, leaving, left, removed, failed.
    """

    def __init__(self, client: "Client", row: conversations.ConversationRow) -> None:
        self._client = client
        self._row = row

    @property
    def id(self) -> bytes:
        """16 random bytes, the same for all members."""
        return self._row.id

    @property
    def title(self) -> str:
        return self._row.title

    @property
    def kind(self) -> str:
        """team, or service (between a person and a bot; not listed)."""
        return self._row.kind

    @property
    def state(self) -> str:
        return self._row.state

    @property
    def unread(self) -> int:
        return self._row.unread

    @property
    def last_activity(self) -> int:
        """Milliseconds since 1970, by this computer's clock."""
        return self._row.last_activity

    def __repr__(self) -> str:
        return f"Conversation({self.id.hex()})"

    async def refresh(self) -> "Conversation":
        """Read title, state and the like anew."""
        row = await self._client.engine.read(lambda db: conversations.read(db, self.id))
        if row is None:
            raise UnknownConversation()
        self._row = row
        return self

    async def members(self) -> list[ConversationMember]:
        """The persons in it, as of the newest commit known; by name."""

        def look(db: Database) -> list[ConversationMember]:
            group = groups.current(db, self.id)
            rows = [] if group is None else groups.members(db, group.group_id)
            found: dict[bytes, list[groups.MemberRow]] = {}
            for row in rows:
                found.setdefault(row.person_id, []).append(row)
            shown = []
            for person_id, devices in found.items():
                person = people.read_person(db, person_id)
                if person is not None:
                    leaving = any(device.leaving for device in devices)
                    shown.append(ConversationMember(person, len(devices), leaving))
            return sorted(shown, key=lambda member: member.person.name)

        return await self._client.engine.read(look)

    # --- writing ------------------------------------------------------------------------------

    async def send(
        self,
        text: str = "",
        *,
        record: RecordRef | str | None = None,
        note_type: NoteType | None = None,
        urgent: bool = False,
        files: Sequence[Path | str] = (),
        reply_to: "bytes | StoredMessage | None" = None,
        progress: Callable[[str], None] | None = None,
    ) -> SentMessage:
        """Write a message. It is in the vault when this returns, and is sent when the relay is there.

        Args:
            record: attaches it to a usager's record at once.
            files: are encrypted now; their originals are not needed any more afterwards.
            reply_to: the message that this one answers.

        Raises:
            InvalidInput: nothing to say, or too long. FileUnreadable, FileTooLarge.
            ConversationOver: one cannot write here any more.
        """
        reference = None if record is None else self._client.record_ref(record)
        sealed: list[tuple[FilePart, str, int]] = []
        try:
            for file in files:
                if progress is not None:
                    progress(Path(file).name)
                sealed.append(await self._seal(Path(file)))
            parts: list[Part] = [TextPart(text)] if text else []
            parts += [part for part, _name, _size in sealed]
            if not parts:
                raise InvalidInput(_("there is nothing to send"))
            reply = reply_to.message_id if isinstance(reply_to, StoredMessage) else reply_to

            def step(work: Work) -> bytes:
                self._check_open(work)
                message_id = sending.queue(
                    work,
                    self.id,
                    Post(tuple(parts)),
                    in_reply_to=reply,
                    record=reference,
                    note_type=note_type,
                    urgent=urgent,
                )
                for part, name, size in sealed:
                    messages.add_file(
                        work.db,
                        part,
                        message_id,
                        parts.index(part),
                        work.now,
                        sealed_file=name,
                        sealed_size=size,
                        state="uploading",
                    )
                return message_id

            message_id = await self._queue(step)
        except BaseException:
            for _part, name, _size in sealed:
                self._client.engine.in_vault(name).unlink(missing_ok=True)
            raise
        return SentMessage(self._client, self.id, message_id)

    async def _queue(self, step: Callable[[Work], bytes]) -> bytes:
        try:
            return await self._client.engine.write(step, name=QUEUE)
        except ContentError:
            raise InvalidInput(
                _(
                    "the message is too long (some 30,000 letters), or has a character that cannot be sent"
                )
            ) from None

    async def _seal(self, path: Path) -> tuple[FilePart, str, int]:
        engine = self._client.engine
        name = engine.around.random(16).hex()
        target = engine.in_vault(name)
        target.parent.mkdir(mode=0o700, exist_ok=True)
        sealed: SealedFile = await asyncio.to_thread(
            seal, path, target, random=engine.around.random
        )
        mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        part = FilePart(
            safe_name(path.name),
            mime,
            sealed.size,
            sealed.sha256,
            engine.around.random(32),
            bytes(sealed.key),
            CHUNK_SIZE,
            blob_size=sealed.sealed_size,
        )
        return part, name, sealed.sealed_size

    async def retry(self, message_id: bytes) -> SentMessage:
        """Send a failed message again, under the same id. Raises UnknownMessage."""
        engine = self._client.engine
        if not await engine.write(lambda work: sending.try_again(work, message_id), name=QUEUE):
            raise UnknownMessage()
        return SentMessage(self._client, self.id, message_id)

    async def rename(self, title: str) -> SentMessage:
        """Give it another title. Raises InvalidInput, ConversationOver."""
        if not title.strip() or len(title) > 128:
            raise InvalidInput(_("a title has 1 to 128 characters"))

        def step(work: Work) -> bytes:
            self._check_open(work)
            return sending.queue(work, self.id, Rename(title.strip()))

        sent = SentMessage(self._client, self.id, await self._queue(step))
        await self.refresh()
        return sent

    def _check_open(self, work: Work) -> None:
        row = conversations.read(work.db, self.id)
        if row is None:
            raise UnknownConversation()
        if row.state not in ("starting", "active"):
            raise ConversationOver()

    # --- members ------------------------------------------------------------------------------

    async def add(
        self, *people_: "bytes | str | KnownPerson", timeout: float | None = None
    ) -> None:
        """Add persons by account, name or person. Returns when they are in, or at once offline.

        Args:
            timeout: seconds to wait for it to come about; None: for as long as it takes while
                online; 0: not at all (it comes about by itself).

        Raises:
            UnknownPerson, AmbiguousPerson. NotPartner: of an establishment that is none now.
            NotAllPartners: of an establishment that is no partner of somebody's who is there.
            ChangeFailed: nobody of them can be added.
            OldSoftware: they, or somebody in the conversation, have to update Pli first.
        """
        found = [await self._client.find_person(person) for person in people_]
        for person in found:
            self._client.check_may_be_added(person)
        accounts = sorted({person.account for person in found})
        persons = sorted({person.person_id for person in found})
        try:
            await self._want("add", {"accounts": accounts, "persons": persons}, timeout)
        except ChangeFailed as error:
            everybody = [*found, *(member.person for member in await self.members())]
            if error.reason == "roster" and any(p.outside is not None for p in everybody):
                raise NotAllPartners(error.reason) from None
            raise

    async def remove(
        self, person: "bytes | str | KnownPerson", timeout: float | None = None
    ) -> None:
        """Remove a person with all their devices; they read nothing more. See `add`."""
        found = await self._client.find_person(person, member_of=self.id)
        if found.person_id == self._client.person.person_id:
            raise InvalidInput(_("one leaves a conversation, one does not remove oneself"))
        await self._want("remove", {"person": found.person_id}, timeout)

    async def _want(self, kind: str, body: dict[str, object], timeout: float | None) -> None:
        engine = self._client.engine

        def step(work: Work) -> int:
            self._check_open(work)
            work.wake(self.id)
            return conversations.add_intent(work.db, self.id, kind, body, work.now)

        number = await engine.write(step, name=WANT)
        if timeout == 0:
            return

        async def outcome() -> tuple[str, str] | None:
            found = await engine.read(lambda db: conversations.intent_outcome(db, number))
            if found is None:
                return "done", ""
            if found[0] == "failed":
                return found
            return None if engine.online or timeout is not None else ("waiting", "")

        state, error = await self._client.until(outcome, timeout)
        if state == "failed":
            raise OldSoftware(error) if error == "old-software" else ChangeFailed(error)

    async def leave(self, timeout: float | None = None) -> None:
        """Leave with all one's devices; nothing more arrives. Comes about when the relay is there."""

        def step(work: Work) -> None:
            self._check_open(work)
            sending.queue_leave(work, self.id)

        await self._client.engine.write(step, name=WANT)

        async def left() -> bool | None:
            await self.refresh()
            return True if self.state == "left" or not self._client.engine.online else None

        if timeout != 0:
            await self._client.until(left, timeout)

    # --- reading ------------------------------------------------------------------------------

    async def page(
        self, *, before: StoredMessage | None = None, limit: int = 50, everything: bool = False
    ) -> list[StoredMessage]:
        """The last messages (before one), oldest first; the order is the relay's."""
        own = self._client.engine.own.person_id
        kinds = () if everything else history.SHOWN
        place = None if before is None else before.place

        def look(db: Database) -> list[StoredMessage]:
            rows = messages.page(db, self.id, place, limit, kinds)
            return [of_row(db, row, own) for row in rows]

        return await self._client.engine.read(look)

    async def messages(
        self, *, before: StoredMessage | None = None, limit: int | None = None
    ) -> AsyncIterator[StoredMessage]:
        """The history, newest first."""
        left = limit
        while left is None or left > 0:
            wanted = 100 if left is None else min(100, left)
            page = await self.page(before=before, limit=wanted)
            for message in reversed(page):
                yield message
            if len(page) < wanted:
                return
            before = page[0]
            left = None if left is None else left - len(page)

    async def mark_read(self) -> None:
        """Everything in it was seen by its person."""
        await self._client.engine.write(
            lambda work: conversations.mark_read(work.db, self.id, work.now)
        )
        await self.refresh()
