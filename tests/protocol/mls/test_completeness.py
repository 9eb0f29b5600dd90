"""All that a group can do (RFC 9420 §11, §12), in each of the ways the RFC has for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pli_protocol.mls import (
    SUITES,
    Add,
    Capabilities,
    CommitReceived,
    Credential,
    Extension,
    ExtensionType,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalReceived,
    ReInit,
    Remove,
    RequiredCapabilities,
    ResumptionPSKUsage,
    ValidationError,
    WireFormat,
    X509Credential,
    external_senders_extension,
    generate_key_package,
    propose_from_outside,
    propose_own_add,
    required_capabilities_extension,
    suite,
)
from pli_protocol.mls.grease import GREASE, greased, ungreased
from pli_protocol.mls.leaf_node import LeafContent

from .forging import certified
from .groups import (
    LIFETIME,
    Member,
    add,
    deliver,
    everyone_can_message_everyone,
    party,
    seeded,
)

WIRES = [WireFormat.PRIVATE_MESSAGE, WireFormat.PUBLIC_MESSAGE]


# Every type of proposal, by value and by reference


class World:
    """alice, bob and carol, a service outside that may propose, and a newcomer."""

    def __init__(self) -> None:
        self.members = party("alice", "bob", "carol")
        self.alice, self.bob, self.carol = self.members
        self.service, self.newcomer = Member("service"), Member("dave")
        self.package = self.newcomer.key_package()
        for member in (*self.members, self.newcomer):
            member.psks[b"door"] = b"sesame"

    def allow_the_service(self) -> None:
        sender = ExternalSender(self.service.signer.public, self.service.credential)
        self.commit(GroupContextExtensions((external_senders_extension([sender]),)))

    def commit(self, *proposals: Proposal, **more: Any) -> None:
        made = self.alice.commit(*proposals, **more)
        deliver(made, self.alice, *self.members[1:])
        if made.welcome is not None:
            self.newcomer.join(made.welcome, self.package)
            self.members.append(self.newcomer)
        self.members = [member for member in self.members if member.is_member]


def external_psk(world: World) -> Proposal:
    return PreSharedKey(PreSharedKeyID.external(b"door", world.bob.random(32)))


def resumption_psk(world: World) -> Proposal:
    group = world.alice.group
    usage = ResumptionPSKUsage.APPLICATION
    return PreSharedKey(
        PreSharedKeyID.resumption(usage, group.group_id, group.epoch - 1, world.bob.random(32))
    )


PROPOSALS: dict[str, Callable[[World], Proposal]] = {
    "add": lambda world: Add(world.package[0]),
    "remove": lambda world: Remove(world.carol.group.own_leaf),
    "psk, external": external_psk,
    "psk, resumption": resumption_psk,
    "reinit": lambda world: ReInit(b"next", 1, 3),
    "group context extensions": lambda world: GroupContextExtensions((Extension(1, b"ours"),)),
}


def went_through(world: World, name: str) -> None:
    group = world.alice.group
    match name:
        case "add":
            assert len(world.members) == 4
        case "remove":
            assert not world.carol.is_member
        case "reinit":
            assert all(member.group.reinit is not None for member in world.members)
            return
        case "group context extensions":
            assert group.extension(1) == b"ours"
    everyone_can_message_everyone(*world.members)


def prepared() -> World:
    world = World()
    deliver(world.carol.commit(), world.carol, world.alice, world.bob)
    world.allow_the_service()
    return world


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_is_committed_by_value(name: str, wire: WireFormat) -> None:
    world = prepared()
    world.commit(PROPOSALS[name](world), wire_format=wire)
    went_through(world, name)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_is_committed_by_reference(name: str, wire: WireFormat) -> None:
    world = prepared()
    made = world.bob.group.propose(
        PROPOSALS[name](world), wire_format=wire, random=world.bob.random
    )
    world.bob.keep(made.group, made.changes)
    for member in (world.alice, world.carol):
        assert isinstance(member.process(made.message), ProposalReceived)
    world.commit(wire_format=wire)
    went_through(world, name)


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_of_an_external_sender_is_committed(name: str) -> None:
    world = prepared()
    group = world.alice.group
    message = propose_from_outside(
        group.suite,
        group.group_id,
        group.epoch,
        PROPOSALS[name](world),
        world.service.signer,
        sender_index=0,
    )
    for member in world.members:
        assert isinstance(member.process(message), ProposalReceived)
    world.commit()
    went_through(world, name)


@pytest.mark.parametrize("wire", WIRES)
def test_an_update_is_committed_by_reference(wire: WireFormat) -> None:
    world = prepared()
    made = world.bob.group.propose_update(wire_format=wire, random=world.bob.random)
    world.bob.keep(made.group, made.changes)
    for member in (world.alice, world.carol):
        member.process(made.message)
    world.commit(wire_format=wire)
    assert world.alice.group.tree.leaf(1) == world.bob.group.own_leaf_node
    everyone_can_message_everyone(*world.members)


def test_what_an_external_sender_may_not_propose_is_not_sent_either() -> None:
    world = prepared()
    made = world.bob.group.propose_update(random=world.bob.random)
    update = made.group.proposals[0].proposal
    with pytest.raises(ValidationError) as failed:
        propose_from_outside(
            world.bob.suite, b"group", 1, update, world.service.signer, sender_index=0
        )
    assert failed.value.rule == "proposal-external-sender"


def test_a_newcomer_asks_to_be_added() -> None:
    world = prepared()
    group = world.alice.group
    message = propose_own_add(
        world.package[0], world.newcomer.signer, group_id=group.group_id, epoch=group.epoch
    )
    for member in world.members:
        assert isinstance(member.process(message), ProposalReceived)
    world.commit()
    everyone_can_message_everyone(*world.members)
    assert len(world.members) == 4


# External commits


@pytest.mark.parametrize("resync", [False, True])
@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("number", SUITES)
def test_a_client_joins_by_itself(number: int, beside: bool, resync: bool) -> None:
    from pli_protocol.mls import encode

    alice, bob = party("alice", "bob", number=number)
    for member in (alice, bob):
        member.psks[b"door"] = b"sesame"
    joiner = Member("bob" if resync else "carol", number, seed="with new keys")
    joiner.psks[b"door"] = b"sesame"
    commit = joiner.join_external(
        alice.group.group_info(tree=not beside),
        tree=encode(alice.group.tree) if beside else None,
        resync=resync,
        psk_ids=[b"door"],
    )
    outcome = alice.process(commit)
    assert isinstance(outcome, CommitReceived)
    assert outcome.external
    bob.process(commit)
    assert bob.is_member is not resync
    everyone_can_message_everyone(alice, joiner, *([] if resync else [bob]))


# Groups that continue others


@pytest.mark.parametrize("number", SUITES)
def test_a_group_goes_on_in_another_suite(number: int) -> None:
    """ReInit (§11.2), by another member than the one that closed the group."""
    alice, bob, carol = party("alice", "bob", "carol")
    extensions = (Extension(ExtensionType.APPLICATION_ID, b"kept"),)
    deliver(bob.commit(ReInit(b"next", 1, number, extensions)), bob, alice, carol)
    old = [alice, bob, carol]
    new = [Member(member.name, number, seed="next") for member in old]
    maker, others = new[0], new[1:]
    maker.create(b"next", extensions=extensions)
    packages = [member.key_package() for member in others]
    group = alice.group
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.REINIT,
        group.group_id,
        group.epoch,
        maker.random(suite(number).hash_size),
    )
    made = maker.commit(
        *(Add(package[0]) for package in packages), PreSharedKey(psk), predecessor=group
    )
    maker.merge(made)
    assert made.welcome is not None
    for member, package, before in zip(others, packages, old[1:], strict=True):
        member.join(made.welcome, package, predecessor=before.group)
    everyone_can_message_everyone(*new)


def test_some_members_branch_off() -> None:
    """§11.3: the old group goes on."""
    alice, bob, carol = party("alice", "bob", "carol")
    branch = [Member("alice", seed="branch"), Member("carol", seed="branch")]
    branch[0].create(b"the two of us")
    package = branch[1].key_package()
    group = alice.group
    psk = PreSharedKeyID.resumption(
        ResumptionPSKUsage.BRANCH, group.group_id, group.epoch, alice.random(32)
    )
    made = branch[0].commit(Add(package[0]), PreSharedKey(psk), predecessor=group)
    branch[0].merge(made)
    assert made.welcome is not None
    branch[1].join(made.welcome, package, predecessor=carol.group)
    everyone_can_message_everyone(*branch)
    everyone_can_message_everyone(alice, bob, carol)


# Extensions and capabilities


def test_a_group_requires_more_when_all_can_do_it() -> None:
    able = Capabilities(cipher_suites=(3,), extensions=(0xF0C0,), credentials=(1,))
    alice = Member("alice")
    alice.create(capabilities=able)
    bob = Member("bob")
    package = generate_key_package(
        bob.suite, bob.credential, bob.signer, lifetime=LIFETIME, capabilities=able
    )
    made = alice.commit(Add(package[0]))
    alice.merge(made)
    assert made.welcome is not None
    bob.join(made.welcome, package)
    change = GroupContextExtensions(
        (
            required_capabilities_extension(RequiredCapabilities((0xF0C0,), (), (1,))),
            Extension(0xF0C0, b"the conversation"),
        )
    )
    deliver(bob.commit(change), bob, alice)
    assert alice.group.extension(0xF0C0) == b"the conversation"
    # The list is replaced as a whole.
    deliver(alice.commit(GroupContextExtensions(())), alice, bob)
    assert bob.group.context.extensions == ()


def test_unknown_extensions_of_leaves_and_key_packages_are_carried() -> None:
    alice, bob = party("alice", "bob")
    carol = Member("carol")
    leaf_extension, package_extension = Extension(0xF00D, b"leaf"), Extension(0xF00E, b"package")
    package = generate_key_package(
        carol.suite,
        carol.credential,
        carol.signer,
        lifetime=LIFETIME,
        extensions=[package_extension],
        leaf_extensions=[leaf_extension],
    )
    made = alice.commit(Add(package[0]))
    deliver(made, alice, bob)
    assert made.welcome is not None
    carol.join(made.welcome, package)
    leaf = bob.group.tree.leaf(2)
    assert leaf is not None
    assert leaf_extension in leaf.extensions
    assert {0xF00D, 0xF00E} <= set(leaf.capabilities.extensions)
    everyone_can_message_everyone(alice, bob, carol)


def test_grease_comes_where_it_may_and_nowhere_else() -> None:
    """§13.5, over everything that a group of two says."""
    alice, bob = party("alice", "bob")
    for member in (alice, bob):
        leaf = member.group.own_leaf_node
        assert leaf.extensions[-1].extension_type in GREASE
        assert leaf.credential.credential_type not in GREASE
    assert not {e.extension_type for e in alice.group.context.extensions} & set(GREASE)


@pytest.mark.parametrize("seed", range(15))
def test_grease_is_renewed_and_never_grows(seed: int) -> None:
    random = seeded(seed)
    signer = suite(3).generate_signature_key(random)
    content = LeafContent(
        signer.public,
        Member("anna").credential,
        Capabilities(cipher_suites=(3,), extensions=(0xF00D,), credentials=(1,)),
        (Extension(0xF00D, b""),),
    )
    once = greased(content, random)
    twice = greased(once, random)
    assert ungreased(once) == ungreased(twice) == content
    for lists in (once.capabilities, twice.capabilities):
        for numbers, own in (
            (lists.cipher_suites, (3,)),
            (lists.extensions, (0xF00D,)),
            (lists.proposals, ()),
            (lists.credentials, (1,)),
        ):
            assert numbers[:-1] == own
            assert numbers[-1] in GREASE
    assert len(twice.extensions) == 2


def test_a_leaf_that_says_nothing_new_keeps_its_grease() -> None:
    alice, bob = party("alice", "bob")
    before = alice.group.own_leaf_node.content
    deliver(alice.commit(credential=alice.credential), alice, bob)
    assert alice.group.own_leaf_node.content == before
    deliver(alice.commit(leaf_extensions=[Extension(1, b"new")]), alice, bob)
    assert ungreased(alice.group.own_leaf_node.content).extensions == (Extension(1, b"new"),)


# Credentials


class Chains:
    """Accepts chains that name somebody; a member stays who it is."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        if not isinstance(credential, X509Credential):
            raise ValidationError("credential", "§5.3.1")

    def same_identity(self, old: Credential, new: Credential) -> bool:
        return True


@pytest.mark.parametrize("number", SUITES)
def test_members_change_key_and_certificate(number: int) -> None:
    """In a commit both; in an Update the certificate (§5.3.1)."""
    members = [Member(name, number) for name in ("alice", "bob", "carol")]
    for member in members:
        member.credential = certified(member.signer, member.name)  # type: ignore[assignment]
    alice, bob, carol = members
    alice.create()
    for newcomer, others in ((bob, []), (carol, [bob])):
        package = newcomer.key_package()
        made = alice.commit(Add(package[0]), identity=Chains())
        alice.merge(made)
        for other in others:
            other.process(made.message, identity=Chains())
        assert made.welcome is not None
        newcomer.join(made.welcome, package, identity=Chains())
    signer = alice.suite.generate_signature_key(alice.random)
    credential = certified(signer, "alice")
    made = alice.commit(signer=signer, credential=credential, identity=Chains())
    alice.signer = signer
    alice.merge(made)
    for member in (bob, carol):
        member.process(made.message, identity=Chains())
    renewed = certified(bob.signer, "bob, renewed")
    proposed = bob.group.propose_update(credential=renewed, random=bob.random)
    bob.keep(proposed.group, proposed.changes)
    for member in (alice, carol):
        member.process(proposed.message, identity=Chains())
    made = carol.commit(identity=Chains())
    carol.merge(made)
    for member in (alice, bob):
        member.process(made.message, identity=Chains())
    found = [member.credential for member in carol.group.members()]
    assert found == [credential, renewed, carol.credential]
    everyone_can_message_everyone(alice, bob, carol)


def test_a_key_that_its_certificate_does_not_name_is_not_sent() -> None:
    alice = Member("alice")
    alice.credential = certified(alice.signer, "alice")  # type: ignore[assignment]
    alice.create()
    signer = alice.suite.generate_signature_key(alice.random)
    with pytest.raises(ValidationError) as failed:
        alice.commit(signer=signer, identity=Chains())
    assert failed.value.rule == "credential-key"


def test_a_wide_group_grows_and_shrinks_by_all_of_these() -> None:
    alice, *others = party(*(f"m{n}" for n in range(9)))
    deliver(alice.commit(*(Remove(n) for n in (2, 5, 8))), alice, *others)
    left = [alice, *(member for member in others if member.is_member)]
    late = Member("late")
    add(left[1], late, *(member for member in left if member is not left[1]))
    everyone_can_message_everyone(*left, late)
