"""Group: what it tells about itself, what is stored, what must not be shown, proof of authorship."""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import patch

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    PAST_EPOCHS,
    Add,
    BasicCredential,
    Capabilities,
    CodecError,
    Commit,
    Credential,
    Extension,
    ExtensionType,
    Group,
    GroupContext,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    ReInit,
    Remove,
    RequiredCapabilities,
    ResumptionPSKUsage,
    UnsupportedError,
    UsageError,
    ValidationError,
    Welcome,
    X509Credential,
    decode,
    encode,
    peek,
    required_capabilities_extension,
    verify_signed,
)
from pli_protocol.mls.framing import ContentType, WireFormat
from pli_protocol.mls.grease import ungreased
from pli_protocol.mls.stored import FORMAT

from .forging import certified
from .groups import (
    LIFETIME,
    NOW,
    Member,
    add,
    deliver,
    everyone_agrees,
    everyone_can_message_everyone,
    party,
    refused,
)


def test_a_new_group_has_its_creator_only() -> None:
    (alice,) = party("alice", group_id=b"a group")
    group = alice.group
    assert (group.group_id, group.epoch, group.own_leaf) == (b"a group", 0, 0)
    assert [member.credential for member in group.members()] == [alice.credential]
    assert group.member(0) == group.members()[0]
    assert group.member(1) is None
    assert group.reinit is None
    assert group.extension(1) is None
    alice.check_store()


def test_extensions_of_the_group_can_be_read() -> None:
    extension = Extension(0xF0C0, b"the conversation")
    capabilities = Capabilities(cipher_suites=(3,), extensions=(0xF0C0,), credentials=(1,))
    (alice,) = party("alice", extensions=[extension], capabilities=capabilities)
    assert alice.group.extension(0xF0C0) == b"the conversation"


def test_a_creator_must_support_what_its_group_requires() -> None:
    alice = Member("alice")
    with pytest.raises(ValidationError) as failed:
        alice.create(extensions=[Extension(0xF0C0, b"")])
    assert failed.value.rule == "extension-unsupported"
    required = required_capabilities_extension(RequiredCapabilities((), (0xF001,), ()))
    with pytest.raises(ValidationError) as failed:
        alice.create(extensions=[required])
    assert failed.value.rule == "required-capabilities"
    with pytest.raises(ValidationError) as failed:
        alice.create(extensions=[Extension(1, b""), Extension(1, b"")])
    assert failed.value.rule == "extensions-duplicate"


# Storing


def test_a_message_rewrites_few_entries_whatever_the_size() -> None:
    alice, *others = party(*(f"m{n}" for n in range(20)))
    sealed = alice.group.seal(b"first", random=alice.random)
    assert len(sealed.changes) < 12
    alice.keep(sealed.group, sealed.changes)
    sealed = alice.group.seal(b"second", random=alice.random)
    assert list(sealed.changes) == ["keys/1/ratchet/0/application"]
    bob = others[0]
    first = bob.group.process(alice.seal(b"third"), identity=ACCEPT_BASIC, now=NOW)
    assert len(first.changes) < 12
    assert sum(len(value or b"") for value in first.changes.values()) < 1000


def test_no_entry_is_without_its_version() -> None:
    alice, bob = party("alice", "bob")
    bob.open(alice.seal(b"x"))
    deliver(alice.commit(), alice, bob)
    for name, value in bob.group.entries().items():
        assert value[0] == FORMAT, name
        with pytest.raises(CodecError):
            Group.from_entries({**bob.stored, name: b"\x03" + value[1:]}, bob.signer)


@pytest.mark.parametrize("name", ["group", "secrets", "private", "tree/0"])
def test_missing_or_cut_entries_are_told(name: str) -> None:
    alice, _bob = party("alice", "bob")
    entries = alice.group.entries()
    with pytest.raises(CodecError):
        Group.from_entries({**entries, name: entries[name][:-1]}, alice.signer)
    if name != "tree/0":
        del entries[name]
        with pytest.raises(CodecError):
            Group.from_entries(entries, alice.signer)


def test_the_signature_key_is_in_no_entry() -> None:
    alice, bob = party("alice", "bob")
    deliver(bob.commit(), bob, alice)
    for value in alice.group.entries().values():
        assert bytes(alice.signer.private) not in value


def test_used_secrets_are_in_no_entry() -> None:
    """The keys of messages sent and received, the init secret of the epoch before (§9.2)."""
    alice, bob = party("alice", "bob")
    before = bob.group
    message = alice.seal(b"once")
    bob.open(message)
    used = {bytes(value[1:33]) for name, value in before.entries().items() if "/node/" in name}
    assert used
    everything = b"".join(bob.group.entries().values())
    assert not [secret for secret in used if secret in everything]
    init_secret = bytes(bob.group.secrets.init_secret)
    assert init_secret in everything
    deliver(alice.commit(), alice, bob)
    assert init_secret not in b"".join(bob.group.entries().values())


def test_past_epochs_are_kept_for_a_while_only() -> None:
    alice, bob = party("alice", "bob")
    for _ in range(PAST_EPOCHS + 3):
        deliver(alice.commit(), alice, bob)
    assert len(bob.group.past) == PAST_EPOCHS
    kept = {name.split("/")[1] for name in bob.stored if name.startswith(("keys/", "past/"))}
    newest = bob.group.epoch
    assert kept == {str(epoch) for epoch in range(newest - PAST_EPOCHS, newest + 1)}


def test_a_pending_commit_survives_a_restart() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit()
    message = bob.seal(b"in between")
    alice.open(message)
    # The process ends here. What is stored: the entries, and the commit's changes beside them.
    current = Group.from_entries(alice.stored, alice.signer)
    entries = {**alice.stored, **made.changes}
    kept = {name: value for name, value in entries.items() if value is not None}
    pending = Group.from_entries(kept, alice.signer)
    merged = pending.merged(current)
    alice.keep(merged.group, merged.changes)
    bob.process(made.message)
    everyone_can_message_everyone(alice, bob)
    with refused(alice, "generation-used"):
        alice.process(message)


def test_a_proposal_heard_while_a_commit_waits_is_gone_after_the_merge() -> None:
    alice, bob = party("alice", "bob")
    made = alice.commit()
    proposed = bob.group.propose_update(random=bob.random)
    bob.keep(proposed.group, proposed.changes)
    alice.process(proposed.message)
    deliver(made, alice, bob)
    everyone_can_message_everyone(alice, bob)
    assert not [name for name in alice.stored if name.startswith("proposal/")]


# What must not be shown


def test_no_secret_is_shown_by_repr_or_str() -> None:
    alice, bob = party("alice", "bob")
    alice.psks[b"id"] = b"a secret from outside, of many bytes"
    nonce = alice.random(32)
    carol = Member("carol")
    package, secrets = carol.key_package()
    made = alice.commit(Add(package), PreSharedKey(PreSharedKeyID.external(b"id", nonce)))
    proposed = alice.group.propose_update(random=alice.random)
    sealed = alice.group.seal(b"the plaintext", random=alice.random)
    bob.psks.update(alice.psks)
    outcome = bob.process(made.message)
    shown = "".join(
        f"{value!r}{value}"
        for value in (
            alice.group,
            made.group,
            made.group.past,
            made.group.private_tree,
            made.group.secrets,
            made.group.secret_tree,
            made.group.signer,
            proposed.group.proposals,
            sealed.group.secret_tree,
            outcome.group,
            secrets,
            carol.signer,
        )
    )
    private = [alice.signer.private, carol.signer.private, secrets.init_key.private]
    group = made.group
    private += [secrets.leaf_key.private, group.private_tree.leaf_key.private]
    private += [pair.private for pair in group.private_tree.path_keys.values()]
    private += [getattr(group.secrets, name) for name in group.secrets.__dataclass_fields__]
    entries = {**sealed.group.entries(), **group.entries(), **proposed.group.entries()}
    private += [value[1:33] for name, value in entries.items() if "/node/" in name]
    private += [value[6:38] for name, value in entries.items() if "/ratchet/" in name]
    assert len(private) > 15
    for secret in private:
        assert bytes(secret).hex() not in shown
        assert repr(bytes(secret))[2:-1] not in shown


def test_what_repr_shows_of_a_group() -> None:
    (alice,) = party("alice", group_id=b"g")
    shown = repr(alice.group)
    assert shown.startswith("Group(suite=CipherSuite(number=3,")
    assert shown.endswith("own_leaf=0)")
    assert "signer" not in shown
    assert "secret" not in shown


# What others can see, and proofs


def test_peek_tells_what_a_relay_may_know() -> None:
    alice, bob = party("alice", "bob", group_id=b"conversation")
    header = peek(alice.seal(b"text", authenticated_data=b"for the relay"))
    assert header.wire_format is WireFormat.PRIVATE_MESSAGE
    assert (header.group_id, header.epoch) == (b"conversation", 1)
    assert header.content_type is ContentType.APPLICATION
    assert header.authenticated_data == b"for the relay"
    carol = Member("carol")
    package, _ = carol.key_package()
    made = bob.commit(Add(package), authenticated_data=b"roster")
    assert peek(made.message).content_type is ContentType.COMMIT
    assert peek(made.message).authenticated_data == b"roster"
    assert made.welcome is not None
    assert peek(made.welcome).wire_format is WireFormat.WELCOME
    assert peek(made.group_info).epoch == 2
    assert peek(encode(MLSMessage(package))).wire_format is WireFormat.KEY_PACKAGE


def test_a_message_proves_its_author_for_ever() -> None:
    alice, bob = party("alice", "bob")
    sealed = alice.group.seal(b"the wound is clean", random=alice.random)
    outcome = bob.process(sealed.message)
    assert outcome.signed == sealed.signed
    context = decode(GroupContext, bob.group.context.encoded)
    content = verify_signed(outcome.signed, context, alice.signer.public)
    assert content.content == b"the wound is clean"
    assert content.sender.index == 0
    for signed, key in (
        (outcome.signed, bob.signer.public),
        (outcome.signed.replace(b"clean", b"mucky"), alice.signer.public),
    ):
        with pytest.raises(ValidationError) as failed:
            verify_signed(signed, context, key)
        assert failed.value.rule == "signature"
    deliver(bob.commit(), bob, alice)
    with pytest.raises(ValidationError) as failed:
        verify_signed(outcome.signed, bob.group.context, alice.signer.public)
    assert failed.value.rule == "context"
    with pytest.raises(CodecError):
        verify_signed(b"\x00", context, alice.signer.public)


def test_a_commit_proves_its_author_too() -> None:
    alice, bob = party("alice", "bob")
    context = bob.group.context
    made = alice.commit()
    outcome = bob.process(made.message)
    content = verify_signed(outcome.signed, context, alice.signer.public)
    assert isinstance(content.content, Commit)


def test_exported_secrets_differ_by_label_context_and_epoch() -> None:
    alice, bob = party("alice", "bob")
    before = alice.group
    secrets = {
        before.export_secret("a", b"", 32),
        before.export_secret("b", b"", 32),
        before.export_secret("a", b"x", 32),
    }
    deliver(alice.commit(), alice, bob)
    secrets.add(alice.group.export_secret("a", b"", 32))
    assert len(secrets) == 4
    assert bob.group.export_secret(b"a", b"", 32) == alice.group.export_secret("a", b"", 32)
    assert len(alice.group.export_secret("long", b"", 8000)) == 8000
    with pytest.raises(UsageError):
        alice.group.export_secret("too long", b"", 255 * 32 + 1)


# Joining


def test_a_welcome_is_for_one_key_package_only() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    dave, mallory = Member("dave"), Member("mallory")
    package = dave.key_package()
    made = alice.commit(Add(package[0]))
    deliver(made, alice, bob, carol)
    assert made.welcome is not None
    with pytest.raises(ValidationError) as failed:
        mallory.join(made.welcome, mallory.key_package())
    assert failed.value.rule == "welcome-not-for-us"
    other = dave.key_package()
    with pytest.raises(ValidationError) as failed:
        dave.join(made.welcome, (package[0], other[1]))
    assert failed.value.rule == "welcome-secrets"
    with pytest.raises(UsageError):
        Group.join(made.welcome, *package, mallory.signer, identity=ACCEPT_BASIC, now=NOW)
    with pytest.raises(ValidationError) as failed:
        dave.join(made.message, package)
    assert failed.value.rule == "message-kind"
    dave.join(made.welcome, package)
    everyone_agrees(alice, bob, carol, dave)


def test_a_damaged_welcome_is_refused() -> None:
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    made = alice.commit(Add(package[0]))
    assert made.welcome is not None
    welcome = decode(MLSMessage, made.welcome).body
    assert isinstance(welcome, Welcome)
    for position in range(0, len(made.welcome), 7):
        damaged = bytearray(made.welcome)
        damaged[position] ^= 1
        with pytest.raises((CodecError, ValidationError, UnsupportedError)):
            bob.join(bytes(damaged), package)


def test_a_wrong_tree_beside_the_welcome_is_refused() -> None:
    (alice,) = party("alice")
    bob = Member("bob")
    package = bob.key_package()
    made = alice.commit(Add(package[0]), tree_in_welcome=False)
    assert made.welcome is not None
    with pytest.raises(ValidationError) as failed:
        bob.join(made.welcome, package, tree=encode(alice.group.tree))
    assert failed.value.rule == "tree-hash"
    with pytest.raises(ValidationError) as failed:
        bob.join(made.welcome, package, tree=b"\x01")
    assert failed.value.rule == "tree-encoding"


def test_who_joins_asks_the_application_about_every_member() -> None:
    asked = []

    class Careful:
        def check(self, credential: Credential, signature_key: bytes) -> None:
            asked.append(credential)
            if credential == BasicCredential(b"mallory"):
                raise ValidationError("credential", "§5.3.1")

        def same_identity(self, old: Credential, new: Credential) -> bool:
            return old == new

    alice, _mallory = party("alice", "mallory")
    bob = Member("bob")
    package = bob.key_package()
    made = alice.commit(Add(package[0]))
    assert made.welcome is not None
    with pytest.raises(ValidationError) as failed:
        bob.join(made.welcome, package, identity=Careful())
    assert failed.value.rule == "credential"
    assert BasicCredential(b"alice") in asked
    with pytest.raises(ValidationError):
        bob.join_external(alice.group.group_info(), identity=Careful())


def test_the_committer_is_told_to_who_joins() -> None:
    _alice, bob = party("alice", "bob")
    carol = Member("carol")
    package = carol.key_package()
    made = bob.commit(Add(package[0]))
    assert made.welcome is not None
    joined = Group.join(made.welcome, *package, carol.signer, identity=ACCEPT_BASIC, now=NOW)
    assert joined.committer is not None
    assert joined.committer.credential == bob.credential


def test_a_group_of_certificates() -> None:
    """x509 credentials are the application's to check; here every chain is accepted."""

    class Chains:
        def check(self, credential: Credential, signature_key: bytes) -> None:
            if not isinstance(credential, X509Credential):
                raise ValidationError("credential", "§5.3.1")

        def same_identity(self, old: Credential, new: Credential) -> bool:
            return True

    alice, bob = Member("alice"), Member("bob")
    for member in (alice, bob):
        member.credential = certified(member.signer, member.name)  # type: ignore[assignment]
    alice.create(extensions=[required_capabilities_extension(RequiredCapabilities((), (), (2,)))])
    package = bob.key_package()
    made = alice.commit(Add(package[0]), identity=Chains())
    alice.merge(made)
    assert made.welcome is not None
    bob.join(made.welcome, package, identity=Chains())
    everyone_can_message_everyone(alice, bob)
    # A renewed chain for the same key comes with a commit.
    renewed = certified(alice.signer, "alice, renewed")
    made = alice.commit(credential=renewed, identity=Chains())
    alice.merge(made)
    bob.process(made.message, identity=Chains())
    assert bob.group.members()[0].credential == renewed


# ReInit: a successor with other parameters (§11.2)


def reinitialised(number: int = 1) -> tuple[Member, Member]:
    """alice and bob, whose group was closed in favour of one in another cipher suite."""
    alice, bob = party("alice", "bob")
    deliver(alice.commit(ReInit(b"successor", 1, number)), alice, bob)
    return alice, bob


def successor(  # type: ignore[no-untyped-def]
    alice: Member,
    bob: Member,
    number: int = 1,
    group_id: bytes = b"successor",
    forged: bool = True,
):
    """alice makes the new group and adds bob with proof that both were in the old one."""
    old = alice.group
    new_alice, new_bob = Member("alice", number, seed=1), Member("bob", number, seed=1)
    new_alice.create(group_id)
    package = new_bob.key_package()
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.REINIT,
        old.group_id,
        old.epoch,
        new_alice.random(new_alice.suite.hash_size),
    )
    with patch("pli_protocol.mls.committing.check_predecessor") if forged else nullcontext():
        made = new_alice.commit(Add(package[0]), PreSharedKey(psk), predecessor=old)
    new_alice.merge(made)
    return new_alice, new_bob, made.welcome, package


def test_a_successor_continues_a_reinitialised_group() -> None:
    alice, bob = reinitialised()
    new_alice, new_bob, welcome, package = successor(alice, bob, forged=False)
    new_bob.join(welcome, package, predecessor=bob.group)
    everyone_can_message_everyone(new_alice, new_bob)
    assert new_bob.group.epoch == 1


def test_a_successor_must_be_the_one_that_was_announced() -> None:
    alice, bob = reinitialised()
    for number, group_id, rule in ((3, b"successor", "reinit-parameters"), (1, b"?", None)):
        _, new_bob, welcome, package = successor(alice, bob, number, group_id)
        with pytest.raises(ValidationError) as failed:
            new_bob.join(welcome, package, predecessor=bob.group)
        assert failed.value.rule == (rule or "reinit-parameters")
        with pytest.raises(ValidationError) as failed:
            new_bob.join(welcome, package)
        assert failed.value.rule == "psk-unknown"


def test_a_successor_has_all_members_of_the_old_group() -> None:
    alice, bob, carol = party("alice", "bob", "carol")
    deliver(alice.commit(ReInit(b"successor", 1, 1)), alice, bob, carol)
    _, new_bob, welcome, package = successor(alice, bob)
    with pytest.raises(ValidationError) as failed:
        new_bob.join(welcome, package, predecessor=bob.group)
    assert failed.value.rule == "reinit-members"


def test_a_group_that_was_not_closed_has_no_successor() -> None:
    alice, bob = party("alice", "bob")
    _, new_bob, welcome, package = successor(alice, bob)
    with pytest.raises(ValidationError) as failed:
        new_bob.join(welcome, package, predecessor=bob.group)
    assert failed.value.rule == "reinit-missing"


def test_leaf_content_changes_with_a_commit_and_with_an_update() -> None:
    alice, bob = party("alice", "bob")
    extension = Extension(ExtensionType.APPLICATION_ID, b"the tablet")
    deliver(alice.commit(leaf_extensions=[extension]), alice, bob)
    leaf = bob.group.tree.leaf(0)
    assert leaf is not None
    assert ungreased(leaf.content).extensions == (extension,)
    capabilities = Capabilities(cipher_suites=(3, 1), credentials=(1, 2))
    proposed = bob.group.propose_update(capabilities=capabilities, random=bob.random)
    bob.keep(proposed.group, proposed.changes)
    alice.process(proposed.message)
    deliver(alice.commit(), alice, bob)
    leaf = alice.group.tree.leaf(1)
    assert leaf is not None
    assert ungreased(leaf.content).capabilities == capabilities
    assert ungreased(leaf.content).extensions == ()
    everyone_can_message_everyone(alice, bob)


def test_a_path_cannot_be_left_out_where_the_leaf_changes() -> None:
    alice, bob = party("alice", "bob")
    for more in ({}, {"leaf_extensions": ()}):
        with refused(alice):
            alice.group.commit(path=False, identity=ACCEPT_BASIC, now=NOW, **more)
    with refused(alice):
        alice.group.commit([Remove(1)], path=False, identity=ACCEPT_BASIC, now=NOW)
    add(alice, Member("carol"), bob, path=False)


def test_pending_proposals_can_be_left_for_later() -> None:
    alice, bob = party("alice", "bob")
    proposed = bob.group.propose_update(random=bob.random)
    alice.process(proposed.message)
    assert alice.commit(include_pending=False).plan.updated == ()


def test_lifetimes_are_checked_where_a_time_is_given() -> None:
    (alice,) = party("alice")
    package, _ = Member("bob").key_package()
    late = LIFETIME.not_after + 1
    with refused(alice, "leaf-lifetime"):
        alice.group.commit([Add(package)], identity=ACCEPT_BASIC, now=late)
    alice.group.commit([Add(package)], identity=ACCEPT_BASIC, now=None)


def test_the_same_randomness_gives_the_same_messages() -> None:
    """A seeded simulation can replay a failure."""

    def play() -> list[bytes | None]:
        alice, _bob = party("alice", "bob")
        package, _ = Member("carol").key_package()
        made = alice.commit(Add(package), Remove(1))
        commit = Member("dave").join_external(alice.group.group_info())
        return [alice.seal(b"text", padding=9), made.message, made.welcome, commit]

    assert play() == play()
