"""The SDK: an open vault with its engine. `async with connect(folder, passphrase) as me: …`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pli_protocol.content import (
    Attach,
    Detach,
    FilePart,
    NoteType,
    Objection,
    Proof,
    Receipt,
    RecordRef,
)
from pli_protocol.identity import (
    Authority,
    AuthorityChange,
    Device,
    Person,
    Trust,
    safety_number,
)
from pli_protocol.transparency import HeadFile

from . import audit_log
from . import events as e
from .account import Account
from .audit_log import AuditLog
from .connection import ConnectionState, Online
from .conversation import QUEUE, Conversation, SentMessage
from .engine import founding, records, sending, statements
from .engine.engine import Engine
from .engine.errors import (
    AmbiguousPerson,
    ConversationOver,
    NotInRecord,
    NotPartner,
    NotSettled,
    UnknownConversation,
    UnknownMessage,
    UnknownPartner,
    UnknownPerson,
)
from .engine.profile import SUITE
from .engine.settled import is_settled
from .engine.work import Work
from .errors import FileDamaged, InvalidInput
from .event_stream import event_of
from .files import Progress, SealedFile, download, unseal
from .i18n import _
from .message import Attachment, StoredMessage, of_row, read_message
from .own_devices import OwnDevices
from .store import conversations, device, key_packages, messages, partners, people
from .store import events as event_store
from .store import records as record_store
from .store.names import same_name
from .store.people import KnownPerson
from .vault import Database, Vault, transaction

T = TypeVar("T")

START = transaction("start")
CURSOR = transaction("event-cursor")
ANSWER = transaction("answer")
TRUST = transaction("trust-authority")

DEFAULT_RECORD_SYSTEM = "dui"
"""The system of a record that is written as an id alone, unless the vault has another."""


@dataclass(frozen=True, slots=True)
class PartnerEstablishment:
    """Another establishment, as one's own authority signed it."""

    establishment: bytes
    """Its id, 16 bytes."""
    name: str
    fingerprint: bytes
    """SHA-256 of its authority's key, 32 bytes."""
    ends_at: int
    """Milliseconds since 1970."""
    counts: bool
    """One's own authority's statement has not ended."""
    open: bool
    """Both have signed, as the relay said last: its people can be asked for."""


class Client:
    """One person on one device. Made by `connect`; usable until its `async with` ends."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._listeners: set[asyncio.Queue[ConnectionState]] = set()
        self._fetching: dict[bytes, asyncio.Lock] = {}
        self.record_system = DEFAULT_RECORD_SYSTEM

    # --- who and where ------------------------------------------------------------------------

    @property
    def person(self) -> Person:
        """Who this is, as the issuer signed it."""
        return self.engine.own.device.person

    @property
    def device(self) -> Device:
        return self.engine.own.device

    @property
    def trust(self) -> Trust:
        """What this establishment trusts; for verifying proofs."""
        return self.engine.around.trust

    @property
    def state(self) -> ConnectionState:
        """Of the connection to the relay."""
        return self.engine.connection.state

    @property
    def vault(self) -> Vault:
        return self.engine.vault

    @property
    def account(self) -> Account:
        """Account password and second factor at the relay."""
        own = self.person
        return Account(self.engine.connection, own.establishment, own.account)

    async def close_account(self, password: str, code: str, timeout: float = 60.0) -> None:
        """Leave all conversations and close the account for good; the relay erases what it holds of it.

        Conversations in which leaving is not through within `timeout` seconds keep the leaf for their
        members to remove. What was received stays in this vault.

        Raises:
            NotAccepted, Locked, StepUpNeeded: nothing was done.
        """
        await self.account.step_up(password, code)
        async with asyncio.TaskGroup() as leaving:
            for conversation in await self.conversations():
                if conversation.state in ("starting", "active"):
                    leaving.create_task(_left(conversation, timeout))
        await self.account.close()

    @property
    def own_devices(self) -> OwnDevices:
        """The devices of this person."""
        return OwnDevices(self.engine)

    async def online(self, timeout: float | None = None) -> None:
        """Wait for the relay. Raises Offline, or what a person must mend first."""
        await self.engine.until_online(timeout)

    async def people(
        self, *, refresh: bool = False, establishment: str | bytes | None = None
    ) -> list[KnownPerson]:
        """The directory of this establishment, bots included, or of a partner's people; by name.

        People of partners whom one has met are among the former, named with their establishment.

        Raises:
            UnknownPartner, NotPartner.
        """
        if establishment is None:
            if refresh:
                await self.engine.housekeeping.refresh_directory()
            return await self.engine.read(people.all_people)
        partner = await self.partner(establishment)
        if refresh:
            self._check_open(partner.establishment, partner.name)
            await self.engine.housekeeping.refresh_directory(partner.establishment)
        return await self.engine.read(lambda db: people.of_establishment(db, partner.establishment))

    async def partners(self, *, refresh: bool = False) -> list[PartnerEstablishment]:
        """Establishments that this one's authority signed to be partners; by name."""
        if refresh:
            await self.engine.partners.refresh()
        now = int(self.engine.timing.clock())
        return [
            PartnerEstablishment(
                row.establishment,
                row.name,
                row.fingerprint,
                row.ends_at,
                counts=self.trust.vouches(row.establishment, now),
                open=row.establishment in self.engine.partners.open,
            )
            for row in await self.engine.read(partners.all_partners)
        ]

    async def partner(self, which: str | bytes) -> PartnerEstablishment:
        """A partner by name (accents and case do not count), or by id. Raises UnknownPartner."""
        known = await self.partners()
        found = [p for p in known if which == p.establishment]
        if isinstance(which, str):
            found = [p for p in known if which.strip().lower() == p.establishment.hex()]
            found = found or [p for p in known if same_name(p.name, which)]
        if len(found) != 1:
            raise UnknownPartner(which.hex() if isinstance(which, bytes) else which)
        return found[0]

    def _check_open(self, establishment: bytes, name: str) -> None:
        """Raises NotPartner where one may not ask for people of this establishment, or add them."""
        vouched = self.trust.vouches(establishment, int(self.engine.timing.clock()))
        known = self.engine.online and self.engine.partners.asked
        own = establishment == self.person.establishment
        if not vouched or (known and not own and establishment not in self.engine.partners.open):
            raise NotPartner(name)

    def check_may_be_added(self, person: KnownPerson) -> None:
        """Raises NotPartner where a person's establishment is none (any more, or not yet)."""
        self._check_open(person.establishment, person.outside or "?")

    async def find_person(
        self, who: bytes | str | KnownPerson, *, member_of: bytes | None = None
    ) -> KnownPerson:
        """By person id, account (bytes, or hex), or name (accents and case do not count).

        A colleague is meant before somebody of a partner; "NAME (ESTABLISHMENT)" is the latter.

        Raises:
            UnknownPerson, AmbiguousPerson.
        """
        if isinstance(who, KnownPerson):
            return who
        found = _matching(await self._candidates(member_of), who)
        for partner in (None, *self.engine.partners.open):
            # Also while a restored relay is brought what it lost: who is here it knows.
            if found or not isinstance(self.engine.connection.state, Online):
                break
            await self.engine.housekeeping.refresh_directory(partner)
            found = _matching(await self._candidates(member_of), who)
        shown = who.hex() if isinstance(who, bytes) else who
        if not found:
            raise UnknownPerson(shown)
        if len(found) > 1:
            raise AmbiguousPerson(shown)
        return found[0]

    async def _candidates(self, member_of: bytes | None) -> list[KnownPerson]:
        known = await self.people()
        if member_of is None:
            return [person for person in known if not person.revoked]
        members = {m.person_id for m in await (await self.conversation(member_of)).members()}
        return [person for person in known if person.person_id in members]

    async def safety_number(self, person: KnownPerson) -> str:
        """The number that two persons compare; equal at both ends, changes with any key."""
        chain = await self.engine.read(lambda db: people.person_chain(db, person.person_id))
        if chain is None:
            raise UnknownPerson(person.name)
        return safety_number(self.person, self.trust.person(chain))

    async def mark_verified(self, person: KnownPerson, verified: bool = True) -> None:
        """The safety number was compared (or counts no more)."""
        await self.engine.write(
            lambda work: people.mark_verified(
                work.db, person.person_id, work.now if verified else None
            )
        )

    async def pending_authority(self) -> tuple[int, AuthorityChange, Authority] | None:
        """(number, statement, authority) of a change that this person was not asked about yet."""
        found = await self.engine.read(device.pending_authority_change)
        if found is None:
            return None
        change, authority = self.trust.read_authority_change(found[1])
        return found[0], change, authority

    async def trust_authority(self, number: int) -> None:
        """Trust the authority that follows: whom its issuers sign counts from now on."""
        found = await self.engine.read(device.pending_authority_change)
        if found is None or found[0] != number:
            return
        await self.engine.write(lambda work: statements.accept_authority(work, *found), name=TRUST)
        await self.engine.housekeeping.learn_anew()

    # --- conversations ------------------------------------------------------------------------

    async def conversations(self, *, services: bool = False) -> list[Conversation]:
        """This person's conversations, the newest activity first."""
        rows = await self.engine.read(lambda db: conversations.list_all(db, services=services))
        return [Conversation(self, row) for row in rows]

    async def conversation(self, which: bytes | str) -> Conversation:
        """By id (bytes, or the beginning of its hex), or by title.

        Raises:
            UnknownConversation: none, or several.
        """
        if isinstance(which, bytes):
            row = await self.engine.read(lambda db: conversations.read(db, which))
            if row is None:
                raise UnknownConversation()
            return Conversation(self, row)
        known = await self.conversations(services=True)
        named = [c for c in known if c.title.casefold() == which.strip().casefold()]
        if not named and which:
            named = [c for c in known if c.id.hex().startswith(which.strip().lower())]
        if len(named) != 1:
            raise UnknownConversation()
        return named[0]

    async def start(
        self, title: str, persons: Sequence[bytes | str | KnownPerson] = (), kind: str = "team"
    ) -> Conversation:
        """Start a conversation. It can be written in at once; it comes about when the relay is there.

        Raises:
            UnknownPerson, AmbiguousPerson, InvalidInput.
        """
        if not title.strip() or len(title) > 128:
            raise InvalidInput(_("a title has 1 to 128 characters"))
        found = [await self.find_person(person) for person in persons]
        for person in found:
            self.check_may_be_added(person)
        accounts = {person.account for person in found}
        meant = {person.person_id for person in found}
        conversation_id = await self.engine.write(
            lambda work: founding.start(work, title.strip(), accounts, kind, persons=meant),
            name=START,
        )
        return await self.conversation(conversation_id)

    # --- messages -----------------------------------------------------------------------------

    async def message(self, which: bytes | str) -> StoredMessage | None:
        """By id: 32 bytes, or the beginning (8 letters at least) of its hex."""
        own = self.engine.own.person_id
        if isinstance(which, bytes) and len(which) == 32:
            return await self.engine.read(lambda db: read_message(db, which, own))
        text = which.hex() if isinstance(which, bytes) else which.strip().lower()
        try:
            prefix = bytes.fromhex(text[: len(text) // 2 * 2])
        except ValueError:
            return None
        if len(prefix) < 4:
            return None

        def look(db: Database) -> StoredMessage | None:
            rows = messages.by_prefix(db, prefix, 17)
            rows = [row for row in rows if row.message_id.hex().startswith(text)]
            return of_row(db, rows[0], own) if len(rows) == 1 else None

        return await self.engine.read(look)

    async def search(
        self, text: str, *, conversation: Conversation | None = None, limit: int = 50
    ) -> list[StoredMessage]:
        """Messages with all these words (the last may be begun), the newest first."""
        own, where = self.engine.own.person_id, None if conversation is None else conversation.id

        def look(db: Database) -> list[StoredMessage]:
            return [of_row(db, row, own) for row in messages.search(db, text, where, limit)]

        return await self.engine.read(look)

    async def unread(self, limit: int = 200) -> list[StoredMessage]:
        """What was not read yet, the urgent first."""
        own = self.engine.own.person_id

        def look(db: Database) -> list[StoredMessage]:
            return [of_row(db, row, own) for row in messages.unread(db, None, limit)]

        return await self.engine.read(look)

    async def fetch(
        self, part: FilePart, folder: Path, *, progress: Progress | None = None
    ) -> Path:
        """Save an attachment into a folder, under a safe name, never over another file.

        What was fetched by an earlier try, that was cut, cancelled or killed, is not fetched again; it
        lies in the vault's folder as ciphertext until the whole file was checked and saved.

        Raises:
            FileDamaged, FileUnwritable, DiskFull, Offline, RelayRefused.
        """
        expected = SealedFile.announced(part)
        sealed = self.engine.in_vault(part.blob.hex())
        sealed.parent.mkdir(mode=0o700, exist_ok=True)
        row = await self.engine.read(lambda db: messages.read_file(db, part.blob))
        if row is not None and row.sealed_file is not None:
            here = self.engine.in_vault(row.sealed_file)
            return await asyncio.to_thread(unseal, here, part.name, expected, folder)
        async with self._fetching.setdefault(part.blob, asyncio.Lock()):
            await download(
                self.engine.connection,
                part.blob,
                expected.sealed_size,
                sealed,
                name=part.name,
                progress=progress,
            )
            try:
                saved = await asyncio.to_thread(unseal, sealed, part.name, expected, folder)
            except FileDamaged:
                sealed.unlink(missing_ok=True)
                raise
            sealed.unlink(missing_ok=True)
        return saved

    # --- records ------------------------------------------------------------------------------

    def record_ref(self, record: RecordRef | str) -> RecordRef:
        """Read `system|id`, or an id alone. Raises InvalidInput."""
        if isinstance(record, RecordRef):
            return record
        try:
            return RecordRef.parse(record, self.record_system)
        except ValueError:
            raise InvalidInput(
                _("a record is written SYSTEM|ID or ID, each of 1 to 128 characters")
            ) from None

    async def attach(
        self,
        message: StoredMessage | bytes,
        record: RecordRef | str,
        note_type: NoteType | None = None,
    ) -> SentMessage:
        """Attach a message to a usager's record; the DUI's bot is told when there is one.

        Raises:
            UnknownMessage, ConversationOver, InvalidInput.
        """
        reference = self.record_ref(record)
        return await self._act(message, lambda m: Attach(m, reference, note_type))

    async def detach(
        self, message: StoredMessage | bytes, record: RecordRef | str, reason: str = ""
    ) -> SentMessage:
        """Take a message off a record; by its author or whoever attached it, others object.

        The SentMessage is an objection where this person may not detach.

        Raises:
            UnknownMessage, ConversationOver, InvalidInput, NotInRecord.
        """
        reference = self.record_ref(record)

        def body(work: Work, message_id: bytes) -> Detach | Objection:
            if not record_store.standing(work.db, message_id, reference):
                raise NotInRecord(reference.id)
            allowed = records.may_detach(work, message_id, reference, work.own.person_id)
            kind = Detach if allowed else Objection
            return kind(message_id, reference, reason)

        return await self._act(message, None, body)

    async def _act(
        self,
        message: StoredMessage | bytes,
        make: Callable[[bytes], Attach] | None,
        make_in: Callable[[Work, bytes], Detach | Objection] | None = None,
    ) -> SentMessage:
        target = message if isinstance(message, bytes) else message.message_id

        def step(work: Work) -> tuple[bytes, bytes]:
            row = messages.read(work.db, target)
            if row is None:
                raise UnknownMessage()
            conversation = conversations.read(work.db, row.conversation_id)
            if conversation is None or conversation.state not in ("starting", "active"):
                raise ConversationOver()
            body: Any = make(target) if make else make_in(work, target) if make_in else None
            return row.conversation_id, sending.queue(work, row.conversation_id, body)

        conversation_id, message_id = await self.engine.write(step, name=QUEUE)
        return SentMessage(self, conversation_id, message_id)

    async def record(self, record: RecordRef | str) -> list[tuple[StoredMessage, Attachment]]:
        """Everything that stands, or stood, in a record, as far as this vault knows."""
        reference, own = self.record_ref(record), self.engine.own.person_id

        def look(db: Database) -> list[tuple[StoredMessage, Attachment]]:
            found = []
            for row in record_store.of_record(db, reference):
                message = read_message(db, row.message_id, own)
                for attachment in () if message is None else message.records:
                    if attachment.act == row.attach_message and message is not None:
                        found.append((message, attachment))
            return found

        return await self.engine.read(look)

    async def proof(self, message_id: bytes) -> Proof | None:
        """What shows anybody who wrote a message; None while it has no place in the log."""
        return await self.engine.write(lambda work: records.proof_of(work, message_id))

    # --- for bots -----------------------------------------------------------------------------

    async def answer(
        self, forwarded: "StoredMessage | e.RecordForwarded", receipt: Receipt, document: str = ""
    ) -> SentMessage:
        """A bot's receipt for a forwarded message, stored with what it filed in one transaction.

        Args:
            document: name of the document that was made, kept with the filing.
        """
        message = forwarded if isinstance(forwarded, StoredMessage) else forwarded.message

        def step(work: Work) -> bytes:
            given = messages.own_reply(work.db, message.message_id, "receipt", work.own.device_id)
            if given is not None:
                return given  # answered before a crash
            if receipt.filed:
                record_store.add_filing(
                    work.db,
                    receipt.message_id,
                    receipt.record,
                    receipt.number.encode(),
                    document,
                    work.now,
                )
            return sending.queue(
                work, message.conversation_id, receipt, in_reply_to=message.message_id
            )

        message_id = await self.engine.write(step, name=ANSWER)
        return SentMessage(self, message.conversation_id, message_id)

    async def filing(self, message_id: bytes, record: RecordRef) -> tuple[str, str] | None:
        """A bot's own (number, document) for what it filed before."""
        found = await self.engine.read(lambda db: record_store.filing(db, message_id, record))
        return None if found is None else (found[0].decode(), found[1])

    # --- events -------------------------------------------------------------------------------

    async def audit_log(self) -> AuditLog | None:
        """What is kept of the relay's audit log; None before the first sign-in."""
        return await audit_log.read(self.engine)

    async def check_head(self, given: HeadFile) -> str | None:
        """Compare a head that a colleague or a witness handed over; None: the log holds it.

        Returns:
            The reason of a contradiction (`LogContradicted.reason`), which is kept as evidence.

        Raises:
            InvalidInput: it is no head of this relay.
            RelayError: the relay could not be asked.
        """
        return await audit_log.check(self.engine, given)

    async def events(self, reader: str | None = None) -> AsyncIterator[e.Event]:
        """What happens, in order, for ever.

        Args:
            reader: a name under which the place is kept in the vault: an event counts as handled
                when the next one is asked for, and comes again after a crash before that. None:
                only what happens from now on.
        """
        states: asyncio.Queue[ConnectionState] = asyncio.Queue()
        self._listeners.add(states)
        try:
            cursor = await self._first_cursor(reader)
            while True:
                change = self.engine.next_change()
                while not states.empty():
                    yield e.ConnectionChanged(0, states.get_nowait())
                found = await self._events_after(cursor)
                for number, event in found:
                    if event is not None:
                        yield event
                    cursor = number
                    if reader is not None and event is not None:
                        await self._keep_cursor(reader, cursor)
                if not found:
                    await change.wait()
        finally:
            self._listeners.discard(states)

    async def _events_after(self, cursor: int) -> list[tuple[int, e.Event | None]]:
        own = self.engine.own.person_id
        return await self.engine.read(lambda db: _events_after(db, cursor, own))

    async def _first_cursor(self, reader: str | None) -> int:
        if reader is None:
            return await self.engine.read(event_store.newest)
        return await self.engine.read(lambda db: event_store.read_cursor(db, reader)) or 0

    async def _keep_cursor(self, reader: str, cursor: int) -> None:
        await self.engine.vault.write(
            lambda db: event_store.write_cursor(db, reader, cursor), name=CURSOR
        )

    def state_changed(self, state: ConnectionState) -> None:
        """From the engine."""
        for listener in self._listeners:
            listener.put_nowait(state)

    # --- waiting ------------------------------------------------------------------------------

    async def until(self, look: Callable[[], Awaitable[T | None]], timeout: float | None) -> T:
        """Wait until `look` gives something. Raises NotSettled after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    change = self.engine.next_change()
                    found = await look()
                    if found is not None:
                        return found
                    with suppress(TimeoutError):
                        async with asyncio.timeout(1.0):
                            await change.wait()
        except TimeoutError:
            raise NotSettled() from None

    async def settled(self, timeout: float | None = None) -> None:
        """Wait until everything queued is stored and everything the relay has was received.

        Raises:
            NotSettled: not within `timeout` seconds. What a person must mend first (wrong relay…).
        """
        await self.engine.until_online(timeout)
        await self.until(lambda: is_settled(self.engine), timeout)

    async def stocked(self) -> bool | None:
        """Whether key packages are at the relay, so that others can add this device."""

        def look(db: Database) -> bool:
            return key_packages.newest_last_resort(db, SUITE.number) is not None

        return await self.engine.read(look) or None


def _events_after(db: Database, cursor: int, own: bytes) -> list[tuple[int, e.Event | None]]:
    return [
        (number, event_of(db, number, conversation, kind, body, own))
        for number, conversation, kind, body, _at in event_store.after(db, cursor, 100)
    ]


async def _left(conversation: Conversation, timeout: float) -> None:
    with suppress(NotSettled, ConversationOver):
        await conversation.leave(timeout=timeout)


def _matching(known: Sequence[KnownPerson], who: bytes | str) -> list[KnownPerson]:
    if isinstance(who, bytes):
        return [p for p in known if who in (p.person_id, p.account)]
    text = who.strip()
    exact = [p for p in known if text.lower() in (p.account.hex(), p.person_id.hex())]
    named = [p for p in known if same_name(p.name, text)]
    part = [p for p in known if same_name(text, *p.name.split())]
    whole = [p for p in known if p.outside is not None and same_name(p.shown, text)]
    return exact or _colleagues_first(named) or whole or _colleagues_first(part)


def _colleagues_first(found: list[KnownPerson]) -> list[KnownPerson]:
    return [p for p in found if p.outside is None] or found
