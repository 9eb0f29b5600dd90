"""What really lies at the relay and in the vaults' files after an exchange, against the threat model."""

import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pli_client.vault import Vault
from pli_protocol.content import RecordRef
from pli_protocol.mls import peek
from pli_protocol.relay.frames import BlobRef
from pli_protocol.relay.log import RosterChange
from pli_protocol.secret import Secret

from .team import settle, together
from .test_records import FilingBot, _filed
from .world import AUTHORITY_PASSPHRASE, ESTABLISHMENT, PASSPHRASE, PATIENCE, PEOPLE, World

PAGE = Path(__file__).parents[2] / "docs" / "threat-model.md"

TEXT = "Pansement de Mme Petit refait à 14 h"
TITLE = "Relève confidentielle"
NEW_TITLE = "Relève du dimanche"
RECORD = RecordRef("dui", "usager-8417")
FILE_NAME = "escarre-talon.jpg"
FILE_CONTENT = b"une photo que personne d'autre ne doit voir " * 2000
REASON = "mauvais dossier, en effet"
PLAIN = tuple(
    text.encode() for text in (TEXT, TITLE, NEW_TITLE, RECORD.id, FILE_NAME, REASON, "CdL-1")
) + (FILE_CONTENT[:40],)
"""What only members may read, as it would stand in a file."""

COMMIT, RETURN = 3, 4


@pytest.fixture
async def exchanged(world: World) -> World:
    """After a message with a record and a file, a receipt, a new title, a member added and removed."""
    photo = world.folder / FILE_NAME
    photo.write_bytes(FILE_CONTENT)
    async with together(world, "amelie", "bruno", "chloe", "dui") as (amelie, bruno, chloe, dui):
        bot = FilingBot(dui)
        team = await amelie.start(TITLE, [PEOPLE["bruno"].name])
        sent = await team.send(TEXT, record=RECORD, files=[photo])
        await sent.stored(PATIENCE)
        await _filed(bruno, sent.message_id)
        await (await amelie.detach(sent.message_id, RECORD, REASON)).stored(PATIENCE)
        await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
        await (await team.rename(NEW_TITLE)).stored(PATIENCE)
        await team.remove(PEOPLE["chloe"].name, timeout=PATIENCE)
        await settle(amelie, bruno, chloe, dui)
        await bot.stop()
    await world.relay.stop()
    photo.unlink()
    return world


# --- the relay --------------------------------------------------------------------------------


def documented() -> dict[str, set[str]]:
    """Table to columns, as the page lists them: `| `table` | `column` `column`… | … |`."""
    found: dict[str, set[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and (table := re.fullmatch(r"`(\w+)`", cells[1])):
            found[table[1]] = set(re.findall(r"`(\w+)`", cells[2]))
    return found


def held(world: World) -> dict[str, set[str]]:
    """Table to columns, as they are."""
    names = world.relay.query("SELECT name FROM sqlite_master WHERE type = 'table'")
    return {
        str(name): {str(row[1]) for row in world.relay.query(f"PRAGMA table_info({name})")}
        for (name,) in names
        if not str(name).startswith("sqlite_")
    }


async def test_the_page_lists_every_column_of_the_relays_database(exchanged: World) -> None:
    listed, found = documented(), held(exchanged)
    assert listed == found


async def test_the_relay_has_no_content_no_private_key_and_no_other_file(exchanged: World) -> None:
    secrets = await own_secrets(exchanged)
    assert len(secrets) > 30
    expected = re.compile(
        r"relay\.(toml|lock|db|db-wal|db-shm)|(accounts|audit)\.key"
        r"|blobs/uploads|blobs/[0-9a-f]{2}(/[0-9a-f]{64})?|blobs"
    )
    for path, data in files(exchanged.relay.folder):
        name = path.relative_to(exchanged.relay.folder).as_posix()
        assert expected.fullmatch(name), name
        for plain in PLAIN:
            assert plain not in data, (name, plain)
        for what, secret in secrets:
            assert secret not in data, (name, what)
    blobs = [path for path, data in files(exchanged.relay.folder / "blobs") if data]
    assert len(blobs) == 1


async def test_the_relay_has_what_the_page_says_that_it_sees(exchanged: World) -> None:
    """The other way round: this test looks in the right places."""
    database = b"".join(data for _, data in files(exchanged.relay.folder))
    for who in ("amelie", "bruno", "chloe", "dui"):
        assert PEOPLE[who].name.encode() in database
        assert PEOPLE[who].profession.encode() in database
    assert ESTABLISHMENT.encode() in database


async def test_of_a_row_the_relay_sees_a_header_and_padded_ciphertext(exchanged: World) -> None:
    rows = exchanged.relay.query("SELECT kind, is_blob, payload FROM rows")
    devices = {device for (device,) in exchanged.relay.query("SELECT device_id FROM devices")}
    assert len(rows) > 10
    for kind, is_blob, payload in rows:
        assert isinstance(payload, bytes)
        if is_blob:
            msgspec.msgpack.decode(payload, type=BlobRef)
            continue
        assert kind != RETURN
        header = peek(payload)
        if kind == COMMIT:
            change = RosterChange.decode(header.authenticated_data)
            assert devices.issuperset(change.added + change.removed)
        else:
            assert header.authenticated_data == b""


async def test_the_relays_log_names_nobody(exchanged: World) -> None:
    printed = exchanged.relay.printed()
    assert "listening" in printed
    for who in PEOPLE.values():
        for part in who.name.split():
            assert part not in printed
    for column, table in (
        ("device_id", "devices"),
        ("account", "accounts"),
        ("person_id", "accounts"),
        ("group_id", "groups"),
        ("request_id", "enrolments"),
    ):
        for (identifier,) in exchanged.relay.query(f"SELECT {column} FROM {table}"):
            assert isinstance(identifier, bytes)
            assert identifier.hex()[:8] not in printed
    assert "Traceback" not in printed


# --- the vaults -------------------------------------------------------------------------------


async def test_a_vaults_files_show_nothing_without_the_passphrase(exchanged: World) -> None:
    secrets = await own_secrets(exchanged)
    folders = {**exchanged.vaults(), "admin": exchanged.vault("admin")}
    for who, folder in folders.items():
        for path, data in files(folder):
            for plain in (*PLAIN, bytes(PASSPHRASE), bytes(AUTHORITY_PASSPHRASE)):
                assert plain not in data, (who, path.name, plain)
            for what, secret in secrets:
                assert secret not in data, (who, path.name, what)
            for member in PEOPLE.values():
                assert member.name.encode() not in data, (who, path.name)


@pytest.mark.skipif(
    sys.platform == "win32", reason="modes are POSIX; Windows inherits the folder's"
)
async def test_files_and_folders_are_their_owners_alone(exchanged: World) -> None:
    folders = [exchanged.vault("admin"), *exchanged.vaults().values(), exchanged.relay.folder]
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_nothing_temporary_is_left(exchanged: World) -> None:
    for folder in (exchanged.vault("admin"), *exchanged.vaults().values()):
        names = {path.relative_to(folder).as_posix() for path, _ in files(folder)}
        assert not {name for name in names if name.endswith((".new", ".part", ".sock", ".tmp"))}


# --- reading ----------------------------------------------------------------------------------


def files(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Everything under a folder; a folder has no bytes."""
    for path in sorted(folder.rglob("*")):
        yield path, path.read_bytes() if path.is_file() else b""


async def own_secrets(world: World) -> list[tuple[str, bytes]]:
    """What is secret in all vaults and never leaves them: (what it is, its bytes)."""
    found: list[tuple[str, bytes]] = []
    for who, folder in world.vaults().items():
        for column, sql in (
            ("identity key", "SELECT identity_key FROM device"),
            ("signature key", "SELECT signature_key FROM device"),
            ("token", "SELECT token FROM device"),
            ("file key", "SELECT key FROM files"),
            ("key package secrets", "SELECT secrets FROM key_packages"),
        ):
            found += [(f"{who}: {column}", value) for value in await _column(folder, sql)]
    for column in ("signature_key", "enrolment_key", "token"):
        values = await _column(world.vault("admin"), f"SELECT {column} FROM issuer")
        found += [(f"issuer: {column}", value) for value in values]
    code = (world.folder / "code").read_bytes()
    return [*found, ("establishment code", code), ("passphrase", bytes(PASSPHRASE))]


async def _column(folder: Path, sql: str) -> list[bytes]:
    async with await Vault.open(folder, Secret(PASSPHRASE)) as vault:
        rows = await vault.read(lambda db: db.execute(sql).fetchall())
    return [bytes(value) for (value,) in rows if value is not None and len(value) >= 16]
