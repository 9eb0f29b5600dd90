"""Hypothesis strategies for the structs of RFC 9420's lower half."""

from hypothesis import strategies as st

from pli_protocol.mls.credential import (
    BasicCredential,
    Credential,
    UnknownCredential,
    X509Credential,
)
from pli_protocol.mls.extension import Extension, RequiredCapabilities
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.labels import HPKECiphertext
from pli_protocol.mls.leaf_node import Capabilities, LeafNode, LeafNodeSource, Lifetime
from pli_protocol.mls.node import Node, ParentNode
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.update_path import UpdatePath, UpdatePathNode

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
opaque = st.binary(max_size=80)
numbers = st.lists(u16, max_size=4).map(tuple)
keys = st.binary(min_size=32, max_size=32)

extensions = st.lists(st.builds(Extension, u16, opaque), max_size=3).map(tuple)
required_capabilities = st.builds(RequiredCapabilities, numbers, numbers, numbers)
credentials: st.SearchStrategy[Credential] = st.one_of(
    st.builds(BasicCredential, opaque),
    st.builds(X509Credential, st.lists(opaque, max_size=3).map(tuple)),
    st.builds(UnknownCredential, st.integers(3, 2**16 - 1), opaque),
)
capabilities = st.builds(Capabilities, numbers, numbers, numbers, numbers, numbers)
lifetimes = st.builds(Lifetime, u64, u64)


@st.composite
def leaf_nodes(draw: st.DrawFn) -> LeafNode:
    source = draw(st.sampled_from(LeafNodeSource))
    return LeafNode(
        draw(keys),
        draw(keys),
        draw(credentials),
        draw(capabilities),
        source,
        draw(lifetimes) if source is LeafNodeSource.KEY_PACKAGE else None,
        draw(opaque) if source is LeafNodeSource.COMMIT else None,
        draw(extensions),
        draw(opaque),
    )


key_packages = st.builds(KeyPackage, u16, u16, keys, leaf_nodes(), extensions, opaque)
parent_nodes = st.builds(
    ParentNode, keys, opaque, st.sets(u32, max_size=4).map(lambda leaves: tuple(sorted(leaves)))
)
nodes: st.SearchStrategy[Node] = st.one_of(leaf_nodes(), parent_nodes)
ciphertexts = st.builds(HPKECiphertext, opaque, opaque)
path_nodes = st.builds(UpdatePathNode, keys, st.lists(ciphertexts, max_size=3).map(tuple))
update_paths = st.builds(UpdatePath, leaf_nodes(), st.lists(path_nodes, max_size=3).map(tuple))


@st.composite
def ratchet_trees(draw: st.DrawFn) -> RatchetTree:
    """Any tree that decodes; its keys and hashes mean nothing."""
    size = draw(st.integers(1, 9))
    leaves = draw(st.lists(st.none() | leaf_nodes(), min_size=size, max_size=size))
    leaves[-1] = draw(leaf_nodes())
    found: dict[int, Node] = {2 * at: leaf for at, leaf in enumerate(leaves) if leaf is not None}
    for at in range(1, 2 * size - 1, 2):
        if (parent := draw(st.none() | parent_nodes)) is not None:
            found[at] = parent
    return RatchetTree.from_nodes(found)
