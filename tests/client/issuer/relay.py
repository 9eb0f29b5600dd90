"""A relay in memory that carries enrolments and revocations only, with faults on demand."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import (
    IdentityError,
    RevocationList,
    SigningKey,
    Trust,
    verify_authority,
    verify_statement,
)
from pli_protocol.identity.keys import verify
from pli_protocol.relay import frames
from pli_protocol.relay.codec import decode_client_frame, encode
from pli_protocol.relay.log import registration_challenge, sign_in_challenge
from pli_protocol.transparency import EMPTY_ROOT, TreeHead, sign_head

NAME = "127.0.0.1"
CHALLENGE = bytes(range(32))
_LOG = SigningKey.from_seed(bytes(32))
LOG_KEY = _LOG.public
HEAD = sign_head(NAME, TreeHead(1, 0, EMPTY_ROOT, 1), _LOG)


@dataclass
class FakeRelay:
    """Its whole memory; `url` while it runs. It lasts across `running`."""

    url: str = ""
    codes: set[str] = field(default_factory=lambda: {"CODE"})
    establishment: frames.RegisterEstablishment | None = None
    requests: dict[bytes, bytes] = field(default_factory=dict)
    answers: dict[bytes, tuple[bytes, bytes | None]] = field(default_factory=dict)
    answered: list[bytes] = field(default_factory=list)
    revocations: list[bytes] = field(default_factory=list)
    blobs: dict[bytes, bytes] = field(default_factory=dict)
    token: bytes | None = None
    swallow: set[type[frames.Frame]] = field(default_factory=set)
    """The answer to the next request of these classes is lost with the connection."""
    lose_answers: int = 0
    """So many of the issuer's answers are not kept."""
    alter: Callable[[frames.RelayFrame], frames.RelayFrame] = lambda frame: frame
    issuer: ServerConnection | None = None
    askers: dict[bytes, ServerConnection] = field(default_factory=dict)
    seen: list[frames.ClientFrame] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator["FakeRelay"]:
        async with serve(self._serve, "127.0.0.1", port, compression=None) as server:
            self.port = server.sockets[0].getsockname()[1]
            self.url = f"ws://127.0.0.1:{self.port}"
            yield self

    async def _serve(self, socket: ServerConnection) -> None:
        try:
            async for data in socket:
                assert isinstance(data, bytes)
                frame = decode_client_frame(data)
                self.seen.append(frame)
                answer = await self._handle(socket, frame)
                if type(frame) in self.swallow:
                    self.swallow.remove(type(frame))
                    await socket.close()
                    return
                await socket.send(encode(self.alter(answer)))
        except ConnectionClosed:
            pass

    async def _handle(
        self, socket: ServerConnection, frame: frames.ClientFrame
    ) -> frames.RelayFrame:
        if isinstance(frame, frames.Hello):
            return frames.Welcomed(1, NAME, CHALLENGE, 0)
        assert isinstance(frame, frames.Request)
        handler = getattr(self, f"_{type(frame).__name__}")
        answer = await handler(socket, frame)
        assert isinstance(answer, frames.RelayFrame)
        return answer

    async def _RegisterEstablishment(
        self, _socket: ServerConnection, frame: frames.RegisterEstablishment
    ) -> frames.RelayFrame:
        if frame.code not in self.codes:
            return frames.Refused("used", frame.rid)
        trust = Trust(frame.authority)
        issuer = trust.issuer((frame.issuer,))
        verify(issuer.key, registration_challenge(NAME, CHALLENGE, frame.code), frame.signature)
        self.codes.discard(frame.code)
        self.establishment = frame
        return frames.Done(frame.rid)

    async def _GetEstablishment(
        self, _socket: ServerConnection, frame: frames.GetEstablishment
    ) -> frames.RelayFrame:
        held = self.establishment
        if held is None or verify_authority(held.authority).establishment != frame.establishment:
            return frames.Refused("not-found", frame.rid)
        return frames.Establishment(
            frame.rid,
            held.authority,
            (held.issuer,),
            (held.enrolment_key,),
            self.revocations[-1] if self.revocations else None,
        )

    async def _GetPartners(
        self, _socket: ServerConnection, frame: frames.GetPartners
    ) -> frames.RelayFrame:
        return frames.Partners(frame.rid, ())

    async def _GetAuthorityChanges(
        self, _socket: ServerConnection, frame: frames.GetAuthorityChanges
    ) -> frames.RelayFrame:
        return frames.AuthorityChanges(frame.rid)

    async def _GetDirectory(
        self, _socket: ServerConnection, frame: frames.GetDirectory
    ) -> frames.RelayFrame:
        return frames.Directory(frame.rid, ())

    async def _SignIn(self, socket: ServerConnection, frame: frames.SignIn) -> frames.RelayFrame:
        assert self.establishment is not None
        if frame.token != self.token:
            return frames.Refused("clone", frame.rid)
        try:
            issuer = Trust(self.establishment.authority).issuer(frame.chain)
            verify(issuer.key, sign_in_challenge(NAME, CHALLENGE, frame.token), frame.signature)
        except IdentityError:
            return frames.Refused("sign-in-failed", frame.rid)
        self.issuer = socket
        return frames.SignedIn(frame.rid, b"T" * 16, 1, len(self.revocations), 0, LOG_KEY, HEAD)

    async def _ConfirmToken(
        self, _socket: ServerConnection, frame: frames.ConfirmToken
    ) -> frames.RelayFrame:
        self.token = frame.token
        return frames.Done(frame.rid)

    async def _RequestEnrolment(
        self, socket: ServerConnection, frame: frames.RequestEnrolment
    ) -> frames.RelayFrame:
        if frame.request_id in self.requests:
            return frames.Refused("conflict", frame.rid)
        self.requests[frame.request_id] = frame.sealed
        waiting = frames.PendingEnrolment(frame.request_id, frame.sealed)
        if self.issuer is not None:
            await self._push(self.issuer, frames.EnrolmentWaiting(waiting))
        return frames.Done(frame.rid)

    async def _FetchEnrolment(
        self, socket: ServerConnection, frame: frames.FetchEnrolment
    ) -> frames.RelayFrame:
        if frame.request_id not in self.requests:
            return frames.Refused("not-found", frame.rid)
        self.askers[frame.request_id] = socket
        sealed, _ = self.answers.get(frame.request_id, (None, None))
        return frames.EnrolmentAnswer(frame.request_id, sealed, frame.rid)

    async def _ListEnrolments(
        self, _socket: ServerConnection, frame: frames.ListEnrolments
    ) -> frames.RelayFrame:
        known = list(self.requests)
        before = known[: known.index(frame.after) + 1] if frame.after is not None else []
        waiting = tuple(
            frames.PendingEnrolment(request_id, sealed)
            for request_id, sealed in self.requests.items()
            if request_id not in self.answers and request_id not in before
        )[:2]  # a frame full
        return frames.Enrolments(frame.rid, waiting)

    async def _AnswerEnrolment(
        self, _socket: ServerConnection, frame: frames.AnswerEnrolment
    ) -> frames.RelayFrame:
        self.answered.append(frame.sealed)
        if self.lose_answers:
            self.lose_answers -= 1
            return frames.Done(frame.rid)
        self.answers[frame.request_id] = (frame.sealed, frame.person)
        asker = self.askers.get(frame.request_id)
        if asker is not None:
            await self._push(asker, frames.EnrolmentAnswer(frame.request_id, frame.sealed))
        return frames.Done(frame.rid)

    async def _PublishRevocations(
        self, _socket: ServerConnection, frame: frames.PublishRevocations
    ) -> frames.RelayFrame:
        assert self.establishment is not None
        statement = frame.statement
        if isinstance(statement, frames.BlobRef):
            statement = self.blobs[statement.blob]
        trust = Trust(self.establishment.authority, revocations=self.revocations[-1:])
        held = trust.head().number
        if (
            verify_statement(statement, RevocationList, trust.own.certificate).statement.number
            <= held
        ):
            return frames.Refused("conflict", frame.rid)
        trust.accept_revocations(statement)
        self.revocations.append(statement)
        return frames.Done(frame.rid)

    async def _GetRevocations(
        self, _socket: ServerConnection, frame: frames.GetRevocations
    ) -> frames.RelayFrame:
        return frames.Revocations(frame.rid, self.revocations[-1] if self.revocations else None)

    async def _PutBlob(self, _socket: ServerConnection, frame: frames.PutBlob) -> frames.RelayFrame:
        self.blobs[frame.blob] = self.blobs.get(frame.blob, b"") + frame.data
        return frames.Done(frame.rid)

    async def _push(self, socket: ServerConnection, frame: frames.RelayFrame) -> None:
        with suppress(ConnectionClosed):
            await socket.send(encode(self.alter(frame)))

    def forget_answer(self, request_id: bytes) -> None:
        del self.answers[request_id]


def changed(frame: frames.RelayFrame, **changes: object) -> frames.RelayFrame:
    return msgspec.structs.replace(frame, **changes)
