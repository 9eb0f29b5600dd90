"""Opening, writing, reading, closing: what the vault promises its callers."""

import asyncio
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pli_client.errors import (
    VaultBusy,
    VaultDamaged,
    VaultExists,
    VaultMissing,
    VaultTooNew,
    VaultUnusable,
    WrongPassphrase,
)
from pli_client.vault import Database, IntegrityError, Vault, passphrase
from pli_client.vault import vault as vault_module
from pli_client.vault.database import DATABASE_FILE, Connection
from pli_client.vault.header import HEADER_FILE
from pli_client.vault.migrations import SCHEMA_VERSION

from .conftest import PASSPHRASE, QUICK


def put(key: str, value: bytes = b"x"):  # type: ignore[no-untyped-def]
    return lambda db: db.execute("INSERT INTO meta VALUES (?, ?)", (key, value))


def keys(db: Database) -> list[str]:
    return [row[0] for row in db.execute("SELECT key FROM meta ORDER BY key")]


async def test_what_was_written_is_there_after_opening_again(folder: Path) -> None:
    async with await Vault.create(folder, PASSPHRASE, kind="issuer", kdf=QUICK) as vault:
        await vault.write(put("a"))
    async with await Vault.open(folder, PASSPHRASE) as vault:
        assert await vault.read(keys) == ["a"]
        assert vault.kind == "issuer"


async def test_a_write_that_raises_changes_nothing(vault: Vault) -> None:
    def fail(db: Database) -> None:
        db.execute("INSERT INTO meta VALUES ('a', x'00')")
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await vault.write(fail)
    assert await vault.read(keys) == []


async def test_a_constraint_that_does_not_hold_is_the_callers_matter(vault: Vault) -> None:
    await vault.write(put("a"))
    with pytest.raises(IntegrityError):
        await vault.write(put("a"))
    await vault.write(put("b"))
    assert await vault.read(keys) == ["a", "b"]


async def test_what_a_read_writes_is_rolled_back(vault: Vault) -> None:
    await vault.read(put("a"))
    assert await vault.read(keys) == []


async def test_everything_runs_on_one_thread_that_is_not_the_loops(vault: Vault) -> None:
    threads = [await vault.write(lambda _: threading.get_ident()) for _ in range(3)]
    threads.append(await vault.read(lambda _: threading.get_ident()))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_a_cancelled_write_ends_before_its_caller_goes_on(vault: Vault) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(db: Database) -> None:
        begun.set()
        may_end.wait()
        db.execute("INSERT INTO meta VALUES ('slow', x'00')")

    writing = asyncio.create_task(vault.write(slow))
    await asyncio.to_thread(begun.wait)
    writing.cancel()
    reading = asyncio.create_task(vault.read(keys))
    done, _ = await asyncio.wait({writing}, timeout=0)
    assert not done
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert await reading == ["slow"]


async def test_a_write_cancelled_before_its_turn_never_runs(vault: Vault) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(db: Database) -> None:
        begun.set()
        may_end.wait()

    first = asyncio.create_task(vault.write(slow))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(vault.write(put("never")))
    await asyncio.wait({second}, timeout=0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    may_end.set()
    await first
    assert await vault.read(keys) == []


async def test_opening_that_was_cancelled_holds_no_lock(
    folder: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vault.close()
    begun, may_end = threading.Event(), threading.Event()
    original = vault_module.migrate

    def slow(connection: Connection) -> int:
        begun.set()
        may_end.wait()
        return original(connection)

    monkeypatch.setattr(vault_module, "migrate", slow)
    opening = asyncio.create_task(Vault.open(folder, PASSPHRASE))
    await asyncio.to_thread(begun.wait)
    opening.cancel()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with await Vault.open(folder, PASSPHRASE):
        pass


async def test_one_open_vault_at_a_time(folder: Path, vault: Vault) -> None:
    with pytest.raises(VaultBusy):
        await Vault.open(folder, PASSPHRASE)
    with pytest.raises(VaultBusy):
        await Vault.create(folder, PASSPHRASE, kdf=QUICK)
    await vault.close()
    async with await Vault.open(folder, PASSPHRASE):
        pass


HOLD = """
import asyncio, pathlib, sys
from pli_client.vault import Vault, passphrase
async def main():
    await Vault.open(pathlib.Path(sys.argv[1]), passphrase(sys.argv[2]))
    print("open", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_a_process_that_was_killed_leaves_no_lock(folder: Path, vault: Vault) -> None:
    await vault.close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), PASSPHRASE.decode()],
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert await asyncio.to_thread(holder.stdout.readline) == "open\n"
        with pytest.raises(VaultBusy):
            await Vault.open(folder, PASSPHRASE)
        holder.kill()
    async with await Vault.open(folder, PASSPHRASE):
        pass


async def test_closing_twice_is_closing_once_and_then_nothing_works(vault: Vault) -> None:
    await vault.close()
    await vault.close()
    with pytest.raises(RuntimeError):
        await vault.read(keys)


async def test_a_wrong_passphrase_is_told_from_damage(folder: Path, vault: Vault) -> None:
    await vault.close()
    with pytest.raises(WrongPassphrase):
        await Vault.open(folder, passphrase("une autre"))
    header = folder / HEADER_FILE
    good = header.read_bytes()
    for bad in (good[:-30], b"", b"\xff\xff", good.replace(b'"checksum": "', b'"checksum": "0')):
        header.write_bytes(bad)
        with pytest.raises(VaultDamaged):
            await Vault.open(folder, PASSPHRASE)
    header.write_bytes(good)
    async with await Vault.open(folder, PASSPHRASE):
        pass


async def test_accents_may_be_typed_in_either_way(folder: Path) -> None:
    await (await Vault.create(folder, passphrase("e\u0301te\u0301"), kdf=QUICK)).close()
    await (await Vault.open(folder, passphrase("\u00e9t\u00e9"))).close()


@pytest.mark.parametrize("page", [0, 1, 5])
async def test_a_changed_page_is_damage_and_not_content(
    folder: Path, vault: Vault, page: int
) -> None:
    await vault.close()
    file = folder / DATABASE_FILE
    data = bytearray(file.read_bytes())
    data[page * 4096 + 100] ^= 1
    file.write_bytes(data)

    async def read_all() -> None:
        async with await Vault.open(folder, PASSPHRASE) as vault:
            await vault.read(lambda db: db.execute("PRAGMA integrity_check").fetchall())
            await vault.read(
                lambda db: [
                    db.execute(f'SELECT * FROM "{row[0]}"').fetchall()
                    for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                ]
            )

    with pytest.raises(VaultDamaged):
        await read_all()


async def test_another_vaults_database_does_not_open(
    folder: Path, vault: Vault, tmp_path: Path
) -> None:
    await vault.close()
    await (await Vault.create(tmp_path / "other", PASSPHRASE, kdf=QUICK)).close()
    (folder / DATABASE_FILE).write_bytes((tmp_path / "other" / DATABASE_FILE).read_bytes())
    with pytest.raises(VaultDamaged):
        await Vault.open(folder, PASSPHRASE)


async def test_a_header_of_a_newer_pli_says_so_whatever_else_is_in_it(
    folder: Path, vault: Vault
) -> None:
    await vault.close()
    (folder / HEADER_FILE).write_bytes(b'{"version": 2, "post-quantum": true}')
    with pytest.raises(VaultTooNew) as raised:
        await Vault.open(folder, PASSPHRASE)
    assert "2" in raised.value.cause


async def test_tables_of_a_newer_pli_say_so_and_stay_as_they_are(
    folder: Path, vault: Vault
) -> None:
    newer = SCHEMA_VERSION + 1
    await vault.write(lambda db: db.execute(f"PRAGMA user_version = {newer}"))
    await vault.close()
    before = (folder / DATABASE_FILE).read_bytes()
    with pytest.raises(VaultTooNew):
        await Vault.open(folder, PASSPHRASE)
    assert (folder / DATABASE_FILE).read_bytes() == before


async def test_where_no_vault_is_none_is_made(folder: Path) -> None:
    with pytest.raises(VaultMissing):
        await Vault.open(folder, PASSPHRASE)
    assert not folder.exists()


async def test_an_existing_vault_is_not_overwritten(folder: Path, vault: Vault) -> None:
    await vault.close()
    with pytest.raises(VaultExists):
        await Vault.create(folder, PASSPHRASE, kdf=QUICK)
    async with await Vault.open(folder, PASSPHRASE):
        pass


async def test_a_creation_that_was_cut_short_can_be_begun_again(folder: Path) -> None:
    await (await Vault.create(folder, PASSPHRASE, kdf=QUICK)).close()
    (folder / HEADER_FILE).unlink()
    with pytest.raises(VaultMissing):
        await Vault.open(folder, PASSPHRASE)
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK) as vault:
        assert await vault.read(keys) == []


async def test_a_folder_that_is_a_file_is_said_in_one_sentence(folder: Path) -> None:
    folder.write_bytes(b"")
    with pytest.raises(VaultUnusable):
        await Vault.create(folder, PASSPHRASE, kdf=QUICK)


async def test_a_changed_passphrase_opens_and_the_old_one_does_not(
    folder: Path, vault: Vault
) -> None:
    await vault.write(put("a"))
    await vault.change_passphrase(passphrase("nouvelle"), kdf=QUICK)
    await vault.close()
    with pytest.raises(WrongPassphrase):
        await Vault.open(folder, PASSPHRASE)
    async with await Vault.open(folder, passphrase("nouvelle")) as again:
        assert await again.read(keys) == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists instead of modes")
async def test_only_the_owner_may_read_folder_and_files(folder: Path, vault: Vault) -> None:
    await vault.write(put("a"))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert set(modes) >= {"vault.db", "vault.db-wal", "vault.json", "vault.lock"}
    assert set(modes.values()) == {0o600}


async def test_nothing_readable_lies_in_the_folder(folder: Path, vault: Vault) -> None:
    needle = "Mme Perrin, chambre 12"
    await vault.write(put(needle, needle.encode()))
    for file in folder.iterdir():
        content = file.read_bytes()
        assert needle.encode() not in content
        assert b"SQLite format" not in content
        assert b"CREATE TABLE" not in content


async def test_no_library_writes_to_the_terminal(
    folder: Path, vault: Vault, capfd: pytest.CaptureFixture[str]
) -> None:
    await vault.close()
    data = bytearray((folder / DATABASE_FILE).read_bytes())
    data[20] ^= 1
    (folder / DATABASE_FILE).write_bytes(data)
    with pytest.raises(VaultDamaged):
        await Vault.open(folder, PASSPHRASE)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's ways to be asked")
async def test_a_process_with_an_open_vault_dumps_no_core(vault: Vault) -> None:
    import ctypes
    import resource

    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
    pr_get_dumpable = 3
    assert ctypes.CDLL(None).prctl(pr_get_dumpable, 0, 0, 0, 0) == 0


async def test_a_vault_forgotten_open_does_not_keep_the_process(folder: Path, vault: Vault) -> None:
    await vault.close()
    code = HOLD.replace("    await asyncio.Event().wait()\n", "")
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", code, str(folder), PASSPHRASE.decode()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == (0, "open\n")
