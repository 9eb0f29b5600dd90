"""A vault that is wiped: its key first, then everything; a kill anywhere is made good at the next start."""

import subprocess
import sys
from pathlib import Path

import pytest

from pli_client.errors import VaultWiped
from pli_client.vault import Vault
from pli_client.vault.header import HEADER_FILE
from pli_client.vault.wiping import WIPED_FILE
from pli_protocol.failpoint import declared

from .conftest import PASSPHRASE, QUICK

POINTS = declared("vault.wipe.")

_WIPES = """
import asyncio, sys
from pathlib import Path
from pli_client.vault import Vault
from pli_protocol.secret import Secret

async def main():
    async with await Vault.open(Path(sys.argv[1]), Secret(sys.stdin.buffer.read())) as vault:
        await vault.wipe("stolen")

asyncio.run(main())
"""


async def filled(folder: Path) -> bytes:
    """A vault with something in it; its header's bytes."""
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK) as vault:
        await vault.write(lambda db: db.execute("INSERT INTO meta VALUES ('name', x'00')"))
    (folder / "files").mkdir()
    (folder / "files" / "photo").write_bytes(b"sealed")
    return (folder / HEADER_FILE).read_bytes()


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


async def test_nothing_is_left_of_a_wiped_vault_but_the_note(folder: Path) -> None:
    await filled(folder)
    async with await Vault.open(folder, PASSPHRASE) as vault:
        await vault.wipe("lost")
        with pytest.raises(VaultWiped) as caught:
            await vault.read(lambda db: db.execute("SELECT 1").fetchall())
        assert caught.value.reason == "lost"
    assert left(folder) == {WIPED_FILE, "vault.lock"}
    with pytest.raises(VaultWiped):
        await Vault.open(folder, PASSPHRASE)


async def test_the_wrapped_key_is_overwritten_before_it_is_removed(folder: Path) -> None:
    header = await filled(folder)
    copy = folder.parent / "second name"
    copy.hardlink_to(folder / HEADER_FILE)
    async with await Vault.open(folder, PASSPHRASE) as vault:
        await vault.wipe("lost")
    assert copy.read_bytes() == bytes(len(header))


async def test_another_vault_may_be_made_where_one_was_wiped(folder: Path) -> None:
    await filled(folder)
    async with await Vault.open(folder, PASSPHRASE) as vault:
        await vault.wipe("lost")
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK) as vault:
        assert await vault.read(lambda db: db.execute("SELECT * FROM meta").fetchall()) == []
    async with await Vault.open(folder, PASSPHRASE):
        pass
    assert WIPED_FILE not in left(folder)


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_before_the_note_leaves_the_vault_and_after_it_the_next_start_ends_the_wipe(
    folder: Path, point: str
) -> None:
    await filled(folder)
    killed = subprocess.run(
        [sys.executable, "-c", _WIPES, str(folder)],
        input=bytes(PASSPHRASE),
        env={"PLI_FAILPOINT": point, "PYTHONPATH": ":".join(sys.path)},
    )
    assert killed.returncode == -9
    if point == "vault.wipe.before":
        async with await Vault.open(folder, PASSPHRASE) as vault:
            assert await vault.read(lambda db: db.execute("SELECT key FROM meta").fetchall())
        return
    with pytest.raises(VaultWiped) as caught:
        await Vault.open(folder, PASSPHRASE)
    assert caught.value.reason == "stolen"
    assert left(folder) == {WIPED_FILE, "vault.lock"}
