"""Backups of a relay that works: a consistent snapshot, restored whole, in a new timeline."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from nacl.public import PrivateKey

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash
from pli_server.backup import making, restoring
from pli_server.backup.archive import ArchiveWriter, DamagedArchive
from pli_server.errors import OperatorError, Refusal
from pli_server.folder import further_code
from pli_server.relay import now_ms
from pli_server.settings import load
from pli_server.storage import tables as t
from pli_server.storage import timelines
from pli_server.storage.database import Use, open_database
from pli_server.storage.transaction import KINDS

from ..conftest import Server
from ..databases import SQLITE, ask, new_folder
from ..people import TestEstablishment
from ..raw_client import RawClient
from ..team import Team, joins, team

KEY = PrivateKey(bytes(range(32)))


@pytest.fixture
def engine() -> str:
    """The folder alone, for now."""
    return SQLITE


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def back_up(folder: Path, to: Path, now: int | None = None) -> making.Made:
    to.mkdir(exist_ok=True)
    return making.make(folder, load(folder), to, KEY.public_key, now or now_ms(), quiet)


def restored(made: making.Made, folder: Path, now: int | None = None) -> Path:
    restoring.restore(made.path, KEY, folder, now or now_ms(), quiet)
    return folder


def query(folder: Path, statement: Any) -> list[Any]:
    store = open_database(folder, None)
    return ask(store, Use.READING, lambda db: list(db.execute(statement)))


def everything(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {
        name: sorted((tuple(row) for row in query(folder, sa.select(table))), key=repr)
        for name, table in t.metadata.tables.items()
    }


async def upload(client: RawClient, data: bytes) -> bytes:
    blob = os.urandom(32)
    for offset in range(0, len(data), f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await client.ask(f.PutBlob(client.rid(), blob, offset, len(data), part))
    return blob


async def test_a_restored_relay_is_what_was_backed_up(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    await group.says(a)
    data = os.urandom(100_000)
    blob = await upload(a.client, data)
    await a.client.ask(
        f.PutBlob(a.client.rid(), os.urandom(32), 0, 2 * f.BLOB_PART, b"x" * f.BLOB_PART)
    )
    await server.stop()
    before = everything(server.folder)
    made = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    folder = restored(made, tmp_path / "new")
    after = everything(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {
        "meta",
        "timelines",
        "groups",
        "devices",
        "key_packages",
        "blobs",
        "trace_entries",
        "trace_trees",
    }
    path = Path("blobs") / blob.hex()[:2] / blob.hex()
    assert (folder / path).read_bytes() == data
    assert (folder / "relay.toml").read_text() == (server.folder / "relay.toml").read_text()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [row.complete for row in query(folder, sa.select(t.blobs))] == [1]
    await server.start()


async def test_a_backup_beside_a_busy_writer_is_a_prefix_of_every_log(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    teams = [await team(a, b), await team(b, a)]
    stop, last = asyncio.Event(), {}

    async def say(group: Team) -> None:
        accepted = await group.says(a, os.urandom(500))
        last[group.group] = seq = accepted.position.seq
        await a.client.send(f.Acknowledge((f.Acknowledgement(group.group, seq),)))

    async def hammer(group: Team) -> None:
        while not stop.is_set():
            await say(group)

    for group in 20 * teams:
        await say(group)
    sure = dict(last)
    writers = [asyncio.create_task(hammer(group)) for group in teams]
    made = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    stop.set()
    await asyncio.gather(*writers)
    folder = restored(made, tmp_path / "new")
    for held in query(folder, sa.select(t.groups)):
        rows = query(
            folder,
            sa.select(t.rows, t.devices.c.device_id)
            .join(t.devices, t.devices.c.no == t.rows.c.sender_no)
            .where(t.rows.c.group_no == held.no)
            .order_by(t.rows.c.seq),
        )
        assert [row.seq for row in rows] == list(range(1, held.last + 1))
        assert sure[held.group_id] <= held.last <= last[held.group_id]
        chain = FIRST_CHAIN
        for row in rows:
            position = f.Position(1, row.seq)
            chain = chain_hash(
                chain, held.group_id, position, row.epoch, KINDS[row.kind], row.device_id,
                row.send_id, row.payload,
            )  # fmt: skip
            assert chain == row.chain
        assert held.chain == FIRST_CHAIN, "the new timeline begins anew"


async def test_a_new_timeline_forgets_tokens_and_key_packages_but_the_last_resort(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a = await joins(server, home)
    packages = tuple(os.urandom(100) for _ in range(3))
    await a.client.ask(f.PublishKeyPackages(a.client.rid(), packages, os.urandom(100)))
    made = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    first = restored(made, tmp_path / "first", 5_000_000_000_000)
    second = restored(made, tmp_path / "second", 5_000_000_000_001)
    kept = query(first, sa.select(t.key_packages).where(t.key_packages.c.claimed.is_(None)))
    assert [row.last_resort for row in kept] == [1]
    assert {row.token for row in query(first, sa.select(t.devices))} == {None}
    numbers = []
    for folder in (first, second):
        store = open_database(folder, None)
        numbers.append(ask(store, Use.READING, timelines.current))
        assert ask(store, Use.READING, timelines.read).restored
    assert numbers == [5_000_000_000_000, 5_000_000_000_001], "one backup restored twice"


async def test_a_restored_relay_serves_and_takes_the_first_token_shown(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a = await joins(server, home)
    made = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    for _ in range(3):
        a.client = await server.signed(a.device, a.client.signed_in.token)
    newest = a.client.signed_in.token
    again = Server(restored(made, tmp_path / "new"), "")
    await again.start()
    try:
        client = await again.signed(a.device, newest)
        assert client.signed_in.timeline > 1
        await again.signed(a.device, client.signed_in.token)
    finally:
        await again.stop()


async def test_restoring_needs_an_empty_folder_and_leaves_nothing_of_a_damaged_archive(
    tmp_path: Path,
) -> None:
    new_folder(tmp_path / "relay")
    made = back_up(tmp_path / "relay", tmp_path / "backups")
    with pytest.raises(OperatorError, match="not empty"):
        restored(made, tmp_path / "relay")
    data = made.path.read_bytes()
    (tmp_path / "empty").mkdir()
    for wrong in (
        data[:-1],
        data[:-5000],
        data[: len(data) // 2] + b"\0" + data[len(data) // 2 + 1 :],
    ):
        made.path.write_bytes(wrong)
        with pytest.raises(OperatorError, match="damaged"):
            restored(made, tmp_path / "empty")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["backups", "empty", "relay"]
        assert not list((tmp_path / "empty").iterdir())
    made.path.write_bytes(data)
    restored(made, tmp_path / "empty")


async def test_verify_finds_a_blob_that_is_missing_or_cut(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a = await joins(server, home)
    blobs = [await upload(a.client, os.urandom(100)) for _ in range(3)]
    good = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    assert restoring.verify(good.path, KEY, tmp_path, quiet).problems == []
    missing, cut = (server.folder / "blobs" / b.hex()[:2] / b.hex() for b in blobs[:2])
    missing.unlink()
    cut.write_bytes(b"x" * 50)
    bad = await asyncio.to_thread(back_up, server.folder, tmp_path / "other")
    found = restoring.verify(bad.path, KEY, tmp_path, quiet).problems
    assert len(found) == 2
    assert all(any(b.hex()[:8] in text for text in found) for b in blobs[:2])
    assert not list(tmp_path.glob("pli-verify-*"))


async def test_a_blob_that_retention_took_is_no_fault(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    a = await joins(server, home)
    blob = await upload(a.client, b"x" * 100)
    later = now_ms() + 100 * 86_400_000
    (server.folder / "blobs" / blob.hex()[:2] / blob.hex()).unlink()
    made = await asyncio.to_thread(back_up, server.folder, tmp_path / "backups", later)
    assert made.manifest.gone == (blob,)
    assert restoring.verify(made.path, KEY, tmp_path, quiet).problems == []


def test_the_folder_s_own_files_are_in_it_and_its_lock_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    new_folder(folder)
    (folder / "audit.key").write_bytes(b"k" * 32)
    (folder / "relay.lock").write_bytes(b"")
    made = back_up(folder, tmp_path / "backups")
    files = {name for name in made.manifest.parts if name.startswith(making.FILES)}
    assert files >= {"file/audit.key", "file/relay.toml"}
    assert not any(name.startswith(("file/relay.db", "file/relay.lock")) for name in files)
    assert (restored(made, tmp_path / "new") / "audit.key").read_bytes() == b"k" * 32


def test_a_code_that_was_given_out_still_holds(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    new_folder(folder)
    further_code(folder)
    made = back_up(folder, tmp_path / "backups")
    new = restored(made, tmp_path / "new")
    codes = sa.select(t.establishment_codes.c.hash)
    assert sorted(query(new, codes)) == sorted(query(folder, codes))


def test_only_the_newest_backups_of_this_relay_are_kept(tmp_path: Path) -> None:
    folder, to = tmp_path / "relay", tmp_path / "backups"
    new_folder(folder)
    made = [back_up(folder, to, 1_700_000_000_000 + i * 1000).path for i in range(4)]
    other = to / "pli-relay.test.other-20200101T000000Z.plibackup"
    shutil.copy(made[0], other)
    odd = to / "pli-relay.test-yesterdayTnoon..Z.plibackup"
    odd.write_bytes(b"")
    making.keep_newest(to, "relay.test", 2, 0)
    assert sorted(to.iterdir()) == sorted([*made[2:], other, odd])
    assert making.newest(to, "relay.test") == 1_700_000_003_000
    assert making.newest(to, "another") is None


@pytest.mark.parametrize(
    "name",
    [
        "blob/..evil",
        "blob/../../evil",
        f"blob/{'Z' * 64}",
        "file/../evil",
        "file/e\0vil",
        "file/relay.db-wal",
        "evil",
    ],
)
def test_a_forged_archive_writes_nothing_elsewhere(tmp_path: Path, name: str) -> None:
    """Whoever knows the public key can make one."""
    path = tmp_path / "forged.plibackup"
    with path.open("wb") as file:
        ArchiveWriter(file, KEY.public_key).add(name, [b"x"])
    with pytest.raises(DamagedArchive, match="impossible name|unknown part"):
        restoring.restore(path, KEY, tmp_path / "new", now_ms(), quiet)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_backup_left_goes_after_a_day(tmp_path: Path) -> None:
    left = tmp_path / f"pli-relay.test-20261130T100000Z.plibackup{making.UNFINISHED}"
    left.write_bytes(b"half")
    written = int(left.stat().st_mtime * 1000)
    assert making.keep_newest(tmp_path, "relay.test", 2, written + making.DAY_MS // 2) == []
    assert making.keep_newest(tmp_path, "relay.test", 2, written + 2 * making.DAY_MS) == [left]
    assert not left.exists()


def test_a_backup_follows_no_link_that_somebody_put_in_its_place(tmp_path: Path) -> None:
    folder, to, victim = tmp_path / "relay", tmp_path / "backups", tmp_path / "victim"
    new_folder(folder)
    made = back_up(folder, to, 1_700_000_000_000)
    victim.write_bytes(b"precious")
    link = to / (made.path.name + making.UNFINISHED)
    link.symlink_to(victim)
    with pytest.raises(OperatorError, match="cannot be made"):
        back_up(folder, to, 1_700_000_000_000)
    assert victim.read_bytes() == b"precious"
    assert link.is_symlink(), "what another process writes is left alone"


async def test_a_backup_fails_where_the_blobs_cannot_be_read_now(
    server: Server, home: TestEstablishment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    await upload(a.client, b"x" * 100)

    def away(*_: object) -> bytes:
        raise Refusal("try-later")

    monkeypatch.setattr("pli_server.storage.blobs.BlobFolder.get", away)
    with pytest.raises(OperatorError, match="cannot be read"):
        await asyncio.to_thread(back_up, server.folder, tmp_path / "backups")
    assert not list((tmp_path / "backups").iterdir())


def test_a_backup_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    folder, to = tmp_path / "relay", tmp_path / "backups"
    new_folder(folder)
    (folder / "huge").write_bytes(b"x" * (making.LARGEST_FILE + 1))
    with pytest.raises(OperatorError, match="no file of a relay"):
        back_up(folder, to)
    assert not list(to.iterdir())
    with pytest.raises(OperatorError, match="no folder"):
        making.make(folder, load(folder), tmp_path / "nowhere", KEY.public_key, 1, quiet)
