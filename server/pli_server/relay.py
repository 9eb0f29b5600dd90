"""The relay: what all connections share, and what happens when it starts and stops."""

import asyncio
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from pli_protocol.identity import Device, SigningKey
from pli_protocol.relay.frames import EnrolmentWaiting, PendingEnrolment, RelayFrame

from .accounts import key_file
from .accounts.passwords import Passwords
from .accounts.second_factor import SealedSecrets
from .audit import log_key
from .audit.heads import HeadSigner
from .checker import Checker, Known, certificate_hash, end_of, read_all_known, read_known
from .errors import OperatorError
from .metrics import Metrics
from .pace import Daily
from .rooms import Rooms
from .session import Session
from .settings import Settings
from .storage import tables as t
from .storage import timelines
from .storage.blobs import BlobFolder, BlobStore
from .storage.changes import Changes
from .storage.database import Database, at_once, open_database
from .storage.readers import Readers
from .storage.usage import Usage
from .storage.writer import Writer

if TYPE_CHECKING:
    from .nodes.bus import Bus
    from .nodes.follower import Follower

log = logging.getLogger(__name__)

SIGN_INS: Final = 16
"""Sign-ins that are carried out at once."""

_CLUSTER = sa.select(t.meta.c.value).where(t.meta.c.key == "cluster")


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class Relay:
    """The shared state of one relay process. Made on the loop by `start`."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        clock: Callable[[], int] = now_ms,
        bus: "Bus | None" = None,
    ) -> None:
        """`bus`: another one than the settings name, for tests."""
        self._bus = bus
        self.folder = folder
        self.settings = settings
        self.limits = settings.limits
        self.clock = clock
        self.timeline = 1
        self.metrics = Metrics(self)
        self.rooms = Rooms(self)
        self.connected: set[Session] = set()
        """All admitted connections."""
        self.sessions: dict[int, Session] = {}
        self.issuers: dict[bytes, Session] = {}
        self.asked = Daily()
        """Requests to be enrolled, by address; it belongs to the writer's thread."""
        self.signing_in = asyncio.Semaphore(SIGN_INS)
        self.waiting: dict[bytes, Session] = {}
        self.next_end: int | None = None
        """Unix seconds: the first end among those who are online, as ends.run knows it."""
        self.earlier_end = asyncio.Event()
        """Somebody is online whose end comes before that."""
        self.failed = asyncio.Event()
        self.stopping = False
        self.checker = Checker(clock)
        self.known: dict[bytes, Known] = {}
        """What was learnt of each establishment, without what the checker keeps."""
        self.cluster = ""
        """Names the database among those that share a bus."""
        self.node = os.urandom(16)
        """This process among the nodes that share the database."""
        self.follower: Follower | None = None
        self.blobs = self._blobs()
        self.passwords = Passwords(settings.accounts)
        self.secrets: SealedSecrets
        self.heads: HeadSigner
        self.writer: Writer
        self.readers: Readers
        self.database: Database = open_database(folder, settings.database_url)

    async def start(self) -> None:
        """Open the database (migrating it), learn the establishments, start the writer."""
        key = await asyncio.to_thread(at_once, self.database, self._learn)
        self.heads = HeadSigner(self.settings.name, key)
        self.readers = Readers(self.database, observe=self.metrics.read.observe)
        self.writer = Writer(
            self.database,
            clock=self.clock,
            timeline=self.timeline,
            queued_bytes=self.limits.queued_bytes,
            usage=Usage(self.limits, self.settings.retention.days),
            on_failure=self.failed.set,
            on_commit=self.metrics.written,
            on_changes=self._changed,
        )
        self.follower = self._follow()

    async def stop(self) -> None:
        """Write what waits and close everything."""
        self.stopping = True
        if self.follower is not None:
            await self.follower.close()
        self.rooms.close()
        await self.writer.close()
        await self.readers.close()
        self.blobs.close()
        self.passwords.close()
        self.checker.close()

    def _blobs(self) -> BlobStore:
        url = self.settings.blobs.url
        if url is None:
            return BlobFolder(self.folder, self.failed.set)
        from .storage.bucket import BlobBucket

        return BlobBucket(url)

    def _follow(self) -> "Follower | None":
        """Where other nodes share the database; raises OperatorError for a bus without that."""
        bus = self.settings.bus
        if not self.database.shared:
            if bus.url is not None:
                raise OperatorError(
                    "the bus joins nodes that share a PostgreSQL database: give its URL in "
                    "PLI_DATABASE_URL, or leave PLI_BUS_URL out"
                )
            return None
        if self.settings.blobs.url is None:
            log.warning("blobs lie in this node's folder: other nodes cannot read them")
        from .nodes.bus import NoBus
        from .nodes.follower import Follower
        from .nodes.nats_bus import NatsBus

        made = self._bus or (NoBus() if bus.url is None else NatsBus(bus, self.cluster))
        follower = Follower(self, made, self.node)
        follower.start()
        return follower

    def _changed(self, changes: Changes) -> None:
        if self.follower is not None:
            self.follower.committed(changes)

    def _learn(self, connection: sa.Connection) -> SigningKey:
        """What is held in memory of the database; returns the log's key."""
        self.timeline = timelines.current(connection)
        self.cluster = str(connection.scalar(_CLUSTER))
        for known in read_all_known(connection):
            self.checker.learn(known)
            self._keep(known)
        self.secrets = SealedSecrets(key_file.read(self.folder, connection))
        return log_key.of_relay(self.folder, connection)

    def note_end(self, device: Device) -> None:
        """A device has signed in: it is cut off when it, or its account, ends."""
        end = end_of(device)
        if self.next_end is None or end < self.next_end:
            self.earlier_end.set()

    def drop(self, session: Session) -> None:
        """A connection has ended."""
        if session.timer is not None:
            session.timer.cancel()
        if session.delivery is not None:
            session.delivery.close()
        if self.sessions.get(session.device_no) is session:
            del self.sessions[session.device_no]
        if session.issuer is not None and self.issuers.get(session.issuer.issuer_id) is session:
            del self.issuers[session.issuer.issuer_id]
        for request_id in session.enrolments or ():
            if self.waiting.get(request_id) is session:
                del self.waiting[request_id]

    def tell_issuers(self, establishment: bytes, request_id: bytes, sealed: bytes) -> None:
        """Push a request to be enrolled to the issuers online who list them, once to each."""
        for issuer in self.issuers.values():
            if issuer.listed is None or issuer.establishment != establishment:
                continue
            if request_id not in issuer.listed:
                issuer.listed.add(request_id)
                issuer.answer(EnrolmentWaiting(PendingEnrolment(request_id, sealed)))

    # --- what is known of establishments ------------------------------------------------------

    def known_revision(self, establishment: bytes) -> int | None:
        """The state of an establishment that was learnt last; None: never."""
        known = self.known.get(establishment)
        return None if known is None else known.revision

    async def learn_establishment(self, establishment: bytes) -> Known | None:
        """Read an establishment from the database: another node has changed it, or this one."""
        known = await self.readers.run(lambda db: read_known(db, establishment))
        if known is None:
            return None
        if known.revision < (self.known_revision(establishment) or 0):
            # Read before what another call has learnt meanwhile.
            return self.known[establishment]
        slim = self._keep(known)
        await self.checker.run(self.checker.learn, known)
        return slim

    async def learn_issuer(self, certificate: bytes) -> None:
        """One that registered at another node, of which this one was not told yet."""
        if self.follower is None or self.checker.knows(certificate):
            return
        issuer = t.issuers.c.certificate_hash == certificate_hash(certificate)
        establishment = await self.readers.run(
            lambda db: db.scalar(sa.select(t.issuers.c.establishment).where(issuer))
        )
        if establishment is not None:
            await self.follower.catch_up(establishment)

    def _keep(self, known: Known) -> Known:
        slim = known._replace(authority=b"", revocations=None, statements={})
        self.known[known.id] = slim
        return slim

    def tell_establishment(self, establishment: bytes, frame: RelayFrame) -> None:
        """Push a frame to everybody of an establishment who is online."""
        for session in (*self.sessions.values(), *self.issuers.values()):
            if session.establishment == establishment:
                session.answer(frame)
