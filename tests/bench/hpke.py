"""HPKE of each KEM, beside `cryptography`'s own: `python -m tests.bench.hpke [--json]`.

Medians in microseconds, ours and theirs in turns in one process. What is sealed is a path secret (48 bytes).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives import hpke as other
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl import bindings

from pli_protocol.mls import hpke, suite
from pli_protocol.mls.kem import KEMKeyPair

ROUNDS, CALLS = 15, 200
SECRET, INFO = bytes(48), b"MLS 1.0 UpdatePathNode" + bytes(200)

Calls = dict[str, Callable[[], object]]


def x25519() -> Calls:
    """What X25519 costs in either library."""
    private, public = bytes(range(32)), bindings.crypto_scalarmult_base(bytes(range(1, 33)))
    kept = X25519PrivateKey.from_private_bytes(private)
    theirs = other.Suite(other.KEM.X25519, other.KDF.HKDF_SHA256, other.AEAD.AES_128_GCM)
    sealed = theirs.encrypt(SECRET, kept.public_key(), INFO)
    return {
        "seal, cryptography": lambda: theirs.encrypt(SECRET, kept.public_key(), INFO),
        "open, cryptography": lambda: theirs.decrypt(sealed, kept, INFO),
        "agreement, libsodium": lambda: bindings.crypto_scalarmult(private, public),
        "agreement, OpenSSL, key kept": lambda: kept.exchange(
            X25519PublicKey.from_public_bytes(public)
        ),
        "agreement, OpenSSL, from bytes": lambda: X25519PrivateKey.from_private_bytes(
            private
        ).exchange(X25519PublicKey.from_public_bytes(public)),
    }


def x_wing() -> Calls:
    """What X-Wing costs in `cryptography`."""
    both = hashlib.shake_256(bytes(32)).digest(96)
    kept = other.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(both[:64]),
        X25519PrivateKey.from_private_bytes(both[64:]),
    )
    theirs = other.Suite(other.KEM.MLKEM768_X25519, other.KDF.HKDF_SHA384, other.AEAD.AES_256_GCM)
    public = kept.public_key()
    sealed = theirs.encrypt(SECRET, public, INFO)
    return {
        "seal, cryptography": lambda: theirs.encrypt(SECRET, public, INFO),
        "open, cryptography": lambda: theirs.decrypt(sealed, kept, INFO),
    }


def ours(number: int) -> Calls:
    """What this library's HPKE costs with a suite's KEM."""
    used = suite(number)
    pair = used.generate_kem_key()
    enc, sealed = hpke.seal(used, pair.public, INFO, b"", SECRET)

    def opened(key: KEMKeyPair) -> bytes:
        return hpke.open_sealed(used, enc, key, INFO, b"", sealed)

    return {
        "key from a secret": lambda: hpke.derive_key_pair(used, SECRET),
        "public key checked": lambda: hpke.check_public_key(used, pair.public),
        "seal": lambda: hpke.seal(used, pair.public, INFO, b"", SECRET),
        "open": lambda: opened(pair),
        "open, key just read": lambda: opened(KEMKeyPair(pair.public, pair.private)),
    }


def medians(calls: Calls) -> dict[str, float]:
    """Microseconds per call; all in turns, so that a busy machine treats them alike."""
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begun = time.perf_counter_ns()
            for _ in range(CALLS):
                call()
            samples[name].append((time.perf_counter_ns() - begun) / CALLS / 1000)
    return {name: statistics.median(values) for name, values in samples.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hpke", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    options = parser.parse_args(arguments)
    for number, theirs in ((0x0001, x25519), (0x004E, x_wing)):
        for what, us in medians({**ours(number), **theirs()}).items():
            if options.json:
                print(json.dumps({"what": what, "suite": number, "us": round(us, 1)}), flush=True)
            else:
                print(f"0x{number:04x}  {what:<34}{us:>10.1f} µs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
