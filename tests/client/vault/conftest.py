"""A folder for a vault, a quick Argon2id, a pause that only ends when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pli_client.vault import Kdf, Vault, passphrase

QUICK = Kdf(memory=64, passes=1, lanes=1)
PASSPHRASE = passphrase("une phrase d’essai")


class Pause:
    """Stands for asyncio.sleep: sleepers wake when the test lets them."""

    def __init__(self) -> None:
        self._sleepers: list[asyncio.Future[None]] = []
        self.asleep = asyncio.Event()
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        self._sleepers.append(sleeper)
        self.asked.append(seconds)
        self.asleep.set()
        await sleeper

    async def end(self) -> None:
        """Wait for somebody to sleep, then wake everybody."""
        await self.asleep.wait()
        self.asleep.clear()
        for sleeper in self._sleepers:
            if not sleeper.done():
                sleeper.set_result(None)
        self._sleepers.clear()

    async def end_if_any(self) -> None:
        """Wake whoever sleeps."""
        if self.asleep.is_set():
            await self.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
async def pause() -> Pause:
    return Pause()


@pytest.fixture
async def vault(folder: Path, pause: Pause) -> AsyncIterator[Vault]:
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK, pause=pause) as vault:
        yield vault
