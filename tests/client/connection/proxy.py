"""An HTTP proxy of the tests' own: CONNECT, then bytes both ways. Its names are its own."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class ConnectProxy:
    """Lets everything through to `target` (a port on loopback), whatever name is asked for."""

    def __init__(self, target: int, *, status: str = "200 Connection established") -> None:
        self._target, self._status = target, status
        self.asked: list[str] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head.split("\r\n")[0])
            writer.write(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
            await writer.drain()
            if self._status.startswith("200"):
                onwards = await asyncio.open_connection("127.0.0.1", self._target)
                await asyncio.gather(pipe(reader, onwards[1]), pipe(onwards[0], writer))
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        with contextlib.suppress(OSError):
            writer.close()
