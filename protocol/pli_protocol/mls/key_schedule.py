"""The key schedule: from one epoch's secrets to the next (RFC 9420 §8)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..secret import Secret
from .ciphersuite import CipherSuite
from .group_context import GroupContext
from .labels import derive_secret, expand_with_label
from .quick import quick


class InitSecret(Secret):
    """init_secret: goes into the next epoch's joiner secret."""

    __slots__ = ()


class JoinerSecret(Secret):
    """joiner_secret: what a Welcome gives to new members."""

    __slots__ = ()


class EpochSecret(Secret):
    """epoch_secret: the root of an epoch; never kept."""

    __slots__ = ()


class EncryptionSecret(Secret):
    """encryption_secret: the root of the secret tree; consumed when the tree is split."""

    __slots__ = ()


@quick
@dataclass(frozen=True, slots=True)
class EpochSecrets:
    """What is kept of an epoch besides its secret tree; each Nh bytes (§8, table 4)."""

    init_secret: InitSecret
    sender_data_secret: Secret
    exporter_secret: Secret
    external_secret: Secret
    confirmation_key: Secret
    membership_key: Secret
    resumption_psk: Secret
    epoch_authenticator: Secret


class DerivedEpoch(NamedTuple):
    """An epoch's secrets and the root for its secret tree."""

    secrets: EpochSecrets
    encryption_secret: EncryptionSecret


def derive_joiner_secret(
    suite: CipherSuite, init_secret: bytes, commit_secret: bytes, context: GroupContext
) -> JoinerSecret:
    """joiner_secret of the epoch that `context` describes."""
    extracted = suite.hkdf_extract(init_secret, commit_secret)
    return JoinerSecret(
        expand_with_label(suite, extracted, "joiner", context.encoded, suite.hash_size)
    )


def derive_welcome_secret(suite: CipherSuite, joiner: bytes, psk_secret: bytes) -> Secret:
    """welcome_secret: encrypts the GroupInfo in a Welcome."""
    return derive_secret(suite, suite.hkdf_extract(joiner, psk_secret), "welcome")


def derive_epoch_secret(
    suite: CipherSuite, joiner: bytes, psk_secret: bytes, context: GroupContext
) -> EpochSecret:
    """epoch_secret of the epoch that `context` describes."""
    member = suite.hkdf_extract(joiner, psk_secret)
    return EpochSecret(expand_with_label(suite, member, "epoch", context.encoded, suite.hash_size))


def derive_epoch(suite: CipherSuite, epoch_secret: bytes) -> DerivedEpoch:
    """All secrets of an epoch from its epoch_secret, which the caller then forgets (§9.2)."""

    def derived(label: str) -> Secret:
        return derive_secret(suite, epoch_secret, label)

    secrets = EpochSecrets(
        init_secret=InitSecret(derived("init")),
        sender_data_secret=derived("sender data"),
        exporter_secret=derived("exporter"),
        external_secret=derived("external"),
        confirmation_key=derived("confirm"),
        membership_key=derived("membership"),
        resumption_psk=derived("resumption"),
        epoch_authenticator=derived("authentication"),
    )
    return DerivedEpoch(secrets, EncryptionSecret(derived("encryption")))


def export_secret(
    suite: CipherSuite, exporter_secret: bytes, label: str | bytes, context: bytes, length: int
) -> Secret:
    """MLS-Exporter(label, context, length) (§8.5)."""
    secret = derive_secret(suite, exporter_secret, label)
    return expand_with_label(suite, secret, "exported", suite.hash(context), length)
