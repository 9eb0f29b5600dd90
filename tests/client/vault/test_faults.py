"""A full disk, a failing disk, a process killed at each fail point: nothing lost, nothing half done."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2

from pli_client.errors import DiskFull, VaultDamaged, VaultUnusable
from pli_client.vault import Database, Vault, transaction
from pli_protocol.failpoint import declared

from .conftest import PASSPHRASE


def put(key: str, value: bytes = b"x") -> Callable[[Database], object]:
    return lambda db: db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))


def keys(db: Database) -> list[str]:
    return [row[0] for row in db.execute("SELECT key FROM meta ORDER BY key")]


def limit_pages(more: int) -> Callable[[Database], object]:
    def limit(db: Database) -> None:
        (count,) = db.execute("PRAGMA page_count").fetchone() or (0,)
        db.execute(f"PRAGMA max_page_count = {count + more}").fetchall()

    return limit


async def test_a_full_disk_rolls_back_and_loses_nothing(folder: Path, vault: Vault) -> None:
    await vault.write(put("before"))
    await vault.read(limit_pages(3))

    def large(db: Database) -> None:
        put("half")(db)
        put("large", bytes(100_000))(db)

    for _ in range(2):
        with pytest.raises(DiskFull):
            await vault.write(large)
        assert await vault.read(keys) == ["before"]
    # Room again: the same write goes through.
    await vault.read(limit_pages(1_000_000))
    await vault.write(large)
    await vault.close()
    async with await Vault.open(folder, PASSPHRASE) as again:
        assert await again.read(keys) == ["before", "half", "large"]


async def test_small_writes_go_on_until_the_disk_is_really_full(vault: Vault) -> None:
    await vault.read(limit_pages(2))
    written = 0

    async def fill() -> None:
        nonlocal written
        while True:
            await vault.write(put(f"{written:06}", bytes(200)))
            written += 1

    with pytest.raises(DiskFull):
        await fill()
    assert len(await vault.read(keys)) == written > 0


def failing(code: int) -> Callable[[Database], object]:
    """As SQLite raises it when the system call beneath a statement fails."""

    def work(db: Database) -> None:
        put("half")(db)
        error = dbapi2.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    return work


async def test_after_a_failing_fsync_nothing_more_is_tried(vault: Vault) -> None:
    ioerr_fsync = dbapi2.SQLITE_IOERR | 4 << 8
    with pytest.raises(VaultUnusable):
        await vault.write(failing(ioerr_fsync))
    for attempt in (vault.write(put("a")), vault.read(keys)):
        with pytest.raises(VaultUnusable):
            await attempt


async def test_damage_found_on_the_way_is_named_and_rolls_back(vault: Vault) -> None:
    with pytest.raises(VaultDamaged):
        await vault.write(failing(dbapi2.SQLITE_CORRUPT))
    assert await vault.read(keys) == []


async def test_a_wrong_statement_is_a_bug_and_stays_one(vault: Vault) -> None:
    with pytest.raises(dbapi2.OperationalError):
        await vault.write(lambda db: db.execute("SELECT nothing FROM nowhere"))
    assert await vault.read(keys) == []


DIE = """
import asyncio, pathlib, sys
from pli_client.vault import Vault, passphrase, transaction
NAME = transaction("test")
async def main():
    vault = await Vault.open(pathlib.Path(sys.argv[1]), passphrase(sys.argv[2]))
    for key in ("a", "b"):
        await vault.write(lambda db: db.execute("INSERT INTO meta VALUES (?, x'00')", (key,)), name=NAME)
        print(key, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("point", "told", "kept"),
    [
        ("vault.test.before:2", "a\n", ["a"]),
        ("vault.test.within:2", "a\n", ["a"]),
        ("vault.test.after:2", "a\n", ["a", "b"]),
    ],
)
async def test_killed_anywhere_a_write_is_whole_or_absent(
    folder: Path, vault: Vault, point: str, told: str, kept: list[str]
) -> None:
    await vault.close()
    run = subprocess.run(
        [sys.executable, "-c", DIE, str(folder), PASSPHRASE.decode()],
        env={"PLI_FAILPOINT": point, "PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
    )
    assert run.returncode not in (0, 1)
    assert run.stdout == told
    async with await Vault.open(folder, PASSPHRASE) as again:
        assert await again.read(keys) == kept


def test_a_transaction_declares_its_fail_points() -> None:
    name = transaction("named-here")
    assert declared(f"vault.{name}") == (
        "vault.named-here.after",
        "vault.named-here.before",
        "vault.named-here.within",
    )
