"""Makes the vault that tests open for ever (python -m tests.client.vault.make_fixture).

Run once per released schema, never again for the same one: the point is that old files stay old.
"""

import asyncio
import hashlib
import shutil
from pathlib import Path

from pli_client.vault import Database, Kdf, Vault, passphrase
from pli_client.vault.lock import LOCK_FILE
from pli_client.vault.migrations import SCHEMA_VERSION
from pli_client.vault.schema import MIGRATIONS

FIXTURES = Path(__file__).parent / "fixtures"
PASSPHRASE = passphrase("le premier coffre")
CONVERSATION = bytes(range(16))


def step_hash(version: int) -> str:
    """What a released step must hash to for ever."""
    return hashlib.sha256("\0".join(MIGRATIONS[version - 1]).encode()).hexdigest()


def fill(db: Database) -> None:
    """A conversation with one message: what must be found again by every later Pli."""
    db.execute(
        "INSERT INTO conversations (id, title, kind, state, created_at, last_activity)"
        " VALUES (?, 'Tournée du matin', 'team', 'active', 1, 2)",
        (CONVERSATION,),
    )
    db.execute(
        "INSERT INTO messages (message_id, conversation_id, sender, device_id, kind, content, text,"
        " sent_at, state, group_id, timeline, seq, epoch, time)"
        " VALUES (?, ?, ?, ?, 'text', x'00', 'Température relevée à midi', 1, 'received', ?, 1, 7, 3, 2)",
        (bytes(32), CONVERSATION, bytes(16), bytes(16), CONVERSATION),
    )


async def main() -> None:
    folder = FIXTURES / f"v{SCHEMA_VERSION}"
    shutil.rmtree(folder, ignore_errors=True)
    async with await Vault.create(folder, PASSPHRASE, kdf=Kdf(64, 1, 1)) as vault:
        await vault.write(fill)
    (folder / LOCK_FILE).unlink()
    (folder / "schema.sha256").write_text(step_hash(SCHEMA_VERSION) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
