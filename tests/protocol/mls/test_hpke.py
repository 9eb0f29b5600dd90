"""HPKE (RFC 9180) against the RFC's own vectors (A.1.1: X25519, HKDF-SHA256, AES-128-GCM)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

from pli_protocol.mls import hpke
from pli_protocol.mls.ciphersuite import SUITES, CipherSuite, suite
from pli_protocol.mls.errors import CryptoError, UsageError

INFO = b"Ode on a Grecian Urn"
IKM_E = "7268600d403fce431561aef583ee1613527cff655c1343f29812e66706df3234"
SK_E = "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736"
ENC = "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431"
IKM_R = "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037"
PK_R = "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"
SK_R = "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8"
CIPHERTEXT = (
    "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
)
PLAINTEXT = b"Beauty is truth, truth beauty"
EXPORTS = {
    b"": "3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee",
    b"\x00": "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5",
    b"TestContext": "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931",
}

suites = pytest.mark.parametrize("used", SUITES.values(), ids=lambda s: f"{s.number:#06x}")


def fixed(data: str) -> "hpke.Random":
    return lambda n: bytes.fromhex(data)[:n]


def test_keys_are_derived_as_in_the_rfc() -> None:
    pair = hpke.derive_key_pair(suite(1), bytes.fromhex(IKM_R))
    assert (pair.public.hex(), pair.private.hex()) == (PK_R, SK_R)
    ephemeral = hpke.derive_key_pair(suite(1), bytes.fromhex(IKM_E))
    assert (ephemeral.public.hex(), ephemeral.private.hex()) == (ENC, SK_E)


def test_a_message_is_sealed_and_opened_as_in_the_rfc() -> None:
    used = suite(1)
    enc, ciphertext = hpke.seal(used, bytes.fromhex(PK_R), INFO, b"Count-0", PLAINTEXT, fixed(SK_E))
    assert (enc.hex(), ciphertext.hex()) == (ENC, CIPHERTEXT)
    pair = hpke.key_pair(used, bytes.fromhex(SK_R))
    assert hpke.open_sealed(used, enc, pair, INFO, b"Count-0", ciphertext) == PLAINTEXT


def test_secrets_are_exported_as_in_the_rfc() -> None:
    used = suite(1)
    pair = hpke.key_pair(used, bytes.fromhex(SK_R))
    _, sender = hpke.setup_base_sender(used, pair.public, INFO, fixed(SK_E))
    receiver = hpke.setup_base_receiver(used, bytes.fromhex(ENC), pair, INFO)
    for context, expected in EXPORTS.items():
        assert sender.export(context, 32).hex() == expected
        assert receiver.export(context, 32).hex() == expected


@suites
def test_only_the_right_key_info_and_aad_open(used: CipherSuite) -> None:
    @given(st.binary(max_size=100), st.binary(max_size=20), st.binary(max_size=20))
    def check(plaintext: bytes, info: bytes, aad: bytes) -> None:
        pair = used.generate_kem_key()
        enc, sealed = hpke.seal(used, pair.public, info, aad, plaintext)
        assert hpke.open_sealed(used, enc, pair, info, aad, sealed) == plaintext
        for other in (
            (enc, used.generate_kem_key(), info, aad, sealed),
            (enc, pair, info + b"x", aad, sealed),
            (enc, pair, info, aad + b"x", sealed),
            (enc, pair, info, aad, sealed[:-1]),
        ):
            with pytest.raises(CryptoError):
                hpke.open_sealed(used, *other)

    check()


# u = 0, 1, of order 8, p - 1, p, p + 1 (RFC 7748's p = 2^255 - 19), little-endian.
ORDER_8 = 325606250916557431795983626356110631294008115727848805560023387167927233504
P = 2**255 - 19
ORDER_8_TOO = 39382357235489614581723060781553021112529911719440698176882885853963445705823
SMALL_ORDER = [0, 1, ORDER_8, ORDER_8_TOO, P - 1, P, P + 1, 2**255, 2**255 + P]


@pytest.mark.parametrize("u", SMALL_ORDER)
def test_a_public_key_of_small_order_is_refused(u: int) -> None:
    used = suite(1)
    public = u.to_bytes(32, "little")
    with pytest.raises(CryptoError):
        hpke.check_public_key(used, public)
    with pytest.raises(RuntimeError):
        bindings.crypto_scalarmult(bytes(range(32)), public)
    with pytest.raises(CryptoError):
        hpke.seal(used, public, b"", b"", b"")
    with pytest.raises(CryptoError):
        hpke.open_sealed(used, public, used.generate_kem_key(), b"", b"", bytes(16))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_a_wrong_length_is_refused(length: int) -> None:
    used = suite(1)
    with pytest.raises(CryptoError):
        hpke.seal(used, bytes(length), b"", b"", b"")
    with pytest.raises(CryptoError):
        hpke.open_sealed(used, bytes(length), used.generate_kem_key(), b"", b"", bytes(16))
    with pytest.raises(UsageError):
        hpke.key_pair(used, bytes(length))


def test_a_context_shows_none_of_its_secrets() -> None:
    used = suite(1)
    pair = used.generate_kem_key()
    _, context = hpke.setup_base_sender(used, pair.public, b"")
    for secret in (context.key, context.nonce, context.exporter_secret, pair.private):
        assert secret.hex() not in repr((context, pair))
        assert repr(bytes(secret)) not in repr((context, pair))
