"""Carrying ciphertext to and from the relay, part by part; both ways go on where they stopped."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from pli_protocol.relay.frames import BLOB_PART, GetBlob, GetUpload, PutBlob

from ..connection.requests import Requests
from ..errors import (
    NO_SPACE,
    DiskFull,
    FileDamaged,
    FileUnreadable,
    FileUnwritable,
    RelayRefused,
    Text,
    system_reason,
)
from ..i18n import N_
from ..vault.private_files import open_private

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all; what it is told is safe at the relay, or on this disk."""

AT_ONCE: Final = 4
"""Parts on their way to the relay at a time."""


async def upload(
    relay: Requests,
    blob: bytes,
    sealed: Path,
    *,
    progress: Progress | None = None,
) -> None:
    """Put a sealed file at the relay; complete and on its disk when this returns.

    It goes on where the relay says that an earlier try stopped, in this process or another. Where that
    turns out to be wrong, all goes up again.

    Args:
        blob: its id, 32 random bytes, the same at every try.

    Raises:
        Offline, RelayRefused: try again later. FileUnreadable. What `progress` raises.
    """
    try:
        file = sealed.open("rb")
    except OSError as error:
        raise FileUnreadable(name=sealed.name, reason=system_reason(error)) from None
    with file:
        size = os.fstat(file.fileno()).st_size
        start = await _held(relay, blob, size) if size > BLOB_PART else 0
        if start == size:
            return
        try:
            await _upload_from(relay, blob, file, start, size, progress)
        except RelayRefused as refused:
            if start == 0 or refused.refusal not in ("invalid", "not-found", "conflict"):
                raise
            await _upload_from(relay, blob, file, 0, size, progress)


async def _held(relay: Requests, blob: bytes, size: int) -> int:
    """Where to go on; what cannot be such a place is none."""
    try:
        held = (await relay.request(GetUpload(0, blob))).held
    except RelayRefused as refused:
        if refused.refusal != "not-found":
            raise
        return 0
    return held if held == size or (held < size and held % BLOB_PART == 0) else 0


async def _upload_from(
    relay: Requests, blob: bytes, file: IO[bytes], start: int, size: int, progress: Progress | None
) -> None:
    waiting: list[tuple[int, asyncio.Task[object]]] = []
    offset = start
    try:
        while offset < size or waiting:
            while offset < size and len(waiting) < AT_ONCE:
                data = await asyncio.to_thread(_part, file, offset)
                if not data:
                    raise FileUnreadable(
                        name=Path(file.name).name, reason=Text(N_("it became shorter"))
                    )
                put = relay.request(PutBlob(0, blob, offset, size, data))
                offset += len(data)
                waiting.append((offset, asyncio.create_task(put)))
            end, task = waiting[0]
            await task
            waiting.pop(0)
            if progress is not None:
                progress(end, size)
    finally:
        for _end, task in waiting:
            task.cancel()
        await asyncio.gather(*(task for _end, task in waiting), return_exceptions=True)


def _part(file: IO[bytes], offset: int) -> bytes:
    file.seek(offset)
    return file.read(BLOB_PART)


async def download(
    relay: Requests,
    blob: bytes,
    size: int,
    sealed: Path,
    *,
    name: str,
    progress: Progress | None = None,
) -> None:
    """Fetch ciphertext into the file `sealed`, going on after what is in it already.

    Nothing of it can be trusted before `unseal` checked it.

    Args:
        size: bytes of the ciphertext (`sealed_size` of what the sender announced); the relay is
            asked for no byte more.
        name: the attachment's, for errors.

    Raises:
        FileDamaged: the relay holds another size; the part fetched is removed.
        Offline, RelayRefused: try again later; what was fetched is kept. FileUnwritable, DiskFull.
    """
    try:
        descriptor = open_private(sealed, os.O_RDWR)
    except OSError as error:
        raise _unwritable(error, name) from None
    with os.fdopen(descriptor, "r+b") as file:
        offset = os.fstat(descriptor).st_size
        if offset > size:
            offset = 0
        while offset < size:
            part = await relay.request(GetBlob(0, blob, offset))
            if part.size != size or not part.data or offset + len(part.data) > size:
                file.truncate(0)
                raise FileDamaged(name=name)
            await asyncio.to_thread(_put_part, file, offset, part.data, name)
            offset += len(part.data)
            if progress is not None:
                progress(offset, size)


def _put_part(file: IO[bytes], offset: int, data: bytes, name: str) -> None:
    try:
        file.seek(offset)
        file.write(data)
        file.truncate()
        file.flush()
    except OSError as error:
        raise _unwritable(error, name) from None


def _unwritable(error: OSError, name: str) -> Exception:
    if error.errno in NO_SPACE:
        return DiskFull()
    return FileUnwritable(name=name, reason=system_reason(error))
