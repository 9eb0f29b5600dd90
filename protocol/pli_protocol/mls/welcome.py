"""Welcome: the secrets that let added members in (RFC 9420 §12.4.3.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from ..secret import Secret
from .ciphersuite import CipherSuite, KEMKeyPair, Random
from .codec import Reader, Writer, decode, encode
from .errors import CodecError, CryptoError, ValidationError
from .group_info import GroupInfo
from .key_package import KeyPackage
from .key_schedule import JoinerSecret, derive_welcome_secret
from .labels import HPKECiphertext, decrypt_with_label, encrypt_to_each, expand_with_label
from .psk import PreSharedKeyID
from .quick import quick


# struct { opaque path_secret<V>; } PathSecret;
#
# struct {
#   opaque joiner_secret<V>;
#   optional<PathSecret> path_secret;
#   PreSharedKeyID psks<V>;
# } GroupSecrets;
@quick
@dataclass(frozen=True, slots=True)
class GroupSecrets:
    """What is encrypted to one new member."""

    joiner_secret: JoinerSecret
    path_secret: Secret | None
    psks: tuple[PreSharedKeyID, ...] = ()

    def write(self, w: Writer) -> None:
        """Append the struct of §12.4.3.1."""
        w.opaque(self.joiner_secret)
        w.optional(self.path_secret, lambda w, secret: w.opaque(secret))
        w.vector(self.psks, lambda w, psk: psk.write(w))

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.4.3.1."""
        joiner = JoinerSecret(r.opaque())
        path_secret = r.optional(lambda r: Secret(r.opaque()))
        return cls(joiner, path_secret, r.vector(PreSharedKeyID.read))


# struct {
#   KeyPackageRef new_member;
#   HPKECiphertext encrypted_group_secrets;
# } EncryptedGroupSecrets;
@quick
@dataclass(frozen=True, slots=True)
class EncryptedGroupSecrets:
    """The secrets for the new member whose key package has this reference."""

    new_member: bytes
    encrypted_group_secrets: HPKECiphertext

    def write(self, w: Writer) -> None:
        """Append the struct of §12.4.3.1."""
        w.opaque(self.new_member)
        self.encrypted_group_secrets.write(w)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.4.3.1."""
        return cls(r.opaque(), HPKECiphertext.read(r))


# struct {
#   CipherSuite cipher_suite;
#   EncryptedGroupSecrets secrets<V>;
#   opaque encrypted_group_info<V>;
# } Welcome;
@quick
@dataclass(frozen=True, slots=True)
class Welcome:
    """One message for all members that a commit added."""

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes

    def write(self, w: Writer) -> None:
        """Append the struct of §12.4.3.1."""
        w.u16(self.cipher_suite)
        w.vector(self.secrets, lambda w, secrets: secrets.write(w))
        w.opaque(self.encrypted_group_info)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.4.3.1."""
        return cls(r.u16(), r.vector(EncryptedGroupSecrets.read), r.opaque())

    def secrets_for(self, reference: bytes) -> HPKECiphertext | None:
        """What is meant for the key package with this reference, or None."""
        for entry in self.secrets:
            if entry.new_member == reference:
                return entry.encrypted_group_secrets
        return None


class NewMember(NamedTuple):
    """A member to be let in: its key package, and the path secret it shares with the committer."""

    key_package: KeyPackage
    path_secret: Secret | None


def _welcome_key(suite: CipherSuite, welcome_secret: bytes) -> tuple[Secret, Secret]:
    key = expand_with_label(suite, welcome_secret, "key", b"", suite.key_size)
    return key, expand_with_label(suite, welcome_secret, "nonce", b"", suite.nonce_size)


def create_welcome(
    suite: CipherSuite,
    group_info: GroupInfo,
    joiner_secret: JoinerSecret,
    psk_secret: bytes,
    psks: Sequence[PreSharedKeyID],
    members: Sequence[NewMember],
    random: Random = os.urandom,
) -> Welcome:
    """Encrypt a group's state to all new members of a commit."""
    key, nonce = _welcome_key(suite, derive_welcome_secret(suite, joiner_secret, psk_secret))
    encrypted = suite.aead_seal(key, nonce, b"", encode(group_info))
    messages = (
        (
            member.key_package.init_key,
            Secret(encode(GroupSecrets(joiner_secret, member.path_secret, tuple(psks)))),
        )
        for member in members
    )
    ciphertexts = encrypt_to_each(suite, messages, "Welcome", encrypted, random)
    secrets = tuple(
        EncryptedGroupSecrets(member.key_package.reference(suite), ciphertext)
        for member, ciphertext in zip(members, ciphertexts, strict=True)
    )
    return Welcome(suite.number, secrets, encrypted)


def open_group_secrets(
    suite: CipherSuite, welcome: Welcome, reference: bytes, init_private: KEMKeyPair
) -> GroupSecrets:
    """Decrypt the secrets meant for a key package.

    Raises:
        ValidationError: "welcome-not-for-us", or "welcome-secrets" when they do not open.

    """
    ciphertext = welcome.secrets_for(reference)
    if ciphertext is None:
        raise ValidationError("welcome-not-for-us", "§12.4.3.1")
    try:
        plaintext = decrypt_with_label(
            suite, init_private, "Welcome", welcome.encrypted_group_info, ciphertext
        )
        return decode(GroupSecrets, plaintext)
    except (CryptoError, CodecError) as error:
        raise ValidationError("welcome-secrets", "§12.4.3.1") from error


def open_group_info(
    suite: CipherSuite, welcome: Welcome, joiner_secret: bytes, psk_secret: bytes
) -> GroupInfo:
    """Decrypt the GroupInfo; its signature is the caller's to check.

    Raises ValidationError("welcome-group-info").
    """
    key, nonce = _welcome_key(suite, derive_welcome_secret(suite, joiner_secret, psk_secret))
    try:
        return decode(GroupInfo, suite.aead_open(key, nonce, b"", welcome.encrypted_group_info))
    except (CryptoError, CodecError) as error:
        raise ValidationError("welcome-group-info", "§12.4.3.1") from error
