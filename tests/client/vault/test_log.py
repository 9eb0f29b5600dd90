"""I9: secrets that are gone are gone, from the pages and from the write-ahead log."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from pli_client.errors import DiskFull
from pli_client.vault import Database, Vault
from pli_client.vault.log_keeper import MOST, QUIET

from .conftest import PASSPHRASE, QUICK, Pause
from .pages import decrypted, log_size


def store(key: bytes) -> Callable[[Database], object]:
    """What every message does: the ratchet's new key in the place of the old one."""
    return lambda db: db.execute("REPLACE INTO meta VALUES ('ratchet', ?)", (key,))


async def spend_keys(vault: Vault, count: int = 20) -> list[bytes]:
    keys = [secrets.token_bytes(32) for _ in range(count)]
    for key in keys:
        await vault.write(store(key))
    return keys


def found(folder: Path, keys: list[bytes]) -> int:
    pages = b"".join(decrypted(folder, PASSPHRASE))
    return sum(key in pages for key in keys)


async def test_old_keys_are_in_the_log_until_a_checkpoint_and_then_nowhere(
    folder: Path, vault: Vault
) -> None:
    keys = await spend_keys(vault)
    # This shows that the test would see them.
    assert found(folder, keys[:-1]) == len(keys) - 1
    await vault.checkpoint()
    assert log_size(folder) == 0
    assert found(folder, keys[:-1]) == 0
    assert found(folder, keys[-1:]) == 1


async def test_a_deleted_row_leaves_no_bytes_in_the_pages(folder: Path, vault: Vault) -> None:
    keys = await spend_keys(vault, 1)
    await vault.write(lambda db: db.execute("DELETE FROM meta"))
    await vault.checkpoint()
    assert found(folder, keys) == 0


async def until_log_is_empty(folder: Path, vault: Vault) -> None:
    """Lets the loop run on; a checkpoint is the database thread's next piece of work."""
    while log_size(folder):
        await vault.read(lambda _: None)


async def test_a_quiet_vault_empties_its_log_by_itself(
    folder: Path, vault: Vault, pause: Pause
) -> None:
    keys = await spend_keys(vault)
    while log_size(folder):
        await pause.end_if_any()
        await vault.read(lambda _: None)
    assert set(pause.asked) == {QUIET}
    assert found(folder, keys[:-1]) == 0


async def test_a_busy_vault_empties_its_log_before_long(folder: Path) -> None:
    now, pause = [0.0], Pause()
    vault = await Vault.create(folder, PASSPHRASE, kdf=QUICK, pause=pause, clock=lambda: now[0])
    async with vault:
        await vault.write(store(b"k" * 32))
        quiet_times = 0
        while log_size(folder):
            await pause.asleep.wait()
            await vault.write(store(secrets.token_bytes(32)))  # never quiet
            now[0] += QUIET
            quiet_times += 1
            if now[0] < MOST:
                await pause.end()
                continue
            await pause.end()
            await until_log_is_empty(folder, vault)
        assert quiet_times <= MOST / QUIET + 1


async def test_a_write_may_ask_for_the_log_to_be_emptied_at_once(
    folder: Path, vault: Vault, pause: Pause
) -> None:
    keys = await spend_keys(vault, 2)
    await vault.write(lambda db: db.execute("DELETE FROM meta"), scrub=True)
    await until_log_is_empty(folder, vault)  # nobody ends a pause here
    assert found(folder, keys) == 0


async def test_closing_empties_the_log(folder: Path, vault: Vault) -> None:
    keys = await spend_keys(vault)
    await vault.close()
    assert log_size(folder) == 0
    assert found(folder, keys[:-1]) == 0


async def test_opening_after_a_crash_empties_the_log(
    folder: Path, vault: Vault, tmp_path: Path
) -> None:
    keys = await spend_keys(vault)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in folder.iterdir():
        (crashed / file.name).write_bytes(file.read_bytes())
    assert found(crashed, keys[:-1]) == len(keys) - 1
    async with await Vault.open(crashed, PASSPHRASE) as again:
        rows = await again.read(lambda db: db.execute("SELECT value FROM meta").fetchall())
        assert rows == [(keys[-1],)]
        assert log_size(crashed) == 0
        assert found(crashed, keys[:-1]) == 0


async def test_a_hundred_writes_make_no_checkpoint_of_their_own(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hot path: the log grows, nobody waits for it."""
    checkpoints = 0
    original = Vault.checkpoint

    async def counted(self: Vault) -> None:
        nonlocal checkpoints
        checkpoints += 1
        await original(self)

    monkeypatch.setattr(Vault, "checkpoint", counted)
    await asyncio.gather(*(vault.write(store(secrets.token_bytes(32))) for _ in range(100)))
    assert checkpoints == 0


async def test_a_checkpoint_that_failed_is_tried_again(
    folder: Path, vault: Vault, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    async def full(self: Vault) -> None:
        tried.set()
        raise DiskFull()

    keys = await spend_keys(vault)
    with monkeypatch.context() as patch:
        patch.setattr(Vault, "checkpoint", full)
        while not tried.is_set():
            await pause.end_if_any()
            await vault.read(lambda _: None)
    assert found(folder, keys[:-1]) > 0
    while log_size(folder):
        await pause.end_if_any()
        await vault.read(lambda _: None)
    assert found(folder, keys[:-1]) == 0
