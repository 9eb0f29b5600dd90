"""How long a backup and its restore take: python -m tests.bench.backup --gib N --json.

A relay's folder is filled with rows of 1 KiB (a quarter of the bytes) and blobs of 1 MiB (the rest), backed
up, restored and verified on the same disk. One JSON object: seconds, MiB/s, the archive's size, peak memory.
"""

import argparse
import hashlib
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import sqlalchemy as sa
from nacl.public import PrivateKey

from pli_server import folder as folders
from pli_server import settings_file
from pli_server.backup import making, restoring
from pli_server.settings import load
from pli_server.storage import database
from pli_server.storage import tables as t

T = TypeVar("T")

KIB, MIB, GIB = 1024, 2**20, 2**30
ROWS_OF_ALL: Final = 4
"""One part in so many of the bytes are rows."""
BATCH: Final = 2000


def quiet(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


def fill(folder: Path, size: int) -> None:
    """A folder as a relay of that size has it; random bytes, since ciphertext does not compress."""
    folders.make(folder, settings_file.template("bench.test", "127.0.0.1:0"))
    store = database.open_database(folder, None)
    database.at_once(store, lambda db: _fill_tables(db, folder, size))


def _fill_tables(db: sa.Connection, folder: Path, size: int) -> None:
    rows, blobs = size // ROWS_OF_ALL // KIB, (size - size // ROWS_OF_ALL) // MIB
    with database.writing(db):
        db.execute(sa.insert(t.establishments).values(id=b"e" * 16, authority=b"a", created=1))
        account = {"establishment": b"e" * 16, "account": b"a" * 16, "person_id": b"p" * 16}
        certificates = {"issuer_id": b"i" * 16, "person": b"p", "issuer": b"i", "created": 1}
        db.execute(sa.insert(t.accounts).values(no=1, **account, **certificates))
        db.execute(sa.insert(t.devices).values(no=1, device_id=b"d" * 16, account_no=1, created=1))
        group = {"group_id": b"g" * 16, "establishment": b"e" * 16, "creator": 1, "created": 1}
        db.execute(sa.insert(t.groups).values(no=1, **group, epoch=1, last=rows, chain=bytes(32)))
        for start in range(0, rows, BATCH):
            db.execute(
                sa.insert(t.rows), [_row(seq) for seq in range(start, min(start + BATCH, rows))]
            )
        for number in range(blobs):
            db.execute(sa.insert(t.blobs).values(_blob(folder, number)))


def _row(seq: int) -> dict[str, Any]:
    return {
        "group_no": 1,
        "seq": seq + 1,
        "epoch": 1,
        "kind": 1,
        "sender_no": 1,
        "send_id": seq.to_bytes(16, "big"),
        "time": 1,
        "chain": hashlib.sha256(seq.to_bytes(8, "big")).digest(),
        "is_blob": 0,
        "payload": os.urandom(KIB),
    }


def _blob(folder: Path, number: int) -> dict[str, Any]:
    name = hashlib.sha256(number.to_bytes(8, "big")).digest()
    path = folder / "blobs" / name.hex()[:2] / name.hex()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(MIB))
    return {
        "blob": name,
        "account_no": 1,
        "establishment": b"e" * 16,
        "size": MIB,
        "complete": 1,
        "created": 1,
    }


def measure(gib: float, under: Path | None) -> dict[str, Any]:
    """Fill, back up, restore; the figures."""
    with tempfile.TemporaryDirectory(prefix="pli-bench-", dir=under) as made:
        folder, key, now = Path(made), PrivateKey.generate(), time.time_ns() // 1_000_000
        fill(folder / "relay", int(gib * GIB))
        (folder / "to").mkdir()
        settings = load(folder / "relay")

        def back_up() -> making.Made:
            return making.make(
                folder / "relay", settings, folder / "to", key.public_key, now, quiet
            )

        backup, backup_s = _timed(back_up)
        _, restore_s = _timed(
            lambda: restoring.restore(backup.path, key, folder / "new", now, quiet)
        )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB
        return {
            "workload": "backup",
            "gib": gib,
            "archive_mib": round(backup.size / MIB, 1),
            "backup_s": round(backup_s, 2),
            "restore_s": round(restore_s, 2),
            "backup_mib_per_s": round(backup.size / MIB / backup_s, 1),
            "restore_mib_per_s": round(backup.size / MIB / restore_s, 1),
            "peak_rss_mib": round(peak / MIB, 1),
        }


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    os.sync()  # what was written before is not waited for within
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1.0, help="how much the relay holds")
    parser.add_argument("--under", type=Path, help="a folder on the disk to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    figures = measure(arguments.gib, arguments.under)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:20} {value}")


if __name__ == "__main__":
    main()
