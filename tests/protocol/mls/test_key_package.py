"""Key packages (RFC 9420 §10): generation, reference, secrets."""

from dataclasses import replace

import pytest

from pli_protocol.mls.ciphersuite import SUITES, CipherSuite, suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.errors import CodecError, ValidationError
from pli_protocol.mls.grease import GREASE
from pli_protocol.mls.key_package import (
    KeyPackage,
    KeyPackageSecrets,
    generate_key_package,
    own_capabilities,
)
from pli_protocol.mls.leaf_check import check_key_package
from pli_protocol.mls.leaf_node import Capabilities

from .trees import LIFETIME, NOW, key_package, seeded

suites = pytest.mark.parametrize("used", SUITES.values(), ids=lambda s: f"{s.number:#06x}")


@suites
def test_a_generated_key_package_is_valid(used: CipherSuite) -> None:
    package, secrets, signer = key_package(used, "anna", seeded(1))
    check_key_package(used, decode(KeyPackage, encode(package)), NOW)
    assert secrets.init_key.public == package.init_key
    assert secrets.leaf_key.public == package.leaf_node.encryption_key
    assert signer.public == package.leaf_node.signature_key


def test_a_reference_depends_on_the_whole_package() -> None:
    used = suite(1)
    package, _, _ = key_package(used, "anna", seeded(1))
    changed = replace(package, signature=bytes(64))
    assert len(package.reference(used)) == used.hash_size
    assert package.reference(used) != changed.reference(used)


def test_the_signature_covers_every_field() -> None:
    used = suite(1)
    package, _, _ = key_package(used, "anna", seeded(1))
    other, _, _ = key_package(used, "bert", seeded(2))
    for changed in (
        replace(package, init_key=other.init_key),
        replace(package, leaf_node=other.leaf_node),
        replace(package, cipher_suite=3),
        replace(package, version=2),
    ):
        with pytest.raises(ValidationError, match="key-package-signature"):
            changed.verify_signature(used)


def test_a_key_package_carries_grease_unless_it_is_not_wanted() -> None:
    used = suite(1)
    package, _, signer = key_package(used, "anna", seeded(1))
    leaf = package.leaf_node
    lists = leaf.capabilities
    for numbers in (lists.cipher_suites, lists.extensions, lists.proposals, lists.credentials):
        assert numbers[-1] in GREASE
    for extensions in (leaf.extensions, package.extensions):
        assert extensions[-1].extension_type == lists.extensions[-1]
    given = own_capabilities(used, leaf.credential)
    assert given == Capabilities((1,), (1, 3, 0x004E), (), (), (1,))
    package, _ = generate_key_package(
        used, leaf.credential, signer, lifetime=LIFETIME, capabilities=given, grease=False
    )
    assert package.leaf_node.capabilities == given
    assert (package.leaf_node.extensions, package.extensions) == ((), ())


def test_secrets_can_be_stored_and_show_nothing() -> None:
    _, secrets, _ = key_package(suite(1), "anna", seeded(1))
    assert KeyPackageSecrets.decode(secrets.encode()) == secrets
    for pair in (secrets.init_key, secrets.leaf_key):
        assert pair.private.hex() not in repr(secrets)
        assert repr(bytes(pair.private)) not in repr(secrets)
    with pytest.raises(CodecError):
        KeyPackageSecrets.decode(secrets.encode()[:-1])
