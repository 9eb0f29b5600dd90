"""Verifiers of tree-math, tree-operations, tree-validation and treekem."""

from collections.abc import Callable
from typing import Any

from pli_protocol.mls import hpke, tree_math
from pli_protocol.mls.ciphersuite import MLS10, CipherSuite, SignatureKeyPair, suite
from pli_protocol.mls.codec import Writer, decode, encode
from pli_protocol.mls.labels import derive_secret
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.proposal import Add, Proposal, Remove, Update, decode_proposal
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.tree_check import check_tree
from pli_protocol.mls.update_path import (
    UpdatePath,
    apply_update_path,
    create_update_path,
    process_update_path,
)

Entry = dict[str, Any]


def verify_tree_math(entry: Entry) -> None:
    leaves, nodes, root = entry["n_leaves"], entry["n_nodes"], entry["root"]
    assert tree_math.node_width(leaves) == nodes
    assert tree_math.root(leaves) == root
    for field in ("left", "right", "parent", "sibling"):
        assert len(entry[field]) == nodes
    for node in range(nodes):
        children = (entry["left"][node], entry["right"][node])
        if tree_math.is_leaf(node):
            assert children == (None, None)
        else:
            assert children == (tree_math.left(node), tree_math.right(node))
        above = (entry["parent"][node], entry["sibling"][node])
        if node == root:
            assert above == (None, None)
        else:
            assert above == (tree_math.parent(node), tree_math.sibling(node))


def verify_tree_operation(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    tree = decode(RatchetTree, bytes.fromhex(entry["tree_before"]))
    assert tree.tree_hash(used).hex() == entry["tree_hash_before"]
    after = _apply(
        tree, decode_proposal(bytes.fromhex(entry["proposal"])), entry["proposal_sender"]
    )
    assert encode(after).hex() == entry["tree_after"]
    assert after.tree_hash(used).hex() == entry["tree_hash_after"]


def _apply(tree: RatchetTree, proposal: Proposal, sender: int) -> RatchetTree:
    match proposal:
        case Add(key_package):
            return tree.add_leaf(key_package.leaf_node)[0]
        case Update(leaf_node):
            return tree.update_leaf(sender, leaf_node)
        case Remove(removed):
            return tree.remove_leaf(removed)
        case _:
            raise AssertionError(f"a proposal of type {proposal.proposal_type}")


def verify_tree_validation(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    data = bytes.fromhex(entry["tree"])
    tree = decode(RatchetTree, data)
    assert encode(tree) == data
    assert [list(tree.resolution(node)) for node in range(tree.width)] == entry["resolutions"]
    hashes = [tree.node_hash(used, node).hex() for node in range(tree.width)]
    assert hashes == entry["tree_hashes"]
    check_tree(used, tree, bytes.fromhex(entry["group_id"]))


def verify_treekem(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    tree = decode(RatchetTree, bytes.fromhex(entry["ratchet_tree"]))
    private = {leaf["index"]: _private_tree(used, tree, leaf) for leaf in entry["leaves_private"]}
    signers = {
        leaf["index"]: used.signature_key(bytes.fromhex(leaf["signature_priv"]))
        for leaf in entry["leaves_private"]
    }
    for case in entry["update_paths"]:
        _verify_given_path(used, tree, private, entry, case)
        _verify_own_path(used, tree, private, entry, case["sender"], signers[case["sender"]])


def _private_tree(used: CipherSuite, tree: RatchetTree, leaf: Entry) -> PrivateTree:
    leaf_key = hpke.key_pair(used, bytes.fromhex(leaf["encryption_priv"]))
    path_keys = {
        item["node"]: hpke.derive_key_pair(
            used, derive_secret(used, bytes.fromhex(item["path_secret"]), "node")
        )
        for item in leaf["path_secrets"]
    }
    for index, pair in {2 * leaf["index"]: leaf_key, **path_keys}.items():
        node = tree.node(index)
        assert node is not None
        assert node.encryption_key == pair.public
    return PrivateTree(leaf["index"], leaf_key, path_keys)


def _context_of(used: CipherSuite, entry: Entry) -> Callable[[RatchetTree], bytes]:
    def encoded(tree: RatchetTree) -> bytes:
        w = Writer()
        w.u16(MLS10)
        w.u16(used.number)
        w.opaque(bytes.fromhex(entry["group_id"]))
        w.u64(entry["epoch"])
        w.opaque(tree.tree_hash(used))
        w.opaque(bytes.fromhex(entry["confirmed_transcript_hash"]))
        w.opaque(b"")
        return w.getvalue()

    return encoded


def _verify_given_path(
    used: CipherSuite,
    tree: RatchetTree,
    private: dict[int, PrivateTree],
    entry: Entry,
    case: Entry,
) -> None:
    data = bytes.fromhex(case["update_path"])
    path = decode(UpdatePath, data)
    assert encode(path) == data
    group_id, context = bytes.fromhex(entry["group_id"]), _context_of(used, entry)
    sender = case["sender"]
    merged = apply_update_path(used, tree, sender, path, group_id=group_id)
    assert merged.tree_hash(used).hex() == case["tree_hash_after"]
    for index, keys in private.items():
        if index == sender:
            continue
        result = process_update_path(
            used, tree, keys, sender, path, group_id=group_id, context=context
        )
        assert result.path_secret.hex() == case["path_secrets"][index]
        assert result.commit_secret.hex() == case["commit_secret"]
        assert result.tree == merged


def _verify_own_path(
    used: CipherSuite,
    tree: RatchetTree,
    private: dict[int, PrivateTree],
    entry: Entry,
    sender: int,
    signer: SignatureKeyPair,
) -> None:
    group_id, context = bytes.fromhex(entry["group_id"]), _context_of(used, entry)
    leaf = tree.leaf(sender)
    assert leaf is not None
    created = create_update_path(
        used, tree, sender, leaf.content, signer, group_id=group_id, context=context
    )
    for index, keys in private.items():
        if index == sender:
            continue
        result = process_update_path(
            used, tree, keys, sender, created.path, group_id=group_id, context=context
        )
        assert result.commit_secret == created.commit_secret
        assert result.tree == created.tree
