"""Handing a command to the process that has the vault open, over a local socket of the same user.

A UNIX socket in the vault's folder (0600 in 0700), whose peer must run as the same user. On Windows,
and where the folder's path is too long for a socket, TCP on loopback whose port and 32-byte token
stand in a file that only the user may read. The file may be a dead owner's, and the port another
user's by now: each side proves that it knows the token, which itself never travels. One request per
connection, JSON lines:

    caller -> owner   32 random bytes, hex                                   (TCP only)
    owner -> caller   32 random bytes and a proof (HMAC-SHA256), hex         (TCP only)
    caller -> owner   a proof, hex                                           (TCP only)
                      {"command": "send", "args": {…}, "language": "fr"}
    owner -> caller   {"reply": {…}} for each reply, then {} or
                      {"error": {"code", "exit_code", "text"}}
"""

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
import struct
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from .errors import HandoverFailed, PliError
from .i18n import Language, current
from .vault.private_files import replace_durably

SOCKET_FILE: Final = "handover.sock"
ADDRESS_FILE: Final = "handover.json"
LONGEST_LINE: Final = 1024 * 1024
"""Bytes of the longest request or reply."""

MOST_CALLERS: Final = 16
GREETING_TIMEOUT: Final = 10.0
_NONCE: Final = 32
_LONGEST_PATH: Final = 100  # sun_path has 104 bytes on some systems, with its final zero

_log = logging.getLogger("pli_client.handover")
_log.addHandler(logging.NullHandler())

Reply = dict[str, Any]


class Request(msgspec.Struct, frozen=True):
    """A command with its arguments, and the language in which its errors are told."""

    command: str
    args: dict[str, Any] = {}
    language: Language = msgspec.field(default_factory=current)


Handler = Callable[[Request], AsyncIterator[Reply]]
"""Carries out a request and yields its replies; a PliError that it raises reaches the caller."""


class HandedOverError(PliError):
    """An error of the process that has the vault, as it told it."""

    CAUSE = "%(text)s"

    def __init__(self, code: str, exit_code: int, text: str) -> None:
        super().__init__(text=text)
        self.code = code
        self.exit_code = exit_code


class _Address(msgspec.Struct, frozen=True):
    """The content of ADDRESS_FILE."""

    port: int
    token: str


class _Told(msgspec.Struct, frozen=True):
    code: str
    exit_code: int
    text: str


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line from the owner; one without anything is the end."""

    reply: Reply | None = None
    error: _Told | None = None


# --- the owner's side -------------------------------------------------------------------------


class Handover:
    """Takes requests for an open vault; close it before the vault."""

    def __init__(self, folder: Path, handler: Handler) -> None:
        self._folder, self._handler = folder, handler
        self._token: str | None = None
        self._server: asyncio.Server | None = None
        self._callers: set[asyncio.Task[None]] = set()

    @classmethod
    async def serve(cls, folder: Path, handler: Handler, *, tcp: bool | None = None) -> Self:
        """Listen until closed. Only the process that holds the vault's lock may do this.

        Args:
            tcp: TCP or not, instead of what suits this system.

        Raises:
            OSError: there is no way to listen.
        """
        _remove_addresses(folder)
        handover = cls(folder, handler)
        if _needs_tcp(folder) if tcp is None else tcp:
            await handover._listen_on_tcp()
        else:
            await handover._listen_on_socket()
        return handover

    async def close(self) -> None:
        """Stop listening and end what is under way."""
        if self._server is not None:
            self._server.close()
        for task in self._callers:
            task.cancel()
        await asyncio.gather(*self._callers, return_exceptions=True)
        _remove_addresses(self._folder)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def _listen_on_tcp(self) -> None:
        self._token = secrets.token_hex(32)
        self._server = await asyncio.start_server(self._called, "127.0.0.1", 0, limit=LONGEST_LINE)
        port = self._server.sockets[0].getsockname()[1]
        address = msgspec.json.encode(_Address(port, self._token))
        replace_durably(self._folder / ADDRESS_FILE, address)

    async def _listen_on_socket(self) -> None:
        if sys.platform == "win32":
            raise OSError("no UNIX sockets here")
        path = str(self._folder / SOCKET_FILE)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(path)
            os.chmod(path, 0o600)  # until then the folder's 0700 keeps others out
            self._server = await asyncio.start_unix_server(
                self._called, sock=listening, limit=LONGEST_LINE
            )
        except BaseException:
            listening.close()
            raise

    async def _called(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._callers.add(task)
        try:
            if len(self._callers) <= MOST_CALLERS and _same_user(writer):
                await self._converse(reader, writer)
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # the caller went away, spoke nonsense, or this side closes
        finally:
            self._callers.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(GREETING_TIMEOUT):
            if self._token is not None and not await self._knows_token(reader, writer):
                return
            request = msgspec.json.decode(await reader.readline(), type=Request)
        answering = asyncio.ensure_future(self._answer(request, writer))
        gone = asyncio.ensure_future(reader.read(1))
        try:
            # A caller that hangs up ends its command.
            await asyncio.wait((answering, gone), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:
            answering.cancel()
            gone.cancel()
            await asyncio.gather(answering, gone, return_exceptions=True)

    async def _knows_token(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        assert self._token is not None
        theirs = _from_hex(await reader.readline(), _NONCE)
        both = theirs + secrets.token_bytes(_NONCE)
        writer.write(both[_NONCE:].hex().encode() + _proof(self._token, "owner", both) + b"\n")
        await writer.drain()
        shown = (await reader.readline()).strip()
        return hmac.compare_digest(shown, _proof(self._token, "caller", both))

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        replies = self._handler(request)
        try:
            async for reply in replies:
                await _put(writer, _Line(reply=reply))
            await _put(writer, _Line())
        except PliError as error:
            text = error.sentence(request.language)
            await _put(writer, _Line(error=_Told(error.code, error.exit_code, text)))
        except OSError:
            raise
        except Exception as error:
            _log.error("a command that was handed over failed", exc_info=error)
            failed = PliError()
            text = failed.sentence(request.language)
            await _put(writer, _Line(error=_Told(failed.code, failed.exit_code, text)))
        finally:
            if isinstance(replies, AsyncGenerator):
                await replies.aclose()


# --- the caller's side ------------------------------------------------------------------------


async def call(folder: Path, request: Request) -> AsyncGenerator[Reply, None]:
    """Have the owner of the vault in `folder` do something; yields its replies as they come.

    Raises:
        HandoverFailed: nobody listens there, or it went away before the end.
        HandedOverError: the owner's own error.
    """
    reader, writer = await _reach(folder)
    try:
        writer.write(msgspec.json.encode(request) + b"\n")
        await writer.drain()
        while True:
            line = msgspec.json.decode(await reader.readline(), type=_Line)
            if line.error is not None:
                raise HandedOverError(line.error.code, line.error.exit_code, line.error.text)
            if line.reply is None:
                return
            yield line.reply
    except (OSError, ValueError, msgspec.DecodeError):
        raise HandoverFailed() from None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _reach(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        if (folder / ADDRESS_FILE).exists():
            address = msgspec.json.decode((folder / ADDRESS_FILE).read_bytes(), type=_Address)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", address.port, limit=LONGEST_LINE
            )
            try:
                if not await _owner_knows(reader, writer, address.token):
                    raise HandoverFailed()
            except BaseException:
                writer.close()
                raise
            return reader, writer
        if sys.platform == "win32":
            raise HandoverFailed()
        path = str(folder / SOCKET_FILE)
        reader, writer = await asyncio.open_unix_connection(path, limit=LONGEST_LINE)
    except (OSError, ValueError, msgspec.DecodeError):
        raise HandoverFailed() from None
    if not _same_user(writer):
        writer.close()
        raise HandoverFailed()
    return reader, writer


async def _owner_knows(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str
) -> bool:
    """Whether who listens there has the token; if so, show that this side has it too."""
    own = secrets.token_bytes(_NONCE)
    writer.write(own.hex().encode() + b"\n")
    await writer.drain()
    async with asyncio.timeout(GREETING_TIMEOUT):
        line = (await reader.readline()).strip()
    both = own + _from_hex(line[: 2 * _NONCE], _NONCE)
    if not hmac.compare_digest(line[2 * _NONCE :], _proof(token, "owner", both)):
        return False
    writer.write(_proof(token, "caller", both) + b"\n")
    return True


# --- both -------------------------------------------------------------------------------------


def _proof(token: str, side: str, nonces: bytes) -> bytes:
    """What only who knows the token can say of these two nonces, in hex; each side's is its own."""
    said = b"pli handover v1 " + side.encode() + b"\0" + nonces
    return hmac.digest(token.encode(), said, "sha256").hex().encode()


def _from_hex(line: bytes, size: int) -> bytes:
    """Raises ValueError for anything but `size` bytes in hex."""
    data = bytes.fromhex(line.decode("ascii").strip())
    if len(data) != size:
        raise ValueError("not a nonce")
    return data


async def _put(writer: asyncio.StreamWriter, line: _Line) -> None:
    data = msgspec.json.encode(line)
    if len(data) >= LONGEST_LINE:
        raise ValueError("a reply is longer than a line may be")
    writer.write(data + b"\n")
    await writer.drain()


def _needs_tcp(folder: Path) -> bool:
    return sys.platform == "win32" or len(os.fsencode(folder / SOCKET_FILE)) > _LONGEST_PATH


def _remove_addresses(folder: Path) -> None:
    for name in (SOCKET_FILE, ADDRESS_FILE):
        (folder / name).unlink(missing_ok=True)


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the other end of a UNIX socket is this user; elsewhere the token tells."""
    peer = writer.get_extra_info("socket")
    if sys.platform != "linux" or peer is None or peer.family != socket.AF_UNIX:
        return True  # other systems: the modes of socket and folder
    _pid, user, _group = struct.unpack(
        "3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return bool(user == os.geteuid())
