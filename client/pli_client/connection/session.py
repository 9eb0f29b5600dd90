"""One WebSocket from greeting to end: requests by number, answers checked, pushes into the inbox.

A session ends by raising. Whatever the relay sends that the protocol does not allow ends it with
RelayMisbehaved; nothing a relay sends can end the client.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, NoReturn, cast

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames
from pli_protocol.relay.codec import FrameError, decode_relay_frame, encode
from pli_protocol.relay.frames import (
    PROTOCOL_VERSIONS,
    DirectoryChanged,
    Done,
    EnrolmentAnswer,
    EnrolmentWaiting,
    GroupRefounded,
    Hello,
    LinkingAnswer,
    PartnersChanged,
    Refused,
    RelayFrame,
    RevocationsChanged,
    Row,
    StatementsChanged,
    Welcomed,
    WelcomeWaiting,
)

from ..errors import Offline, PliError, RelayMisbehaved, RelayRefused, RequestTimedOut, WrongRelay
from ..i18n import _
from .dialling import closed_error
from .inbox import Inbox, InboxOverflow
from .requests import ANSWERS, Requests, Unanswered
from .sign_in import closing_error

GREETING_TIMEOUT: Final = 15.0
"""Seconds from the open WebSocket to the relay's first frame."""

MOST_ABANDONED: Final = 1024
"""Requests whose answers nobody waits for any more, but which may still come."""

Push = (
    Row
    | WelcomeWaiting
    | GroupRefounded
    | RevocationsChanged
    | DirectoryChanged
    | PartnersChanged
    | StatementsChanged
    | EnrolmentWaiting
    | EnrolmentAnswer
    | LinkingAnswer
)
"""What a relay sends without being asked."""


@dataclass(slots=True)
class _Open:
    expected: type[RelayFrame]
    answer: "asyncio.Future[RelayFrame]"


class Session(Requests):
    """The requests of one WebSocket. `read` must run for answers to come."""

    def __init__(self, websocket: ClientConnection, inbox: "Inbox[tuple[Session, Push]]") -> None:
        self._websocket = websocket
        self._inbox = inbox
        self._open: dict[int, _Open] = {}
        self._abandoned: set[int] = set()
        self._next_rid = 1
        self._error: PliError | None = None
        self._begun = asyncio.Event()
        self._over = asyncio.Event()

    @property
    def ending(self) -> PliError | None:
        """Why it ended; None while it goes on."""
        return self._error

    def begin(self) -> None:
        """Signed in: its pushes may be handled from now on."""
        self._begun.set()

    async def begun(self) -> bool:
        """Wait until its pushes may be handled; False: it ended, and they come again."""
        await self._begun.wait()
        return self._error is None

    async def greet(self, expected: str | None, software: str) -> Welcomed:
        """Say hello; check version and name before anything of ours is told.

        Raises:
            WrongRelay, ClientOutdated, RelayOutdated, RelayMisbehaved, Offline.
        """
        await self._put(Hello(PROTOCOL_VERSIONS, software))
        try:
            async with asyncio.timeout(GREETING_TIMEOUT):
                frame = await self._receive()
        except TimeoutError:
            raise Offline(_("no answer")) from None
        match frame:
            case Welcomed() if frame.version not in PROTOCOL_VERSIONS:
                raise RelayMisbehaved("chose a version that was not offered")
            case Welcomed():
                if expected is not None and frame.relay.lower() != expected.lower():
                    raise WrongRelay(found=frame.relay, expected=expected)
                return frame
            case Refused():
                raise _refused_all(frame)
            case _:
                raise RelayMisbehaved("the first frame is no greeting")

    async def read(self) -> None:
        """Read until the end, which is an exception: PliError."""
        while True:
            await self._room()
            frame = await self._receive()
            match frame:
                case Refused(rid=None):
                    raise _refused_all(frame)
                case Row() | WelcomeWaiting() | GroupRefounded():
                    self._pushed(frame)
                case (
                    RevocationsChanged()
                    | DirectoryChanged()
                    | StatementsChanged()
                    | PartnersChanged()
                ):
                    self._pushed(frame)
                case EnrolmentWaiting() | EnrolmentAnswer(rid=None) | LinkingAnswer(rid=None):
                    self._pushed(frame)
                case Welcomed():
                    raise RelayMisbehaved("a second greeting")
                case _:
                    self._answered(frame, frame.rid)

    def end(self, error: PliError) -> None:
        """Every request that waits fails with this error, and so does every later one.

        The first error stays. Whoever holds the WebSocket learns it from `ended` and closes it.
        """
        if self._error is None:
            self._error = error
        self._begun.set()
        self._over.set()
        for request in self._open.values():
            if not request.answer.done():
                request.answer.set_exception(error.again())

    async def ended(self) -> NoReturn:
        """Wait for `end`; raises its error."""
        await self._over.wait()
        assert self._error is not None
        raise self._error

    async def send(self, frame: Unanswered) -> None:
        await self._put(frame)

    async def _ask(self, frame: frames.Request, timeout: float) -> RelayFrame:
        if self._error is not None:
            raise self._error.again()
        rid = self._next_rid
        self._next_rid += 1
        request = _Open(ANSWERS.get(type(frame), Done), asyncio.get_running_loop().create_future())
        self._open[rid] = request
        self._inbox.answer_awaited(1)
        try:
            async with asyncio.timeout(timeout):
                await self._put(msgspec.structs.replace(frame, rid=rid))
                return await request.answer
        except TimeoutError:
            raise RequestTimedOut() from None
        finally:
            self._inbox.answer_awaited(-1)
            self._open.pop(rid)
            if not request.answer.done() or request.answer.cancelled():
                self._abandon(rid)
            else:
                request.answer.exception()  # seen, also when sending failed first

    def _abandon(self, rid: int) -> None:
        self._abandoned.add(rid)
        if len(self._abandoned) > MOST_ABANDONED:
            self._abandoned.discard(min(self._abandoned))

    def _pushed(self, push: Push) -> None:
        try:
            self._inbox.put((self, push))
        except InboxOverflow:
            raise RelayMisbehaved("more pushes than its window") from None

    def _answered(self, frame: RelayFrame, rid: int | None) -> None:
        request = self._open.get(rid) if rid is not None else None
        if request is None:
            if rid not in self._abandoned:
                raise RelayMisbehaved("an answer to nothing that was asked")
            self._abandoned.discard(rid)
        elif request.answer.done():
            raise RelayMisbehaved("two answers to one request")
        elif isinstance(frame, Refused):
            request.answer.set_exception(_refusal(frame))
        elif type(frame) is request.expected:
            request.answer.set_result(frame)
        else:
            raise RelayMisbehaved("an answer of the wrong kind")

    async def _put(self, frame: frames.Frame) -> None:
        data = encode(cast(frames.ClientFrame, frame))
        if self._error is not None:
            raise self._error.again()
        try:
            await self._websocket.send(data)
        except ConnectionClosed as closed:
            raise closed_error(closed) from None

    async def _room(self) -> None:
        """Wait until there is reason to read on; a lost connection is one."""
        if self._inbox.has_room:
            return
        waiting = {
            asyncio.ensure_future(self._inbox.room()),
            asyncio.ensure_future(self._websocket.wait_closed()),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _receive(self) -> RelayFrame:
        try:
            data = await self._websocket.recv()
        except ConnectionClosed as closed:
            raise closed_error(closed) from None
        if isinstance(data, str):
            raise RelayMisbehaved("text instead of bytes")
        try:
            return decode_relay_frame(data)
        except FrameError:
            raise RelayMisbehaved("a frame that cannot be read") from None


def _refusal(frame: Refused) -> RelayRefused:
    return RelayRefused(frame.code, frame.detail, epoch=frame.epoch, retry_after=frame.retry_after)


def _refused_all(frame: Refused) -> PliError:
    return closing_error(frame.code, frame.detail) or _refusal(frame)
