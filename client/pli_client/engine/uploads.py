"""Attachments on their way to the relay: how far each is, and stopping one that was taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..files import upload
from ..store.messages import FileRow

if TYPE_CHECKING:
    from .engine import Engine


class UploadCancelled(Exception):
    """Its message was taken back."""


class Uploads:
    """Those of one engine. How far one is lies at the relay; what is known here is for display."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._done: dict[bytes, int] = {}
        self._under_way: dict[bytes, bool] = {}

    def done(self, blob: bytes) -> int:
        """Bytes of a ciphertext that the relay has taken, as far as is known."""
        return self._done.get(blob, 0)

    def cancel(self, message_id: bytes) -> None:
        """Stop what is under way for this message; the part that is on its way still arrives."""
        if message_id in self._under_way:
            self._under_way[message_id] = False

    async def run(self, message_id: bytes, file: FileRow, path: Path) -> None:
        """Bring one file to the relay, from where an earlier try stopped.

        Raises:
            UploadCancelled. Offline, RelayRefused: tried again later. FileUnreadable.
        """

        def progress(done: int, _total: int) -> None:
            self._done[file.blob] = done
            self._engine.announce()
            if not self._under_way[message_id]:
                raise UploadCancelled

        self._under_way[message_id] = True
        try:
            await upload(self._engine.connection, file.blob, path, progress=progress)
        finally:
            del self._under_way[message_id]
        self._done.pop(file.blob, None)
