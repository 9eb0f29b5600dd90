"""A vault that the first Pli left, in a conversation of three: its groups and key packages go on.

The vault in `fixtures/v1-with-groups` is Amélie's. It was written by the client before the stored
format's second version, on a real relay: she founded "Relève" with Bruno, then added Chloé, and all
three wrote. It never changes.
"""

import hashlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pli_client.engine.trust_check import TrustCheck
from pli_client.store import groups, key_packages, mls_state
from pli_client.store.device import DeviceRow, read_device, read_trust
from pli_client.vault import Database, Vault
from pli_protocol.mls import Group, KeyPackage, KeyPackageSecrets, SignatureKeyPair
from pli_protocol.mls.codec import decode
from pli_protocol.mls.stored import FORMAT
from pli_protocol.secret import Secret

from ..vault.make_fixture import FIXTURES

FOLDER = FIXTURES / "v1-with-groups"
PASSPHRASE = Secret(b"la phrase des essais")
WRITTEN = 1_795_400_000
"""Seconds since 1970; soon after the vault was written."""


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    shutil.copytree(FOLDER, tmp_path / "amelie")
    async with await Vault.open(tmp_path / "amelie", PASSPHRASE) as vault:
        yield vault


async def device_of(vault: Vault) -> tuple[DeviceRow, SignatureKeyPair]:
    device = await vault.read(read_device)
    assert device is not None
    return device, SignatureKeyPair(device.key.public, device.key.seed)


async def the_group(vault: Vault) -> tuple[groups.GroupRow, Group]:
    _, signer = await device_of(vault)
    (row,) = await vault.read(groups.all_groups)
    entries = await vault.read(lambda db: mls_state.read_entries(db, row.group_id))
    assert {value[0] for value in entries.values()} == {1}
    return row, Group.from_entries(entries, signer)


def test_the_vault_itself_never_changes() -> None:
    found = hashlib.sha256((FOLDER / "vault.db").read_bytes()).hexdigest()
    assert found == "81a8c2f75a5b14fccb80cd386271626d34b5cb3fe01885b009b6a0272cf06dee"


async def test_its_group_is_the_one_that_was_stored(vault: Vault) -> None:
    row, group = await the_group(vault)
    assert (row.state, row.epoch, group.epoch) == ("active", 2, 2)

    def look(db: Database) -> tuple[bytes, bytes]:
        found = db.execute("SELECT context, authenticator FROM epochs WHERE epoch = 2").fetchone()
        assert found is not None
        return found[0], found[1]

    context, authenticator = await vault.read(look)
    assert (group.context.encoded, group.epoch_authenticator) == (context, authenticator)
    assert [past.context.epoch for past in group.past] == [0, 1]


async def test_its_group_goes_on_and_is_stored_as_today(vault: Vault) -> None:
    device, _ = await device_of(vault)
    row, group = await the_group(vault)
    trust = TrustCheck(await vault.read(lambda db: read_trust(db, device.authority)))
    sealed = group.seal(b"encore")
    made = sealed.group.commit(identity=trust, now=WRITTEN)
    following = made.group.merged(made.sent)

    def store(db: Database) -> dict[str, bytes]:
        for changes in (sealed.changes, made.changes_sent, following.changes):
            mls_state.write_entries(db, row.group_id, changes)
        return mls_state.read_entries(db, row.group_id)

    entries = await vault.write(store)
    assert {value[0] for value in entries.values()} == {1, FORMAT}
    assert Group.from_entries(entries, group.signer) == following.group


async def test_its_key_packages_have_their_private_keys(vault: Vault) -> None:
    rows = await vault.read(lambda db: db.execute("SELECT reference FROM key_packages").fetchall())
    assert len(rows) > 1
    for (reference,) in rows:
        row = await vault.read(lambda db, of=reference: key_packages.find(db, of))  # type: ignore[misc]
        assert row is not None
        secrets = KeyPackageSecrets.decode(row.secrets)
        package = decode(KeyPackage, row.key_package)
        assert secrets.init_key.public == package.init_key
        assert secrets.leaf_key.public == package.leaf_node.encryption_key
