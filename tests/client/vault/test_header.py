"""vault.json: what it costs to guess, and that it is old or new after a crash."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from pli_client.errors import DiskFull, VaultDamaged
from pli_client.vault import DEFAULT_KDF, Kdf, Vault, passphrase
from pli_client.vault.header import HEADER_FILE, DatabaseKey, Header, wrap
from pli_protocol.secret import Secret

from .conftest import PASSPHRASE, QUICK

KEY = DatabaseKey(bytes(range(32)))


def test_guessing_costs_what_the_rules_ask_for() -> None:
    assert DEFAULT_KDF.memory >= 64 * 1024
    assert DEFAULT_KDF.passes >= 3


def test_the_real_cost_is_stored_and_works(tmp_path: Path) -> None:
    wrap(KEY, PASSPHRASE, kind="person", kdf=DEFAULT_KDF).write(tmp_path)
    header = Header.read(tmp_path)
    assert (header.kdf.memory, header.kdf.passes) == (DEFAULT_KDF.memory, DEFAULT_KDF.passes)
    assert header.unwrap(PASSPHRASE) == KEY


def test_neither_key_nor_passphrase_shows(tmp_path: Path) -> None:
    header = wrap(KEY, PASSPHRASE, kind="person", kdf=QUICK)
    header.write(tmp_path)
    text = (tmp_path / HEADER_FILE).read_bytes()
    for secret in (KEY.hex().encode(), msgspec.json.encode(bytes(KEY)).strip(b'"'), PASSPHRASE):
        assert bytes(secret) not in text
    assert KEY.hex() not in repr(KEY)
    assert "phrase" not in repr(passphrase("phrase"))


def test_two_vaults_of_one_passphrase_have_nothing_in_common() -> None:
    one, two = (wrap(KEY, PASSPHRASE, kind="person", kdf=QUICK) for _ in range(2))
    assert one.kdf.salt != two.kdf.salt
    assert one.wrapped_key != two.wrapped_key


@pytest.mark.parametrize(
    "kdf", [Kdf(memory=2**30, passes=3), Kdf(memory=64, passes=10**6), Kdf(64, 1, 1000)]
)
def test_a_header_cannot_ask_for_all_memory_or_for_a_year(tmp_path: Path, kdf: Kdf) -> None:
    good = wrap(KEY, PASSPHRASE, kind="person", kdf=QUICK)
    fields = msgspec.structs.replace(
        good.kdf, memory=kdf.memory, passes=kdf.passes, lanes=kdf.lanes
    )
    msgspec.structs.replace(good, kdf=fields).write(tmp_path)
    with pytest.raises(VaultDamaged):
        Header.read(tmp_path)


async def test_a_full_disk_leaves_the_old_passphrase(
    folder: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = (folder / HEADER_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull):
            await vault.change_passphrase(passphrase("nouvelle"), kdf=QUICK)
    assert (folder / HEADER_FILE).read_bytes() == before
    await vault.change_passphrase(passphrase("nouvelle"), kdf=QUICK)


def test_a_new_header_is_on_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("replace"), replace(a, b))[1])
    wrap(KEY, Secret(b"x"), kind="person", kdf=QUICK).write(tmp_path)
    assert steps[:2] == ["fsync", "replace"]
    assert steps[2:] in (["fsync"], [])  # the folder; Windows needs none
