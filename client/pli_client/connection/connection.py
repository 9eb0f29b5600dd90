"""The connection that the client holds: dials, greets, signs in, and does so again for ever."""

import asyncio
import logging
import random as random_module
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, TypeVar

from websockets.asyncio.client import ClientConnection

from pli_protocol.relay import frames
from pli_protocol.relay.frames import RelayFrame, SignedIn, Welcomed

from ..errors import Offline, PliError, RelayError, SignInRefused
from ..i18n import _
from . import backoff
from .address import RelayAddress
from .dialling import hang_up
from .inbox import Inbox
from .requests import Requests, Unanswered
from .route import Route
from .session import Push, Session
from .sign_in import TERMINAL, Signer, sign_in
from .state import Connecting, ConnectionState, Disconnected, Online

T = TypeVar("T")
PushHandler = Callable[[Push], Awaitable[None]]

STEADY: Final = 30.0
"""Seconds online after which the next failure counts as the first again."""

_log = logging.getLogger("pli_client.connection")
_log.addHandler(logging.NullHandler())


class Connection(Requests):
    """One relay, for as long as the context lasts. Use it as an async context manager.

    Pushes go to `on_push` one after another, in the relay's order, once signed in. While it is busy
    with more behind it than the relay's window, the socket is not read. What it raises ends the session (a
    PliError as the reason), so the relay pushes again what was not acknowledged; it may itself make
    requests. A push under way when the connection is lost is finished; those behind it are dropped.

    Args:
        url: wss://…; ws:// for this computer only.
        signer: who signs in; None for an anonymous connection (enrolment, registration).
        relay_name: what the relay must call itself; the URL's host when None.
        ca: the only certificate authorities trusted for TLS, PEM text; the system's when None.
        proxy: a proxy's URL (http, https, socks5h); True: as the environment says; False: none.
        on_push: None where no push is of interest.
        on_state: called with every change of state, from the event loop; must not block.
        explain: asked for a better word where the relay refuses the sign-in for good; None: it has none.
            It may take its time; an error that is not for good (Offline) lets it sign in again.
        pause, random, clock: for tests.
    """

    def __init__(
        self,
        url: str,
        *,
        signer: Signer | None = None,
        relay_name: str | None = None,
        ca: str | None = None,
        proxy: str | bool = True,
        on_push: PushHandler | None = None,
        on_state: Callable[[ConnectionState], None] | None = None,
        explain: Callable[[], Awaitable[PliError | None]] | None = None,
        software: str = "pli",
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = RelayAddress.parse(url)
        self.relay_name = relay_name or self.address.host
        self._signer = signer
        self._route = Route(self.address, ca, proxy)
        self._on_push, self._on_state = on_push, on_state
        self._explain = explain
        self._software = software
        self._pause, self._random, self._clock = pause, random, clock
        self._state: ConnectionState = Disconnected(Offline(_("not connected yet")), 0.0)
        self._changed = asyncio.Event()
        self._woken = asyncio.Event()
        self._session: Session | None = None
        self._inbox: Inbox[tuple[Session, Push]] = Inbox()
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: asyncio.Task[None] | None = None

    # --- state ------------------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        return self._state

    async def online(self, timeout: float | None = None) -> Online:
        """Wait until requests are accepted.

        Raises:
            PliError: a person must act first (wrong relay, certificate, version, sign-in refused…).
            Offline: not within `timeout` seconds; the reason is that of the last attempt.
        """
        last: PliError | None = None
        try:
            async with asyncio.timeout(timeout):
                while True:
                    match self._state:
                        case Online() as online:
                            return online
                        case Disconnected(error, retry_in):
                            last = error
                            if retry_in is None or needs_a_person(error):
                                raise error.again()
                    await self._changed.wait()
        except TimeoutError:
            raise (last or Offline(_("no answer"))).again() from None

    def wake(self) -> None:
        """Try again now (the network is back, the person asks), as if it were the first time."""
        self._woken.set()

    def stop(self, error: PliError) -> None:
        """End the session for this reason; for good where it is one of TERMINAL."""
        if self._session is not None:
            self._session.end(error)

    # --- asking -----------------------------------------------------------------------------

    async def _ask(self, frame: frames.Request, timeout: float) -> RelayFrame:
        return await self._online_session()._ask(frame, timeout)

    async def send(self, frame: Unanswered) -> None:
        await self._online_session().send(frame)

    def _online_session(self) -> Session:
        if self._session is not None:
            return self._session
        if isinstance(self._state, Disconnected):
            raise self._state.error.again()
        raise Offline(_("not connected yet"))

    # --- life -------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to connect; returns at once."""
        if not self._tasks:
            self._state = Disconnected(Offline(_("not connected yet")), 0.0)
            self._tasks = [
                asyncio.create_task(self._connect_for_ever(), name="pli connection"),
                asyncio.create_task(self._handle_pushes(), name="pli pushes"),
            ]

    async def close(self) -> None:
        """Hang up. The push under way is cancelled (a vault transaction ends first)."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._left()
        if tasks and not self._stopped:
            self._become(Disconnected(Offline(_("not connected any more")), None))

    @property
    def _stopped(self) -> bool:
        return isinstance(self._state, Disconnected) and self._state.retry_in is None

    async def _connect_for_ever(self) -> None:
        attempt = 0
        while True:
            self._become(Connecting(attempt))
            error, lasted = await self._connect_once()
            if type(error) is SignInRefused:
                error = await self._explained(error)
            if isinstance(error, TERMINAL):
                self._become(Disconnected(error, None))
                return
            if lasted >= STEADY:
                attempt = 0
            delay = backoff.delay(attempt, self._random)
            attempt += 1
            self._become(Disconnected(error, delay))
            if await self._woken_within(delay):
                attempt = 0

    async def _explained(self, refused: SignInRefused) -> PliError:
        if self._explain is None:
            return refused
        try:
            return await self._explain() or refused
        except PliError:
            return refused
        except Exception as error:  # a surprise in what the relay says must not end the client
            _log.error("a refusal could not be explained", exc_info=error)
            return refused

    async def _connect_once(self) -> tuple[PliError, float]:
        """One WebSocket from beginning to end: why it ended, how long it was online (seconds)."""
        online_since: float | None = None

        def online(greeting: Welcomed, signed_in: SignedIn | None) -> None:
            nonlocal online_since
            online_since = self._clock()
            self._become(Online(greeting, signed_in))

        try:
            await self._use_websocket(online)
        except PliError as error:
            reason = error
        except Exception as error:  # a signer's or a library's surprise must not end the client
            _log.error("the connection failed", exc_info=error)
            reason = Offline(_("an unexpected error; see the log"))
        return reason, 0.0 if online_since is None else self._clock() - online_since

    async def _use_websocket(self, online: Callable[[Welcomed, SignedIn | None], None]) -> None:
        await self._left()
        websocket = await self._route.dial()
        session = Session(websocket, self._inbox)
        ending: PliError = Offline(_("not connected any more"))
        reading: asyncio.Task[None] | None = None
        try:
            greeting = await session.greet(self.relay_name, self._software)
            reading = asyncio.create_task(session.read(), name="pli reader")
            signed_in = None
            if self._signer is not None:
                signed_in = await _while_reading(reading, sign_in(session, self._signer, greeting))
            self._session = session
            online(greeting, signed_in)
            session.begin()
            await _while_reading(reading, session.ended())
        except PliError as error:
            ending = session.ending or error
            raise ending from None
        finally:
            # No awaiting here: whoever waited for an answer finds the new state.
            self._session = None
            session.end(ending)
            self._inbox.clear()
            self._leaving = asyncio.create_task(_leave(websocket, reading))

    async def _left(self) -> None:
        """Wait until the last WebSocket is closed."""
        if self._leaving is not None:
            await self._leaving
            self._leaving = None

    async def _handle_pushes(self) -> None:
        while True:
            session, push = await self._inbox.get()
            if self._on_push is None or not await session.begun():
                continue
            try:
                await self._on_push(push)
            except PliError as error:
                # Also when a request of the handler failed: the push must come again.
                session.end(error)
            except Exception as error:
                _log.error("a push could not be handled", exc_info=error)
                session.end(Offline(_("an unexpected error; see the log")))

    async def _woken_within(self, seconds: float) -> bool:
        waiting = {
            asyncio.ensure_future(self._pause(seconds)),
            asyncio.ensure_future(self._woken.wait()),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
        woken = self._woken.is_set()
        self._woken.clear()
        return woken

    def _become(self, state: ConnectionState) -> None:
        self._state = state
        self._changed.set()
        self._changed = asyncio.Event()
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception as error:  # a listener's bug must not end the connection
                _log.error("a state could not be told", exc_info=error)


def needs_a_person(error: PliError) -> bool:
    """Waiting does not help."""
    return error.permanent if isinstance(error, RelayError) else False


async def _leave(websocket: ClientConnection, reading: "asyncio.Task[None] | None") -> None:
    if reading is not None:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    await hang_up(websocket)


async def _while_reading(reading: "asyncio.Task[None]", work: Awaitable[T]) -> T:
    """The outcome of `work`, or the reading's error if that comes first."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({reading, task}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await reading
        return await task
    finally:
        task.cancel()
