"""Validation of leaf nodes and key packages: each rule of §7.3 and §10.1, broken alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.credential import BasicCredential
from pli_protocol.mls.errors import ValidationError
from pli_protocol.mls.extension import Extension, ExtensionType
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.labels import sign_with_label
from pli_protocol.mls.leaf_check import (
    MAX_LIFETIME,
    check_commit_leaf,
    check_key_package,
    check_lifetime,
    check_tree_leaf,
    check_update_leaf,
)
from pli_protocol.mls.leaf_node import Capabilities, LeafContent, LeafNode, Lifetime, sign_leaf

from .trees import LIFETIME, NOW

SUITE = suite(1)
SIGNER = SUITE.generate_signature_key()
KEY, INIT = SUITE.generate_kem_key().public, SUITE.generate_kem_key().public
CAPABILITIES = Capabilities(cipher_suites=(1,), credentials=(1,), extensions=(0xF000,))
CONTENT = LeafContent(
    SIGNER.public,
    BasicCredential(b"anna"),
    CAPABILITIES,
    (Extension(0xF000, b"ours"), Extension(ExtensionType.APPLICATION_ID, b"default")),
)


def package_of(leaf: LeafNode, **changes: object) -> KeyPackage:
    """A well-signed key package of a leaf, with fields changed before it was signed."""
    package = KeyPackage(1, 1, INIT, leaf, (), b"")
    package = replace(package, **changes)  # type: ignore[arg-type]
    signature = sign_with_label(SUITE, SIGNER, "KeyPackageTBS", package.to_be_signed())
    return replace(package, signature=signature)


def leaf_of(content: LeafContent = CONTENT, key: bytes = KEY) -> LeafNode:
    return sign_leaf(SUITE, SIGNER, content, key, LIFETIME)


def test_a_sound_key_package_passes() -> None:
    check_key_package(SUITE, package_of(leaf_of()), NOW)


def test_unknown_capabilities_and_extensions_of_the_package_are_ignored() -> None:
    grease = Capabilities((1, 0x1A1A), (0x0A0A, 1), (0x2A2A, 0xF000), (0x3A3A,), (1, 0x4A4A))
    leaf = leaf_of(replace(CONTENT, capabilities=grease))
    package = package_of(leaf, extensions=(Extension(0x5A5A, b"grease"),))
    check_key_package(SUITE, package, NOW)


SIGNED_PACKAGES: dict[str, Callable[[], KeyPackage]] = {
    "key-package-version": lambda: package_of(leaf_of(), version=2),
    "key-package-suite": lambda: package_of(leaf_of(), cipher_suite=3),
    "init-key": lambda: package_of(leaf_of(), init_key=b"short"),
    "init-key-reused": lambda: package_of(leaf_of(), init_key=KEY),
    "leaf-source": lambda: package_of(sign_leaf(SUITE, SIGNER, CONTENT, KEY, None)),
    "extensions-duplicate": lambda: package_of(
        leaf_of(), extensions=(Extension(9, b""), Extension(9, b""))
    ),
    "encryption-key": lambda: package_of(leaf_of(key=b"short")),
    "key-package-signature": lambda: replace(package_of(leaf_of()), signature=bytes(64)),
    "leaf-signature": lambda: package_of(replace(leaf_of(), signature=bytes(64))),
}


@pytest.mark.parametrize("rule", SIGNED_PACKAGES)
def test_a_key_package_that_breaks_one_rule_is_refused_for_it(rule: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_key_package(SUITE, SIGNED_PACKAGES[rule](), NOW)
    assert caught.value.rule == rule


CONTENTS = [
    ("leaf-capabilities", replace(CONTENT, capabilities=replace(CAPABILITIES, versions=(2,)))),
    ("leaf-capabilities", replace(CONTENT, capabilities=replace(CAPABILITIES, cipher_suites=(3,)))),
    ("leaf-credential", replace(CONTENT, capabilities=replace(CAPABILITIES, credentials=(2,)))),
    ("leaf-extensions", replace(CONTENT, capabilities=replace(CAPABILITIES, extensions=()))),
    ("extensions-duplicate", replace(CONTENT, extensions=CONTENT.extensions[:1] * 2)),
]


@pytest.mark.parametrize(("rule", "content"), CONTENTS)
def test_a_leaf_that_breaks_one_rule_is_refused_wherever_it_comes_from(
    rule: str, content: LeafContent
) -> None:
    update = sign_leaf(SUITE, SIGNER, content, KEY, None, b"group", 3)
    commit = sign_leaf(SUITE, SIGNER, content, KEY, b"hash", b"group", 3)
    checks = [
        lambda: check_key_package(SUITE, package_of(leaf_of(content)), NOW),
        lambda: check_update_leaf(SUITE, update, b"group", 3),
        lambda: check_commit_leaf(SUITE, commit, b"group", 3),
        lambda: check_tree_leaf(SUITE, update, b"group", 3),
    ]
    for check in checks:
        with pytest.raises(ValidationError) as caught:
            check()
        assert caught.value.rule == rule


def test_an_update_and_a_commit_must_come_as_such() -> None:
    update = sign_leaf(SUITE, SIGNER, CONTENT, KEY, None, b"group", 3)
    commit = sign_leaf(SUITE, SIGNER, CONTENT, KEY, b"hash", b"group", 3)
    check_update_leaf(SUITE, update, b"group", 3)
    check_commit_leaf(SUITE, commit, b"group", 3)
    check_tree_leaf(SUITE, leaf_of(), b"group", 3)
    for wrong in (commit, leaf_of()):
        with pytest.raises(ValidationError, match="leaf-source"):
            check_update_leaf(SUITE, wrong, b"group", 3)
    for wrong in (update, leaf_of()):
        with pytest.raises(ValidationError, match="leaf-source"):
            check_commit_leaf(SUITE, wrong, b"group", 3)


@pytest.mark.parametrize(
    ("now", "fine"),
    [(9, False), (10, True), (20, True), (21, False), (None, True)],
)
def test_a_lifetime_includes_both_its_ends(now: int | None, fine: bool) -> None:
    if fine:
        check_lifetime(Lifetime(10, 20), now)
    else:
        with pytest.raises(ValidationError, match="leaf-lifetime"):
            check_lifetime(Lifetime(10, 20), now)


def test_a_lifetime_that_is_too_long_is_refused() -> None:
    check_lifetime(Lifetime(0, MAX_LIFETIME), 5)
    with pytest.raises(ValidationError, match="leaf-lifetime"):
        check_lifetime(Lifetime(0, MAX_LIFETIME + 1), 5)
    check_lifetime(Lifetime(0, 2**64 - 1), None)
