"""Vaults of every released schema open for ever, forwards only, each step whole or absent."""

import shutil
from pathlib import Path

import pytest

from pli_client.vault import Database, Vault
from pli_client.vault import migrations as migrations_module
from pli_client.vault.migrations import SCHEMA_VERSION
from pli_client.vault.schema import MIGRATIONS

from . import make_fixture
from .conftest import PASSPHRASE, QUICK

RELEASED = range(1, SCHEMA_VERSION + 1)


def search(word: str):  # type: ignore[no-untyped-def]
    return lambda db: db.execute(
        "SELECT messages.text FROM messages JOIN message_search ON message_search.rowid = messages.id"
        " WHERE message_search MATCH ?",
        (word,),
    ).fetchall()


def version(db: Database) -> int:
    row = db.execute("PRAGMA user_version").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("released", RELEASED)
async def test_a_vault_of_every_released_schema_opens_with_its_content(
    tmp_path: Path, released: int
) -> None:
    folder = tmp_path / "vault"
    shutil.copytree(make_fixture.FIXTURES / f"v{released}", folder)
    async with await Vault.open(folder, make_fixture.PASSPHRASE) as vault:
        assert await vault.read(version) == SCHEMA_VERSION
        titles = await vault.read(
            lambda db: db.execute("SELECT title FROM conversations").fetchall()
        )
        assert titles == [("Tournée du matin",)]
        assert await vault.read(search("temperature")) == [("Température relevée à midi",)]
        problems = await vault.read(lambda db: db.execute("PRAGMA integrity_check").fetchall())
        assert problems == [("ok",)]


@pytest.mark.parametrize("released", RELEASED)
def test_a_released_step_never_changes(released: int) -> None:
    """A vault out there has run it already: write a further step instead."""
    kept = (make_fixture.FIXTURES / f"v{released}" / "schema.sha256").read_text().strip()
    assert make_fixture.step_hash(released) == kept


async def test_a_step_that_fails_leaves_the_vault_as_it_was(
    folder: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vault.close()
    bad = (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE meta (again)"))
    monkeypatch.setattr(migrations_module, "MIGRATIONS", bad)
    monkeypatch.setattr(migrations_module, "SCHEMA_VERSION", len(bad))
    with pytest.raises(Exception, match="meta"):
        await Vault.open(folder, PASSPHRASE)
    monkeypatch.undo()
    async with await Vault.open(folder, PASSPHRASE) as again:
        assert await again.read(version) == SCHEMA_VERSION
        tables = await again.read(
            lambda db: db.execute("SELECT 1 FROM sqlite_master WHERE name = 'extra'").fetchall()
        )
        assert tables == []


async def test_a_further_step_is_applied_once(
    folder: Path, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    await vault.close()
    more = (*MIGRATIONS, ("CREATE TABLE extra (x)",))
    monkeypatch.setattr(migrations_module, "MIGRATIONS", more)
    monkeypatch.setattr(migrations_module, "SCHEMA_VERSION", len(more))
    for _ in range(2):
        async with await Vault.open(folder, PASSPHRASE) as again:
            assert await again.read(version) == len(more)


async def test_search_follows_what_is_written_changed_and_deleted(tmp_path: Path) -> None:
    async with await Vault.create(tmp_path / "v", PASSPHRASE, kdf=QUICK) as vault:
        await vault.write(make_fixture.fill)
        assert len(await vault.read(search("relevee"))) == 1
        assert len(await vault.read(search("RELEV\u00c9E"))) == 1
        await vault.write(lambda db: db.execute("UPDATE messages SET text = 'pansement'"))
        assert await vault.read(search("relevee")) == []
        assert len(await vault.read(search("pansement"))) == 1
        await vault.write(lambda db: db.execute("DELETE FROM messages"))
        assert await vault.read(search("pansement")) == []
