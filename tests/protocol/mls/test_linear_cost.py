"""No input of n bytes costs more than O(n): decoders, and the checks that follow (counted, not timed)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    BasicCredential,
    Capabilities,
    Commit,
    Extension,
    ExternalSender,
    Group,
    GroupContextExtensions,
    KeyPackage,
    LeafNode,
    MLSError,
    PreSharedKey,
    PreSharedKeyID,
    Remove,
    RequiredCapabilities,
    Sender,
    SenderType,
    Update,
    WireFormat,
    X509Credential,
    encode,
    external_senders_extension,
    peek,
    required_capabilities_extension,
)
from pli_protocol.mls.codec import Reader, Writer, decode, varint
from pli_protocol.mls.commit import ProposalRef
from pli_protocol.mls.external_senders import external_senders
from pli_protocol.mls.framing import AuthenticatedContent, FramedContent, FramedContentAuthData
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.group_info import GroupInfo
from pli_protocol.mls.group_support import check_supports_group
from pli_protocol.mls.key_schedule import JoinerSecret
from pli_protocol.mls.labels import HPKECiphertext
from pli_protocol.mls.leaf_node import LeafNodeSource
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.node import ParentNode
from pli_protocol.mls.parent_hash import check_parent_hashes
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.proposal_list import (
    ListContext,
    ListedProposal,
    apply_list,
    check_list,
    check_proposal,
    choose_pending,
)
from pli_protocol.mls.psk import psk_secret
from pli_protocol.mls.public_message import PublicMessage
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_check import check_tree, check_unique_keys, check_unmerged_leaves
from pli_protocol.mls.update_path import UpdatePath, UpdatePathNode, _receivers, apply_update_path
from pli_protocol.mls.welcome import EncryptedGroupSecrets, GroupSecrets, Welcome

from ..cost import assert_linear, cost
from .groups import NOW, Member, party

SUITE = Member("suite").suite
Prepared = Callable[[], object]


def leaf(number: int, capabilities: Capabilities | None = None) -> LeafNode:
    """A leaf that nobody signed."""
    key = SUITE.hash(str(number).encode())
    return LeafNode(
        key,
        key,
        BasicCredential(str(number).encode()),
        capabilities or Capabilities((1,), (SUITE.number,), (), (), (1,)),
        LeafNodeSource.UPDATE,
        None,
        None,
        (),
        bytes(64),
    )


def package(number: int) -> KeyPackage:
    return KeyPackage(1, SUITE.number, bytes(32), leaf(number), (), bytes(64))


def tree(count: int, parents: Callable[[int], ParentNode | None] = lambda at: None) -> RatchetTree:
    """A tree of that many leaves, with these parents."""
    nodes: dict[int, Any] = {2 * at: leaf(at) for at in range(count)}
    nodes |= {at: node for at in range(1, 2 * count - 1, 2) if (node := parents(at)) is not None}
    return RatchetTree.from_nodes(nodes)


def parent(at: int, *unmerged: int) -> ParentNode:
    return ParentNode(SUITE.hash(b"parent %d" % at), b"", unmerged)


def framed(content: object) -> bytes:
    """A PublicMessage of a member with this content, unsigned."""
    tag = bytes(32) if isinstance(content, Commit) else None
    sender = Sender(SenderType.MEMBER, 0)
    signed = AuthenticatedContent(
        WireFormat.PUBLIC_MESSAGE,
        FramedContent(b"group", 1, sender, b"", content),  # type: ignore[arg-type]
        FramedContentAuthData(bytes(64), tag),
    )
    return encode(MLSMessage(PublicMessage(signed.content, signed.auth, bytes(32))))


# --- decoding -------------------------------------------------------------------------------------

EMPTY_NODE = UpdatePathNode(b"", ())
PSK = PreSharedKeyID.external(b"", b"")


def commit(*proposals: Any, path: UpdatePath | None = None) -> bytes:
    return framed(Commit(proposals, path))


ENCODED: dict[str, Callable[[int], tuple[type[Any], bytes]]] = {
    "blank nodes": lambda n: (RatchetTree, encode(RatchetTree.from_nodes({2 * n: leaf(0)}))),
    "parents only": lambda n: (
        RatchetTree,
        encode(
            RatchetTree.from_nodes({at: parent(at) for at in range(1, 2 * n, 2)} | {2 * n: leaf(0)})
        ),
    ),
    "unmerged leaves": lambda n: (ParentNode, encode(ParentNode(b"", b"", tuple(range(n))))),
    "unmerged leaves out of order at the end": lambda n: (
        ParentNode,
        encode(ParentNode(b"", b"", (*range(n), 0))),
    ),
    "leaves in a tree": lambda n: (RatchetTree, encode(tree(n))),
    "capabilities": lambda n: (Capabilities, encode(Capabilities((1,) * n, (2,) * n, (3,) * n))),
    "empty extensions": lambda n: (
        GroupContext,
        encode(GroupContext(1, b"g", 0, b"", b"", (Extension(7, b""),) * n)),
    ),
    "empty certificates": lambda n: (
        LeafNode,
        encode(replace_leaf(leaf(0), credential=X509Credential((b"",) * n))),
    ),
    "required capabilities": lambda n: (
        RequiredCapabilities,
        encode(RequiredCapabilities((1,) * n, (1,) * n, (1,) * n)),
    ),
    "proposals by reference": lambda n: (MLSMessage, commit(*(ProposalRef(b""),) * n)),
    "removes": lambda n: (MLSMessage, commit(*(Remove(0),) * n)),
    "pre-shared keys": lambda n: (MLSMessage, commit(*(PreSharedKey(PSK),) * n)),
    "extension proposals": lambda n: (MLSMessage, commit(*(GroupContextExtensions(()),) * n)),
    "adds": lambda n: (MLSMessage, commit(*(Add(package(0)),) * n)),
    "path nodes": lambda n: (MLSMessage, commit(path=UpdatePath(leaf(0), (EMPTY_NODE,) * n))),
    "path ciphertexts": lambda n: (
        MLSMessage,
        commit(path=UpdatePath(leaf(0), (UpdatePathNode(b"", (HPKECiphertext(b"", b""),) * n),))),
    ),
    "secrets of a Welcome": lambda n: (
        MLSMessage,
        encode(
            MLSMessage(Welcome(1, (EncryptedGroupSecrets(b"", HPKECiphertext(b"", b"")),) * n, b""))
        ),
    ),
    "keys of a joiner": lambda n: (
        GroupSecrets,
        encode(GroupSecrets(JoinerSecret(b""), None, (PSK,) * n)),
    ),
    "bytes": lambda n: (MLSMessage, framed(b"x" * (n * 16))),
    "an extension of a GroupInfo": lambda n: (
        MLSMessage,
        encode(
            MLSMessage(
                GroupInfo(
                    GroupContext(1, b"g", 0, b"", b""), (Extension(2, b"x" * (n * 16)),), b"", 0
                )
            )
        ),
    ),
}


def replace_leaf(of: LeafNode, **changes: Any) -> LeafNode:
    again = replace(of, **changes)
    assert again.encoded != of.encoded
    return again


@pytest.mark.parametrize("name", ENCODED)
def test_decoding_costs_what_the_input_is_long(name: str) -> None:
    def prepare(size: int) -> Prepared:
        cls, data = ENCODED[name](size)
        return lambda: decode(cls, data)

    assert_linear(prepare, 250, MLSError)


@pytest.mark.parametrize("name", ENCODED)
def test_encoding_costs_what_the_output_is_long(name: str) -> None:
    def prepare(size: int) -> Prepared:
        cls, data = ENCODED[name](size)
        try:
            value = decode(cls, data)
        except MLSError:
            return lambda: None
        return lambda: encode(value)

    assert_linear(prepare, 250)


@pytest.mark.parametrize("name", ENCODED)
def test_peeking_costs_no_more_than_decoding(name: str) -> None:
    cls, data = ENCODED[name](500)
    if cls is MLSMessage:
        peeked, decoded = cost(lambda: peek(data)), cost(lambda: decode(cls, data), MLSError)
        assert peeked.lines <= decoded.lines + 50
        assert peeked.peak <= decoded.peak + 4096


@pytest.mark.parametrize("length", [2**30 - 1, 2**29, 2**14])
@pytest.mark.parametrize("filler", [b"", b"\x00", b"\x00" * 10, b"\xff" * 10, b"\x01" * 10])
def test_a_length_that_is_a_lie_costs_nothing(length: int, filler: bytes) -> None:
    """What is claimed and not there is not allocated."""
    data = varint(length) + filler
    for read in (Reader.opaque, lambda r: r.vector(Reader.u8), lambda r: r.vector(Reader.opaque)):
        spent = cost(lambda read=read: read(Reader(data)), MLSError)
        assert spent.peak < 8192
        assert spent.lines < 100


def test_vectors_within_vectors_are_read_once() -> None:
    """Depth is that of the structs: no input nests deeper."""
    spent = cost(lambda: decode(MLSMessage, commit(*(Add(package(0)),) * 50)))
    twice = cost(lambda: decode(MLSMessage, commit(*(Add(package(0)),) * 100)))
    assert twice.lines < 3 * spent.lines


# --- trees ----------------------------------------------------------------------------------------


def below(at: int) -> range:
    """The leaves under a parent node."""
    level = 0
    while at >> level & 1:
        level += 1
    size = 1 << level
    first = (at - (size - 1)) // 2
    return range(first, first + size)


def level(at: int) -> int:
    return len(below(at)).bit_length() - 1


TREES: dict[str, Callable[[int], RatchetTree]] = {
    "no parents": lambda n: tree(n),
    "all parents": lambda n: tree(n, parent),
    "every other level": lambda n: tree(n, lambda at: parent(at) if level(at) % 2 else None),
    "all leaves unmerged at the root": lambda n: tree(
        n, lambda at: parent(at, *below(at)) if at == n - 1 else None
    ),
    "all leaves unmerged everywhere": lambda n: tree(n, lambda at: parent(at, *below(at))),
    "half of the leaves unmerged": lambda n: tree(n, lambda at: parent(at, *below(at)[::2])),
    "all blank but the ends": lambda n: RatchetTree.from_nodes({0: leaf(0), 2 * n - 2: leaf(1)}),
    "one key everywhere": lambda n: RatchetTree.from_nodes({2 * at: leaf(0) for at in range(n)}),
}
OF_TREES: dict[str, Callable[[RatchetTree], object]] = {
    "tree hash": lambda found: found.tree_hash(SUITE),
    "unmerged leaves": check_unmerged_leaves,
    "keys": check_unique_keys,
    "parent hashes": lambda found: check_parent_hashes(SUITE, found),
    "all checks": lambda found: check_tree(SUITE, found, b"group"),
    "resolution": lambda found: found.resolution(found.root),
    "filtered path": lambda found: found.filtered_path(0),
    "encoding": encode,
    "finding a leaf": lambda found: found.find_leaf(leaf(7)),
}


@pytest.mark.parametrize("what", OF_TREES)
@pytest.mark.parametrize("name", TREES)
def test_a_check_of_a_tree_costs_what_the_tree_is_long(name: str, what: str) -> None:
    def prepare(size: int) -> Prepared:
        data = encode(TREES[name](size))
        found = decode(RatchetTree, data)
        return lambda: OF_TREES[what](found)

    assert_linear(prepare, 128, MLSError)


def test_a_path_of_many_ciphertexts_is_checked_in_one_go() -> None:
    def prepare(size: int) -> Prepared:
        found = tree(size)
        path = UpdatePath(leaf(0), (EMPTY_NODE,) * len(found.filtered_path(0)))
        added = list(range(1, size))
        return lambda: apply_update_path(SUITE, found, 0, path, group_id=b"group", added=added)

    assert_linear(prepare, 128, MLSError)


class Counted:
    """Leaf indices that count how often they are looked through."""

    def __init__(self, leaves: range) -> None:
        self.leaves, self.looks = leaves, 0

    def __len__(self) -> int:
        return len(self.leaves)

    def __iter__(self) -> Any:
        self.looks += 1
        return iter(self.leaves)

    def __contains__(self, leaf: object) -> bool:
        # A list would be looked through for each question.
        self.looks += 1
        return leaf in self.leaves


def test_added_leaves_are_not_looked_through_for_every_receiver() -> None:
    found, added = tree(256), Counted(range(100))
    assert len(_receivers(found, found.root, added)) == 156
    assert added.looks <= 2


# --- what a group must support --------------------------------------------------------------------


def test_required_capabilities_that_repeat_are_read_once() -> None:
    """Half of the input lists one type again and again, the other half are leaves that have it."""

    def prepare(size: int) -> Prepared:
        extensions = (
            required_capabilities_extension(
                RequiredCapabilities((0xF000,) * size, (0xF000,) * size, (1,) * size)
            ),
        )
        one = Capabilities((1,), (SUITE.number,), (0xF000,), (0xF000,), (1,))
        leaves = [leaf(at, one) for at in range(size)]
        return lambda: check_supports_group(extensions, leaves)

    assert_linear(prepare, 200)


def test_many_external_senders_are_read_in_one_go() -> None:
    def prepare(size: int) -> Prepared:
        one = external_senders_extension([ExternalSender(b"", BasicCredential(b""))] * size)
        return lambda: external_senders((one,))

    assert_linear(prepare, 250)


def test_many_pre_shared_keys_are_mixed_in_one_go() -> None:
    def prepare(size: int) -> Prepared:
        psks = [(PreSharedKeyID.external(b"%d" % at, bytes(32)), bytes(32)) for at in range(size)]
        return lambda: psk_secret(SUITE, psks)

    assert_linear(prepare, 100)


# --- lists of proposals ---------------------------------------------------------------------------


def listed(*proposals: Any) -> tuple[ListedProposal, ...]:
    return tuple(
        ListedProposal(
            proposal,
            Sender(SenderType.MEMBER, at + 1 if isinstance(proposal, Update) else 0),
            ProposalRef(b"%d" % at),
        )
        for at, proposal in enumerate(proposals)
    )


LISTS: dict[str, Callable[[int], tuple[ListedProposal, ...]]] = {
    "removes": lambda n: listed(*(Remove(at) for at in range(1, n))),
    "updates": lambda n: listed(*(Update(leaf(10_000 + at)) for at in range(n - 1))),
    "adds": lambda n: listed(*(Add(package(10_000 + at)) for at in range(n))),
    "adds of members": lambda n: listed(*(Add(package(at)) for at in range(n))),
    "adds of one": lambda n: listed(*(Add(package(10_000)) for _ in range(n))),
    "removes of one": lambda n: listed(*(Remove(1),) * n),
    "removes of oneself": lambda n: listed(*(Remove(0),) * n),
    "pre-shared keys": lambda n: listed(
        *(PreSharedKey(PreSharedKeyID.external(b"%d" % at, bytes(32))) for at in range(n))
    ),
    "extensions": lambda n: listed(*(GroupContextExtensions((Extension(7, b""),)),) * n),
    "removes and adds": lambda n: listed(
        *(Remove(at) for at in range(1, n)), *(Add(package(10_000 + at)) for at in range(n))
    ),
}


def where(size: int) -> ListContext:
    found = tree(size, lambda at: parent(at, *below(at)[1::2]))
    found.tree_hash(SUITE)
    context = GroupContext(SUITE.number, b"group", 1, b"", b"")
    return ListContext(SUITE, context, found, 0, ACCEPT_BASIC, NOW)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_of_proposals_costs_what_it_is_long(name: str) -> None:
    def prepare(size: int) -> Prepared:
        items, context = LISTS[name](size), where(size)

        def run() -> None:
            check_list(items, context)
            apply_list(items, context).tree.tree_hash(SUITE)

        return run

    assert_linear(prepare, 64, MLSError)


@pytest.mark.parametrize("name", LISTS)
def test_choosing_among_pending_proposals_costs_what_they_are_long(name: str) -> None:
    def prepare(size: int) -> Prepared:
        items, context = LISTS[name](size), where(size)
        return lambda: choose_pending((), items, context)

    assert_linear(prepare, 64)


def test_each_proposal_by_itself_costs_nothing_of_the_others() -> None:
    def prepare(size: int) -> Prepared:
        items, context = LISTS["removes"](size), where(size)

        def run() -> None:
            for item in items:
                check_proposal(item.proposal, item.sender, context)

        return run

    assert_linear(prepare, 64)


def test_many_pending_proposals_are_chosen_from_whether_good_or_bad() -> None:
    """Good ones among those that conflict with each other, and with the members."""
    bad = [Add(package(at)) for at in range(40)] + [Update(leaf(77))] * 40
    good = [Remove(at) for at in range(60, 70)] + [Add(package(20_000))]
    chosen = choose_pending((), listed(*bad, *good), where(128))
    kept = [item.proposal for item in chosen]
    assert [item for item in kept if isinstance(item, Remove)] == good[:10]
    assert good[10] in kept


# --- whole messages -------------------------------------------------------------------------------


@cache
def members(size: int) -> tuple[Member, ...]:
    """A group of this size; only the first two keep up with it."""
    first, second = party("first", "second")
    packages = [Member(f"{at} of {size}").key_package()[0] for at in range(size - 2)]
    made = first.commit(*map(Add, packages))
    first.merge(made)
    second.process(made.message)
    return first, second


def test_receiving_a_commit_that_removes_half_of_the_group_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        first, second = members(size)
        gone = [Remove(at) for at in range(2, size, 2)]
        made = first.group.commit(gone, identity=ACCEPT_BASIC, now=NOW, random=first.random)
        return lambda: second.group.process(made.message, identity=ACCEPT_BASIC, now=NOW)

    assert_linear(prepare, 32)


def test_making_and_receiving_a_commit_that_adds_many_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        first, second = members(4)
        packages = [Member(f"new {at}").key_package()[0] for at in range(size)]

        def run() -> None:
            made = first.group.commit(
                [*map(Add, packages)], identity=ACCEPT_BASIC, now=NOW, random=first.random
            )
            second.group.process(made.message, identity=ACCEPT_BASIC, now=NOW)

        return run

    assert_linear(prepare, 24)


def test_joining_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        first, _ = members(size)
        new = Member("new")
        package_of_new, secrets = new.key_package()
        made = first.group.commit(
            [Add(package_of_new)], identity=ACCEPT_BASIC, now=NOW, random=first.random
        )
        welcome = made.welcome
        assert welcome is not None
        return lambda: Group.join(
            welcome, package_of_new, secrets, new.signer, identity=ACCEPT_BASIC, now=NOW
        )

    assert_linear(prepare, 32)


def test_joining_through_a_group_info_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        first, _ = members(size)
        info = first.group.group_info(random=first.random)
        new = Member("new")
        return lambda: Group.join_external(
            info, new.credential, new.signer, identity=ACCEPT_BASIC, now=NOW, random=new.random
        )

    assert_linear(prepare, 32)


def test_a_welcome_for_many_others_is_refused_in_one_go() -> None:
    new = Member("new")
    mine, secrets = new.key_package()

    def prepare(size: int) -> Prepared:
        entries = tuple(
            EncryptedGroupSecrets(b"%032d" % at, HPKECiphertext(b"", b"")) for at in range(size)
        )
        welcome = encode(MLSMessage(Welcome(SUITE.number, entries, b"")))
        return lambda: Group.join(
            welcome, mine, secrets, new.signer, identity=ACCEPT_BASIC, now=NOW
        )

    assert_linear(prepare, 250, MLSError)


def test_storing_and_reading_back_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        first, _ = members(size)
        group = first.group

        def run() -> None:
            assert Group.from_entries(group.entries(), group.signer) == group

        return run

    assert_linear(prepare, 32)


def test_reading_a_stored_path_is_linear() -> None:
    def prepare(size: int) -> Prepared:
        w = Writer()
        w.raw(bytes(6))
        w.opaque(b"".join(at.to_bytes(4, "big") + bytes(2) for at in range(size)))
        data = w.getvalue()
        return lambda: decode(PrivateTree, data)

    assert_linear(prepare, 250)


def test_a_message_costs_nothing_of_the_group_s_size() -> None:
    """Receiving one is O(log n): the same key schedule, a longer way down the secret tree."""
    costs = []
    for size in (16, 256):
        first, second = members(size)
        message = first.group.seal(b"text", random=first.random).message
        receive = lambda second=second, message=message: second.group.process(  # noqa: E731
            message, identity=ACCEPT_BASIC, now=NOW
        )
        receive()
        costs.append(cost(receive))
    assert costs[1].lines < 2 * costs[0].lines
    assert costs[1].peak < 2 * costs[0].peak + 16384
