"""What one vault holds at the end: opened after its client was closed, read straight from its tables."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pli_client.vault import Database, Vault
from pli_protocol.identity import SigningKey
from pli_protocol.mls.ciphersuite import SignatureKeyPair
from pli_protocol.mls.group import Group
from pli_protocol.relay.log import device_id
from pli_protocol.secret import Secret


@dataclass(frozen=True)
class HeldMessage:
    """A row of the history."""

    message_id: bytes
    conversation_id: bytes
    sender: bytes
    device_id: bytes
    kind: str
    content: bytes
    text: str
    state: str
    place: tuple[int, int, int]
    """(generation, timeline, seq): the order shown."""
    group_id: bytes | None
    epoch: int | None
    number: int
    """The order in which it came into this vault; for own ones, the order of sending."""


@dataclass(frozen=True)
class HeldGroup:
    """An MLS group, with the value that its stored entries make (None: none is kept)."""

    group_id: bytes
    conversation_id: bytes
    state: str
    next_seq: int
    epoch: int
    detail: str
    value: Group | None

    @property
    def members(self) -> tuple[tuple[int, bytes], ...]:
        """(leaf, device id) as MLS has it."""
        assert self.value is not None
        return tuple(
            (int(member.leaf), device_id(member.signature_key)) for member in self.value.members()
        )


@dataclass(frozen=True)
class VaultState:
    """Everything that the checker compares."""

    who: str
    person_id: bytes
    device_id: bytes
    messages: tuple[HeldMessage, ...]
    groups: dict[bytes, HeldGroup]
    chains: dict[tuple[bytes, tuple[int, int]], bytes]
    """(group, (timeline, seq)): the log's chain hash of each row received."""
    sends: dict[tuple[bytes, tuple[int, int]], bytes]
    """The send id of each of them."""
    outbox: tuple[tuple[bytes, str, str], ...]
    """(message id, state, reason) of what has not come back in the log."""
    pending: tuple[bytes, ...]
    """Groups with a commit that has not come back."""
    intents: tuple[tuple[str, str, str], ...]
    """(kind, state, error) of what was wanted and has not come about."""
    quarantine: tuple[tuple[bytes, int, str, str], ...]
    """(group, seq, kind, reason)"""
    conversations: dict[bytes, tuple[str, str]]
    """id: (title, state)"""

    def message(self, message_id: bytes) -> HeldMessage | None:
        return next((m for m in self.messages if m.message_id == message_id), None)

    def current(self, conversation_id: bytes) -> HeldGroup | None:
        """The group in which the conversation goes on here."""
        found = [g for g in self.groups.values() if g.conversation_id == conversation_id]
        return next((g for g in found if g.state == "active"), None)


async def read_vault(who: str, folder: Path, passphrase: Secret) -> VaultState:
    """Open the vault (nobody else has it) and read everything."""
    async with await Vault.open(folder, passphrase) as vault:
        return await vault.read(lambda db: _read(who, db))


def _read(who: str, db: Database) -> VaultState:
    def rows(sql: str) -> list[Any]:
        return db.execute(sql).fetchall()

    ((device, seed),) = rows("SELECT device_id, signature_key FROM device")
    ((person,),) = rows("SELECT person_id FROM people JOIN device USING (account)")
    key = SigningKey.from_seed(Secret(seed))
    signer = SignatureKeyPair(key.public, key.seed)
    entries: dict[bytes, dict[str, bytes]] = {}
    for group_id, name, value in rows("SELECT group_id, key, value FROM mls_state"):
        entries.setdefault(group_id, {})[name] = value
    return VaultState(
        who,
        person,
        device,
        tuple(
            HeldMessage(*(*row[:8], (row[8], row[9] or 0, row[10] or 0), *row[11:]))
            for row in rows(
                """SELECT message_id, conversation_id, sender, device_id, kind, content, text, state,
                       generation, timeline, seq, group_id, epoch, id
                   FROM messages ORDER BY generation, timeline, seq, id"""
            )
        ),
        {
            row[0]: HeldGroup(
                *(
                    *row,
                    Group.from_entries(entries[row[0]], signer) if row[0] in entries else None,
                )
            )
            for row in rows(
                "SELECT group_id, conversation_id, state, next_seq, epoch, detail FROM groups"
            )
        },
        {
            (row[0], (row[1], row[2])): row[3]
            for row in rows("SELECT group_id, timeline, seq, chain FROM rows")
        },
        {
            (row[0], (row[1], row[2])): row[3]
            for row in rows("SELECT group_id, timeline, seq, send_id FROM rows")
        },
        tuple(rows("SELECT message_id, state, reason FROM outbox")),
        tuple(row[0] for row in rows("SELECT group_id FROM pending_commits")),
        tuple(rows("SELECT kind, state, error FROM intents")),
        tuple(rows("SELECT group_id, seq, kind, reason FROM quarantine")),
        {row[0]: (row[1], row[2]) for row in rows("SELECT id, title, state FROM conversations")},
    )
