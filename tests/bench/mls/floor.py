"""The least that a message costs: its primitives, each called once (RFC 9420 §6.3, §9).

To seal: one signature over FramedContentTBS; DeriveTreeSecret for key, nonce and the next secret; the AEAD
of the content under a key used once; ExpandWithLabel for key and nonce of the sender data; its AEAD; four
random bytes. To open: the same with verifying and opening. Each by the quicker of PyNaCl and
`cryptography` (hashlib's HMAC beside HKDF of `cryptography` for the derivations).
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable, Sequence
from statistics import median

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nacl import bindings

from pli_protocol.mls import CipherSuite

Call = Callable[[], object]

# Sizes in bytes of a message with 1 KiB in a group without extensions.
SIGNED = 1024 + 160
CONTENT_EXTRA = 68
AAD = 24
SENDER_DATA = 12
INFO = 32


def floor(suite: CipherSuite, size: int, times: int) -> dict[str, float]:
    """Microseconds of the primitives of sealing and of opening `size` bytes."""
    costs = {name: _quickest(calls, times) for name, calls in _primitives(suite, size).items()}
    derived = 5 * costs["derive"]
    seal = costs["sign"] + derived + costs["seal"] + costs["seal sender"] + costs["random"]
    opening = costs["verify"] + derived + costs["open"] + costs["open sender"]
    return {"seal": round(seal, 1), "open": round(opening, 1)}


def _quickest(calls: Sequence[Call], times: int) -> float:
    return min(_median_us(call, times) for call in calls)


def _median_us(call: Call, times: int) -> float:
    taken = []
    for _ in range(times):
        begun = time.perf_counter_ns()
        call()
        taken.append(time.perf_counter_ns() - begun)
    return median(taken) / 1000


def _primitives(suite: CipherSuite, size: int) -> dict[str, tuple[Call, ...]]:
    seed, signed = os.urandom(32), os.urandom(size - 1024 + SIGNED)
    public, private = bindings.crypto_sign_seed_keypair(seed)
    signature = bindings.crypto_sign(signed, private)[:64]
    joined = signature + signed
    signer = Ed25519PrivateKey.from_private_bytes(seed)
    verifier = Ed25519PublicKey.from_public_bytes(public)
    secret, info = os.urandom(suite.hash_size), os.urandom(INFO)
    algorithm = {"sha256": hashes.SHA256, "sha384": hashes.SHA384}[suite.hash_name]()
    key, nonce, aad = os.urandom(suite.key_size), os.urandom(suite.nonce_size), os.urandom(AAD)
    content, sender_data = os.urandom(size + CONTENT_EXTRA), os.urandom(SENDER_DATA)
    # A key is used once, so that making the AEAD of it belongs to the cost.
    sealed = suite.aead(key).encrypt(nonce, content, aad)
    sealed_sender = suite.aead(key).encrypt(nonce, sender_data, aad)
    return {
        "sign": (lambda: bindings.crypto_sign(signed, private), lambda: signer.sign(signed)),
        "verify": (
            lambda: bindings.crypto_sign_open(joined, public),
            lambda: verifier.verify(signature, signed),
        ),
        "derive": (
            lambda: hmac.digest(secret, info, suite.hash_name),
            lambda: HKDFExpand(algorithm, suite.hash_size, info).derive(secret),
        ),
        "seal": (lambda: suite.aead(key).encrypt(nonce, content, aad),),
        "open": (lambda: suite.aead(key).decrypt(nonce, sealed, aad),),
        "seal sender": (lambda: suite.aead(key).encrypt(nonce, sender_data, aad),),
        "open sender": (lambda: suite.aead(key).decrypt(nonce, sealed_sender, aad),),
        "random": (lambda: os.urandom(4),),
    }
