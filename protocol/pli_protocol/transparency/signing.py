"""Signing a head with the relay's log key, and checking the signature."""

from ..identity.keys import SigningKey, verify
from .heads import SignedHead, TreeHead


def sign_head(relay: str, head: TreeHead, key: SigningKey) -> SignedHead:
    """Sign a head with the relay's log key, bound to the relay's name."""
    return SignedHead(head, key.sign(head.signed_bytes(relay)))


def verify_head(relay: str, signed: SignedHead, log_key: bytes) -> TreeHead:
    """The head, where the log key of this relay signed it.

    Raises:
        IdentityError: it did not.
    """
    verify(log_key, signed.head.signed_bytes(relay), signed.signature)
    return signed.head
