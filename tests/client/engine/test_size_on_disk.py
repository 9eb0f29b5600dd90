"""What a group of a thousand takes in the vault: under 8 MiB in the post-quantum suite."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pli_client.engine.profile import capabilities, lifetime
from pli_client.store import mls_state
from pli_client.vault import Vault
from pli_protocol.identity import SigningKey, make_authority, make_device, make_issuer, make_person
from pli_protocol.mls import BasicCredential, Group, SignatureKeyPair, X509Credential, suite
from pli_protocol.mls.credential import Credential
from pli_protocol.mls.epoch import PAST_EPOCHS, PastEpoch, new_secret_tree
from pli_protocol.mls.group_entries import changes_between
from pli_protocol.mls.key_schedule import EncryptionSecret
from pli_protocol.mls.leaf_node import LeafNode
from pli_protocol.mls.node import Node, ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.secret_tree import RatchetKind, SecretTree

from ..vault.conftest import PASSPHRASE, QUICK
from .test_cost_of_a_message import store

NOW = 1_800_000_000
MIB = 1024 * 1024


@dataclass(frozen=True)
class Case:
    """A suite, what members show, and the MiB that their group may take."""

    number: int
    certified: bool
    limit: float


CASES = (
    Case(0x0001, False, 1),
    Case(0x0001, True, 3),
    Case(0x004E, False, 5),
    Case(0x004E, True, 5),
)


def chain() -> tuple[Credential, SignatureKeyPair]:
    """A device's three certificates, with names of a usual length."""
    root, issuing, identity, device = (SigningKey.generate() for _ in range(4))
    authority = make_authority("EHPAD Les Tilleuls", root, NOW)
    issuer = make_issuer(root, authority, issuing.public, now=NOW)
    person = make_person(
        issuing,
        issuer,
        account=os.urandom(16),
        name="Marie-Christine Dupont-Lefebvre",
        profession="Infirmière coordinatrice",
        rpps="10101010101",
        identity_key=identity.public,
        now=NOW,
    )
    certificates = (make_device(identity, person, device.public, now=NOW), person, issuer)
    return X509Credential(certificates), SignatureKeyPair(device.public, device.seed)


def thousand(case: Case) -> Group:
    """A value of the size of one: 1000 leaves, no blank node above them, five past epochs.

    Keys and signatures are random bytes of their lengths: nothing here reads them.
    """
    kind = suite(case.number)
    signer = kind.generate_signature_key()
    credential: Credential = BasicCredential(b"marie-christine.dupont@tilleuls")
    if case.certified:
        credential, signer = chain()
    made = Group.create(
        kind,
        b"g" * 16,
        credential,
        signer,
        lifetime=lifetime(NOW),
        capabilities=replace(capabilities(), credentials=(1, 2), cipher_suites=(case.number,)),
    ).group
    leaf = made.tree.leaf(0)
    assert leaf is not None
    tree = full(leaf, kind.kem.public_size, kind.hash_size)
    path = {at: kind.generate_kem_key() for at in tree.direct_path(0)}
    secret_tree = new_secret_tree(kind, EncryptionSecret(os.urandom(kind.hash_size)), 1024)
    past = tuple(
        PastEpoch(
            replace(made.context, epoch=epoch),
            made.secrets.sender_data_secret,
            made.secrets.resumption_psk,
            secret_tree,
            {0: made.members()[0]},
            NOW,
        )
        for epoch in range(PAST_EPOCHS)
    )
    private = replace(made.private_tree, path_keys=path)
    context = replace(made.context, epoch=PAST_EPOCHS)
    return replace(
        made, context=context, tree=tree, private_tree=private, secret_tree=secret_tree, past=past
    )


def full(leaf: LeafNode, key_size: int, hash_size: int) -> RatchetTree:
    nodes: dict[int, Node] = {}
    for index in range(1999):
        if index & 1:
            nodes[index] = ParentNode(os.urandom(key_size), os.urandom(hash_size))
        else:
            nodes[index] = replace(leaf, encryption_key=os.urandom(key_size))
    return RatchetTree.from_nodes(nodes)


def everybody_wrote(group: Group) -> Group:
    """In each epoch that is kept, one message of each member was opened."""
    used = spent(group, group.secret_tree)
    return replace(
        group, secret_tree=used, past=tuple(replace(p, secret_tree=used) for p in group.past)
    )


def spent(group: Group, tree: SecretTree) -> SecretTree:
    for leaf in range(1000):
        _, tree, _ = tree.open_key(group.suite, leaf, RatchetKind.APPLICATION, 0)
    return tree


async def grown(folder: Path, group: Group) -> int:
    """Bytes by which storing the group makes the vault's file larger."""
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK) as vault:
        await vault.checkpoint()
        before = (folder / "vault.db").stat().st_size
        await store(vault, group)
        await vault.checkpoint()
        return (folder / "vault.db").stat().st_size - before


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_group_of_a_thousand_takes_little_of_the_disk(tmp_path: Path, case: Case) -> None:
    group = thousand(case)
    quiet = await grown(tmp_path / "quiet", group)
    busy = await grown(tmp_path / "busy", everybody_wrote(group))
    entries = sum(map(len, group.entries().values()))
    print(f"0x{case.number:04x} certified={case.certified}: entries {entries / MIB:.2f} MiB,")
    print(f"in the vault {quiet / MIB:.2f} MiB, after 6000 messages {busy / MIB:.2f} MiB")
    assert quiet <= case.limit * MIB
    assert busy <= 8 * MIB


async def test_a_group_does_not_grow_on_the_disk_by_its_commits(tmp_path: Path) -> None:
    """Nodes that a commit replaces are written in the place of the old ones."""
    group = thousand(CASES[2])
    folder = tmp_path / "v"
    async with await Vault.create(folder, PASSPHRASE, kdf=QUICK) as vault:
        await store(vault, group)
        await vault.checkpoint()
        before = (folder / "vault.db").stat().st_size
        kind, tree = group.suite, group.tree
        for leaf in range(0, 1000, 9):
            path = {
                at: ParentNode(os.urandom(kind.kem.public_size), os.urandom(kind.hash_size))
                for at in tree.direct_path(leaf)
            }
            after = replace(group, tree=group.tree.with_nodes(path))
            changes = changes_between(group, after)
            await vault.write(lambda db: mls_state.write_entries(db, group.group_id, changes))  # noqa: B023
            group = after
        await vault.checkpoint()
        assert (folder / "vault.db").stat().st_size <= before + 100 * 1024
        entries = await vault.read(lambda db: mls_state.read_entries(db, group.group_id))
        assert entries == group.entries()
