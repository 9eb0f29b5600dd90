"""One connection: what it may do by now, what it is owed, how much may be written to it."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from pli_protocol.identity import Device, Issuer
from pli_protocol.relay.codec import encode
from pli_protocol.relay.frames import Refused, RelayFrame

from .audit.acts import Act, Fact
from .errors import CLOSING, Refusal
from .storage import locks
from .storage.faults import describe

if TYPE_CHECKING:
    from .delivery import Delivery
    from .metrics import Metrics
    from .storage.transaction import Transaction

log = logging.getLogger(__name__)

CLOSE_POLICY: Final = 1008
CLOSE_GOING_AWAY: Final = 1001
CLOSE_INTERNAL: Final = 1011
CLOSE_TRY_LATER: Final = 1013

WRITE_LIMIT: Final = 256 * 1024
"""Bytes that may wait to be written to one connection."""

GREETING, GREETED, ACCOUNT = "greeting", "greeted", "account"
DEVICE, ISSUER = "device", "issuer"
"""The states of a connection: before Hello, before sign-in, a device that asks to be linked to its
account, signed in as the one or the other."""


class Session:
    """One connection. Everything here runs on the loop."""

    __slots__ = (
        "_closing",
        "_unsent",
        "_unsent_bytes",
        "_waiter",
        "account_no",
        "address",
        "challenge",
        "delivery",
        "device",
        "device_no",
        "ended",
        "enrolments",
        "extended",
        "greeted",
        "fetching",
        "in_flight",
        "issuer",
        "listed",
        "metrics",
        "number",
        "on_signed_in",
        "opened",
        "requests",
        "sign_in",
        "state",
        "stepped_up_until",
        "timer",
        "ws",
    )

    def __init__(
        self, ws: ServerConnection, number: int, metrics: "Metrics", address: str = ""
    ) -> None:
        """`address`: whose connections are counted together (proxy.source)."""
        self.ws = ws
        self.number = number
        self.metrics = metrics
        self.address = address
        self.state = GREETING
        self.challenge = b""
        self.greeted = 0
        """When the challenge was made, milliseconds."""
        self.sign_in = 0
        """Which of the device's sign-ins this is: `devices.session`."""
        self.device: Device | None = None
        self.device_no = 0
        self.account_no = 0
        self.issuer: Issuer | None = None
        self.delivery: Delivery | None = None
        self.requests = 0
        self.stepped_up_until = 0
        self.opened: tuple[bytes, bytes] | None = None
        self.in_flight = 0
        self.enrolments: set[bytes] | None = None
        self.listed: set[bytes] | None = None
        """The requests to be enrolled that an issuer has seen, once it asked for them."""
        self.fetching = b""
        self.timer: asyncio.TimerHandle | None = None
        self.extended = False
        self.ended: asyncio.Future[None]
        self.on_signed_in: Callable[[], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    @property
    def open(self) -> bool:
        """Frames can still be sent."""
        return self._closing is None and self.ws.protocol.state is State.OPEN

    @property
    def congested(self) -> bool:
        """More than the write limit waits in this connection's buffer."""
        return self.ws.paused or self._unsent_bytes > WRITE_LIMIT

    @property
    def establishment(self) -> bytes:
        """The establishment of who signed in."""
        if self.device is not None:
            return self.device.person.establishment
        assert self.issuer is not None
        return self.issuer.establishment

    def trace(self, tx: "Transaction", act: Act, **facts: Fact) -> None:
        """Note an act of who signed in on this connection."""
        if self.device is not None:
            person = self.device.person
            account, device = person.account, self.device.device_id
            tx.trace(act, person.establishment, account=account, device=device, **facts)
        else:
            assert self.issuer is not None
            facts["issuer"] = self.issuer.issuer_id
            tx.trace(act, self.issuer.establishment, account=None, device=None, **facts)

    @property
    def owners(self) -> tuple[int, ...]:
        """Whose counts and rows a request of this connection touches (storage.locks)."""
        if self.device is not None:
            person = self.device.person
            return (locks.of_account(person.establishment, person.account),)
        if self.opened is not None:
            return (locks.of_account(*self.opened),)
        return (locks.of_establishment(self.establishment),)

    def push(self, data: bytes) -> None:
        """Send an encoded frame without waiting; a connection that closes loses it.

        What one turn of the loop pushes leaves in one write: a transaction answers many requests.
        """
        if self._closing is not None:
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent.append(data)
        self._unsent_bytes += len(data)

    def _write(self) -> None:
        frames, self._unsent, self._unsent_bytes = self._unsent, [], 0
        protocol = self.ws.protocol
        if not frames or protocol.state is not State.OPEN:
            return
        for data in frames:
            protocol.send_binary(data)
        self.ws.transport.write(b"".join(protocol.data_to_send()))

    def answer(self, frame: RelayFrame) -> None:
        """Send a frame without waiting."""
        self.push(encode(frame))

    def refuse(self, rid: int | None, refusal: Refusal) -> None:
        """Answer a request with a refusal; close where the code says so."""
        self.metrics.refusals[refusal.code] += 1
        self.answer(
            Refused(
                refusal.code,
                rid,
                refusal.detail[:256],
                refusal.epoch,
                refusal.retry_after,
            )
        )
        if refusal.code in CLOSING:
            self.close(CLOSE_POLICY)

    def close(self, code: int = CLOSE_GOING_AWAY) -> None:
        """Begin to close; nothing more is sent."""
        if self._closing is None:
            self._write()
            self._closing = asyncio.create_task(self.ws.close(code), name="pli close")

    async def closed(self) -> None:
        """Wait for a close that has begun, so that its code is the one that the peer gets."""
        if self._closing is None:
            return
        with contextlib.suppress(ConnectionClosed):
            # What still comes is thrown away: a full queue would keep the peer's close unread.
            while True:
                await self.ws.recv()
        await self._closing

    def signed_in(self) -> None:
        """The connection no longer counts among those that have not signed in."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.on_signed_in is not None:
            self.on_signed_in()
            self.on_signed_in = None

    def fault(self, error: BaseException) -> None:
        """A fault of the program: log where, close; the peer learns nothing of it."""
        log.error("connection %d: %s", self.number, describe(error))
        self.close(CLOSE_INTERNAL)

    async def drained(self) -> None:
        """Wait until what was pushed has left for the most part."""
        self._write()
        if self.ws.paused:
            await self.ws.drain()

    # --- requests that are answered after the reader has gone on ------------------------------

    def begin_request(self) -> None:
        """One more request waits for the disk."""
        self.in_flight += 1

    def end_request(self) -> None:
        """It was answered."""
        self.in_flight -= 1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def below(self, limit: int) -> None:
        """Wait until fewer than `limit` requests are unanswered."""
        while self.in_flight >= limit:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._waiter = None
