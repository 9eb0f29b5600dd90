"""The relay: what all connections share, and what happens when it starts and stops."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from pli_protocol.identity import Device, SigningKey
from pli_protocol.relay.frames import RelayFrame

from .accounts import key_file
from .accounts.passwords import Passwords
from .accounts.second_factor import SealedSecrets
from .audit import log_key
from .audit.heads import HeadSigner
from .checker import Checker, end_of
from .metrics import Metrics
from .pace import Daily
from .rooms import Rooms
from .session import Session
from .settings import Settings
from .storage import timelines
from .storage.blobs import BlobFolder, BlobStore
from .storage.database import Database, at_once, open_database
from .storage.readers import Readers
from .storage.usage import Usage
from .storage.writer import Writer

log = logging.getLogger(__name__)


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
    ) -> None:
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
        self.waiting: dict[bytes, Session] = {}
        self.next_end: int | None = None
        """Unix seconds: the first end among those who are online, as ends.run knows it."""
        self.earlier_end = asyncio.Event()
        """Somebody is online whose end comes before that."""
        self.failed = asyncio.Event()
        self.stopping = False
        self.checker = Checker(clock)
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
        )

    async def stop(self) -> None:
        """Write what waits and close everything."""
        self.stopping = True
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

    def _learn(self, connection: sa.Connection) -> SigningKey:
        """What is held in memory of the database; returns the log's key."""
        self.timeline = timelines.current(connection)
        self.checker.load(connection)
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

    def tell_establishment(self, establishment: bytes, frame: RelayFrame) -> None:
        """Push a frame to everybody of an establishment who is online."""
        for session in (*self.sessions.values(), *self.issuers.values()):
            if session.establishment == establishment:
                session.answer(frame)
