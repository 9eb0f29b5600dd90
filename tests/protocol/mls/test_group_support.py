"""What members must support of the group and of each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pli_protocol.mls import (
    Capabilities,
    Extension,
    ExtensionType,
    LeafNode,
    RequiredCapabilities,
    ValidationError,
    required_capabilities,
    required_capabilities_extension,
)
from pli_protocol.mls.group_support import (
    check_credential_types,
    check_supports_group,
    check_unique_keys,
)
from pli_protocol.mls.tree_index import TreeIndex

from .groups import Member


def leaf(name: str = "alice", **capabilities: tuple[int, ...]) -> LeafNode:
    package, _ = Member(name).key_package()
    supported = replace(Capabilities(cipher_suites=(3,), credentials=(1,)), **capabilities)
    return replace(package.leaf_node, capabilities=supported)


def breaks(rule: str):  # type: ignore[no-untyped-def]
    return pytest.raises(ValidationError, match=f"^{rule} ")


def test_extensions_beyond_the_defaults_must_be_supported() -> None:
    ours, default = Extension(0xF001, b""), Extension(ExtensionType.APPLICATION_ID, b"")
    check_supports_group([default], [leaf()])
    check_supports_group([ours, default], [leaf(extensions=(0xF001,))])
    with breaks("extension-unsupported"):
        check_supports_group([ours], [leaf(extensions=(0xF001,)), leaf()])


@pytest.mark.parametrize(
    "required",
    [
        RequiredCapabilities((0xF001,), (), ()),
        RequiredCapabilities((), (0xF002,), ()),
        RequiredCapabilities((), (), (2,)),
    ],
)
def test_required_capabilities_must_be_met_by_all(required: RequiredCapabilities) -> None:
    extension = required_capabilities_extension(required)
    assert required_capabilities([extension]) == required
    able = leaf(extensions=(0xF001,), proposals=(0xF002,), credentials=(1, 2))
    check_supports_group([extension], [able])
    with breaks("required-capabilities"):
        check_supports_group([extension], [able, leaf("bob")])


def test_default_types_need_not_be_listed() -> None:
    required = RequiredCapabilities((1, 2, 3, 4, 5), (1, 2, 3, 4, 5, 6, 7), (1,))
    check_supports_group([required_capabilities_extension(required)], [leaf()])


def test_required_capabilities_that_do_not_decode_are_refused() -> None:
    with breaks("required-capabilities"):
        check_supports_group([Extension(ExtensionType.REQUIRED_CAPABILITIES, b"\x05")], [])
    assert required_capabilities([]) is None


def test_members_support_each_others_credential_types() -> None:
    check_credential_types(TreeIndex.of([leaf("alice"), leaf("bob")]))
    with breaks("credential-type"):
        check_credential_types(TreeIndex.of([leaf("alice"), leaf("bob", credentials=(2,))]))


def test_keys_are_unique_among_members() -> None:
    alice, bob = leaf("alice"), leaf("bob")
    check_unique_keys(TreeIndex.of([alice, bob]))
    with breaks("signature-key-twice"):
        check_unique_keys(TreeIndex.of([alice, replace(bob, signature_key=alice.signature_key)]))
    with breaks("encryption-key-twice"):
        check_unique_keys(TreeIndex.of([alice, replace(bob, encryption_key=alice.encryption_key)]))
