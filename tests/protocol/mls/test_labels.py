"""Labelled operations (RFC 9420 §5.1, §5.2, §8): the label and the context separate uses."""

import pytest

from pli_protocol.mls import labels
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.errors import CryptoError

SUITE = suite(1)


def test_a_signature_holds_under_its_label_only() -> None:
    key = SUITE.generate_signature_key()
    signature = labels.sign_with_label(SUITE, key, "FramedContentTBS", b"content")
    labels.verify_with_label(SUITE, key.public, "FramedContentTBS", b"content", signature)
    for label, content in (("GroupInfoTBS", b"content"), ("FramedContentTBS", b"other")):
        with pytest.raises(CryptoError):
            labels.verify_with_label(SUITE, key.public, label, content, signature)


def test_a_label_cannot_lend_bytes_to_the_content() -> None:
    key = SUITE.generate_signature_key()
    signature = labels.sign_with_label(SUITE, key, "ab", b"c")
    with pytest.raises(CryptoError):
        labels.verify_with_label(SUITE, key.public, "a", b"bc", signature)


def test_a_ciphertext_opens_under_its_label_and_context_only() -> None:
    pair = SUITE.generate_kem_key()
    sealed = labels.encrypt_with_label(SUITE, pair.public, "Welcome", b"context", b"text")
    assert labels.decrypt_with_label(SUITE, pair, "Welcome", b"context", sealed) == b"text"
    for label, context in (("UpdatePathNode", b"context"), ("Welcome", b"other")):
        with pytest.raises(CryptoError):
            labels.decrypt_with_label(SUITE, pair, label, context, sealed)


def test_derived_secrets_differ_by_label_context_length_and_generation() -> None:
    secret = bytes(SUITE.hash_size)
    derived = [
        labels.derive_secret(SUITE, secret, "a"),
        labels.derive_secret(SUITE, secret, "b"),
        labels.expand_with_label(SUITE, secret, "a", b"context", 32),
        labels.expand_with_label(SUITE, secret, "a", b"", 31),
        labels.derive_tree_secret(SUITE, secret, "a", 0, 32),
        labels.derive_tree_secret(SUITE, secret, "a", 1, 32),
        labels.ref_hash(SUITE, "a", secret),
    ]
    assert len({value[:31] for value in derived}) == len(derived)
