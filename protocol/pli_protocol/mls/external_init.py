"""External initialization: an init secret from outside the group (RFC 9420 §8.3)."""

from __future__ import annotations

from .ciphersuite import CipherSuite, Random
from .errors import CryptoError, ValidationError
from .hpke import derive_key_pair, setup_base_receiver, setup_base_sender
from .key_schedule import InitSecret

_LABEL = b"MLS 1.0 external init secret"


def create_init_secret(
    suite: CipherSuite, external_pub: bytes, random: Random
) -> tuple[bytes, InitSecret]:
    """The joiner's side: kem_output for the ExternalInit, and the init secret."""
    try:
        kem_output, context = setup_base_sender(suite, external_pub, b"", random)
    except CryptoError as error:
        raise ValidationError("external-pub", "§8.3") from error
    return kem_output, InitSecret(context.export(_LABEL, suite.hash_size))


def receive_init_secret(
    suite: CipherSuite, external_secret: bytes, kem_output: bytes
) -> InitSecret:
    """The members' side. Raises ValidationError("external-init")."""
    pair = derive_key_pair(suite, external_secret)
    try:
        context = setup_base_receiver(suite, kem_output, pair, b"")
    except CryptoError as error:
        raise ValidationError("external-init", "§8.3") from error
    return InitSecret(context.export(_LABEL, suite.hash_size))
