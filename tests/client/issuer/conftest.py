"""A relay, an established establishment, and people who join it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pli_client.enrolment import enrol
from pli_client.issuer import Issuer, Report, establish
from pli_client.vault import Kdf, Vault
from pli_protocol.identity import Device, Invitation
from pli_protocol.secret import Secret

from .relay import FakeRelay

PASSPHRASE = Secret(b"phrase de passe")
AUTHORITY_PASSPHRASE = Secret(b"une autre phrase")
CHEAP = Kdf(memory=8, passes=1, lanes=1)
NAME = "EHPAD Les Tilleuls"


@pytest.fixture
async def relay() -> AsyncIterator[FakeRelay]:
    async with FakeRelay().running() as running:
        yield running


@pytest.fixture
async def issuer(relay: FakeRelay, tmp_path: Path) -> AsyncIterator[Issuer]:
    await found(relay, tmp_path / "admin")
    async with await Issuer.open(tmp_path / "admin", PASSPHRASE) as opened:
        yield opened


async def found(relay: FakeRelay, folder: Path, **changes: object) -> object:
    given: dict[str, object] = {"name": NAME, "relay_url": relay.url, "code": "CODE"}
    given.update(changes)
    return await establish(
        folder,
        PASSPHRASE,
        AUTHORITY_PASSPHRASE,
        kdf=CHEAP,
        proxy=None,
        **given,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def serving(issuer: Issuer, reports: list[Report] | None = None) -> AsyncIterator[None]:
    """The issuer answers while the block runs."""
    task = asyncio.create_task(issuer.serve((reports if reports is not None else []).append))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def vault(folder: Path) -> AsyncIterator[Vault]:
    if (folder / "vault.json").exists():
        opened = await Vault.open(folder, PASSPHRASE)
    else:
        opened = await Vault.create(folder, PASSPHRASE, kdf=CHEAP)
    async with opened:
        yield opened


async def join(folder: Path, invitation: Invitation | None, **options: object) -> Device:
    async with vault(folder) as opened:
        return await enrol(opened, invitation, **options)  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    """Let the other tasks run until it holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  conditions of many kinds
            await asyncio.sleep(0.005)
