"""Validation of leaf nodes and key packages (RFC 9420 §7.3, §10.1), each by itself.

What needs the whole group is elsewhere: support for the group's parameters, uniqueness of keys, and
whether the credential is acceptable.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate

from .ciphersuite import MLS10, CipherSuite
from .credential import X509Credential
from .errors import CryptoError, ValidationError
from .extension import DEFAULT_EXTENSIONS, check_unique
from .hpke import check_public_key
from .key_package import KeyPackage
from .leaf_node import LeafNode, LeafNodeSource, Lifetime

MAX_LIFETIME: Final = 400 * 86_400
"""Longest total lifetime of a leaf that we accept, seconds (§7.2)."""


def check_leaf(suite: CipherSuite, leaf: LeafNode) -> None:
    """What holds for every leaf: keys, capabilities, extensions (§7.2, §7.3).

    Raises:
        ValidationError: "encryption-key", "leaf-capabilities", "leaf-credential",
            "leaf-extensions", "extensions-duplicate", "credential-key".
    """
    check_encryption_key(suite, leaf.encryption_key)
    capabilities = leaf.capabilities
    if MLS10 not in capabilities.versions or suite.number not in capabilities.cipher_suites:
        raise ValidationError("leaf-capabilities", "§7.2")
    if leaf.credential.credential_type not in capabilities.credentials:
        raise ValidationError("leaf-credential", "§7.3")
    check_unique(leaf.extensions)
    types = {extension.extension_type for extension in leaf.extensions}
    if not types <= DEFAULT_EXTENSIONS.union(capabilities.extensions):
        raise ValidationError("leaf-extensions", "§7.3")
    if isinstance(leaf.credential, X509Credential):
        check_certificate_key(leaf.credential, leaf.signature_key)


def check_certificate_key(credential: X509Credential, signature_key: bytes) -> None:
    """Whether the end-entity certificate is about the leaf's signature key (§5.3).

    Whether the chain can be trusted is for the application to decide (`IdentityCheck`).

    Raises:
        ValidationError: "credential-key".
    """
    try:
        certificate = load_der_x509_certificate(credential.certificates[0])
        key = certificate.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    except (IndexError, ValueError, UnsupportedAlgorithm) as error:
        raise ValidationError("credential-key", "§5.3") from error
    if key != signature_key:
        raise ValidationError("credential-key", "§5.3")


def check_lifetime(lifetime: Lifetime | None, now: int | None) -> None:
    """Whether `now` (Unix seconds, None: not checked) is in a lifetime that is not too long.

    Raises:
        ValidationError: "leaf-lifetime", "leaf-lifetime-total".
    """
    if now is None or lifetime is None:
        return
    if not lifetime.not_before <= now <= lifetime.not_after:
        raise ValidationError("leaf-lifetime", "§7.3")
    check_total_lifetime(lifetime)


def check_total_lifetime(lifetime: Lifetime) -> None:
    """Whether a lifetime, from first to last, is not longer than MAX_LIFETIME.

    Raises:
        ValidationError: "leaf-lifetime-total".
    """
    if lifetime.not_after - lifetime.not_before > MAX_LIFETIME:
        raise ValidationError("leaf-lifetime-total", "§7.2")


def check_key_package(suite: CipherSuite, package: KeyPackage, now: int | None) -> None:
    """A key package before it is used, and in an Add (§10.1).

    Args:
        suite: the group's cipher suite.
        now: Unix seconds; None: lifetimes are not checked.

    Raises:
        ValidationError: "key-package-version", "key-package-suite", "leaf-source", "init-key",
            "init-key-reused", "key-package-signature", "leaf-signature", and those of `check_leaf`
            and `check_lifetime`.
    """
    if package.version != MLS10:
        raise ValidationError("key-package-version", "§10.1")
    if package.cipher_suite != suite.number:
        raise ValidationError("key-package-suite", "§10.1")
    leaf = package.leaf_node
    _check_source(leaf, LeafNodeSource.KEY_PACKAGE)
    check_encryption_key(suite, package.init_key, "init-key")
    if package.init_key == leaf.encryption_key:
        raise ValidationError("init-key-reused", "§10.1")
    check_unique(package.extensions)
    check_leaf(suite, leaf)
    check_lifetime(leaf.lifetime, now)
    leaf.verify_signature(suite, b"", 0)
    package.verify_signature(suite)


def check_update_leaf(suite: CipherSuite, leaf: LeafNode, group_id: bytes, leaf_index: int) -> None:
    """The leaf of an Update proposal sent from `leaf_index` (§7.3); it has no lifetime.

    Raises:
        ValidationError: "leaf-source", "leaf-signature", and those of `check_leaf`.
    """
    _check_source(leaf, LeafNodeSource.UPDATE)
    check_leaf(suite, leaf)
    leaf.verify_signature(suite, group_id, leaf_index)


def check_commit_leaf(suite: CipherSuite, leaf: LeafNode, group_id: bytes, leaf_index: int) -> None:
    """The leaf of an UpdatePath sent from `leaf_index` (§7.3); its parent hash is not checked here.

    Raises:
        ValidationError: "leaf-source", "leaf-signature", and those of `check_leaf`.
    """
    _check_source(leaf, LeafNodeSource.COMMIT)
    check_leaf(suite, leaf)
    leaf.verify_signature(suite, group_id, leaf_index)


def check_tree_leaf(
    suite: CipherSuite, leaf: LeafNode, group_id: bytes, leaf_index: int, now: int | None = None
) -> None:
    """A leaf in a group's tree, from whatever source (§7.3).

    Whether its lifetime is over is not asked: a member does not drop out of the group then. Whether
    it is too long in all is, unless `now` is None.
    """
    check_leaf(suite, leaf)
    if leaf.lifetime is not None and now is not None:
        check_total_lifetime(leaf.lifetime)
    leaf.verify_signature(suite, group_id, leaf_index)


def _check_source(leaf: LeafNode, source: LeafNodeSource) -> None:
    if leaf.leaf_node_source is not source:
        raise ValidationError("leaf-source", "§7.3")


def check_encryption_key(suite: CipherSuite, key: bytes, rule: str = "encryption-key") -> None:
    """Whether a public HPKE key can be encrypted to at all (§5.1.1).

    Raises:
        ValidationError: `rule`.
    """
    try:
        check_public_key(suite, key)
    except CryptoError as error:
        raise ValidationError(rule, "§5.1.1") from error
