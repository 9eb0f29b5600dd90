"""Leaf nodes (RFC 9420 §7.2): what their signature covers."""

from dataclasses import replace

import pytest
from hypothesis import given

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import Reader, Writer, decode, encode
from pli_protocol.mls.credential import BasicCredential
from pli_protocol.mls.errors import CodecError, ValidationError
from pli_protocol.mls.leaf_node import (
    Capabilities,
    LeafContent,
    LeafNode,
    LeafNodeSource,
    Lifetime,
    sign_leaf,
)

from .structs import leaf_nodes

SUITE = suite(1)
SIGNER = SUITE.generate_signature_key()
CONTENT = LeafContent(SIGNER.public, BasicCredential(b"anna"), Capabilities())
KEY = SUITE.generate_kem_key().public


def test_a_key_packages_leaf_is_signed_without_a_group() -> None:
    leaf = sign_leaf(SUITE, SIGNER, CONTENT, KEY, Lifetime(1, 2))
    assert leaf.leaf_node_source is LeafNodeSource.KEY_PACKAGE
    leaf.verify_signature(SUITE, b"any group", 7)


@pytest.mark.parametrize("source", [None, b"parent hash", b""])
def test_a_leaf_made_in_a_group_is_bound_to_group_and_place(source: bytes | None) -> None:
    leaf = sign_leaf(SUITE, SIGNER, CONTENT, KEY, source, b"group", 3)
    expected = LeafNodeSource.UPDATE if source is None else LeafNodeSource.COMMIT
    assert leaf.leaf_node_source is expected
    leaf.verify_signature(SUITE, b"group", 3)
    for group_id, index in ((b"other", 3), (b"group", 4)):
        with pytest.raises(ValidationError, match="leaf-signature"):
            leaf.verify_signature(SUITE, group_id, index)


def test_every_field_of_a_leaf_is_signed() -> None:
    leaf = sign_leaf(SUITE, SIGNER, CONTENT, KEY, b"hash", b"group", 3)
    for changed in (
        replace(leaf, encryption_key=bytes(32)),
        replace(leaf, credential=BasicCredential(b"bert")),
        replace(leaf, capabilities=Capabilities(extensions=(0xF000,))),
        replace(leaf, parent_hash=b"other"),
        replace(leaf, leaf_node_source=LeafNodeSource.UPDATE, parent_hash=None),
    ):
        with pytest.raises(ValidationError, match="leaf-signature"):
            changed.verify_signature(SUITE, b"group", 3)


@given(leaf_nodes())
def test_a_changed_copy_does_not_keep_the_old_encoding(leaf: LeafNode) -> None:
    decoded = decode(LeafNode, encode(leaf))
    changed = replace(decoded, signature=decoded.signature + b"x")
    assert changed.encoded != decoded.encoded
    assert decode(LeafNode, changed.encoded) == changed


@given(leaf_nodes())
def test_the_kept_encoding_is_that_of_the_leaf_alone(leaf: LeafNode) -> None:
    w = Writer()
    w.u32(7)
    leaf.write(w)
    w.u32(8)
    r = Reader(w.getvalue())
    r.u32()
    assert LeafNode.read(r).encoded == leaf.encoded


def test_an_unknown_source_is_a_codec_error() -> None:
    leaf = sign_leaf(SUITE, SIGNER, CONTENT, KEY, None, b"group", 3)
    data = leaf.encoded.replace(encode(CONTENT.capabilities) + b"\x02", b"\x04")
    with pytest.raises(CodecError):
        decode(LeafNode, data)


def test_the_content_of_a_leaf_makes_the_next_one() -> None:
    leaf = sign_leaf(SUITE, SIGNER, CONTENT, KEY, Lifetime(1, 2))
    assert leaf.content == CONTENT
