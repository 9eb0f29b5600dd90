"""Cipher suites and their primitives (RFC 9420 §5.1)."""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.ciphersuite import SUITES, CipherSuite, suite
from pli_protocol.mls.errors import CryptoError, UnsupportedError, UsageError

suites = pytest.mark.parametrize("used", SUITES.values(), ids=lambda s: f"{s.number:#06x}")


def test_a_suite_that_we_lack_is_unsupported() -> None:
    with pytest.raises(UnsupportedError):
        suite(0x0A0A)


@suites
def test_sizes_are_those_of_the_primitives(used: CipherSuite) -> None:
    assert len(used.hash(b"")) == len(used.hmac(b"k", b"")) == used.hash_size == len(used.zero)
    sealed = used.aead_seal(bytes(used.key_size), bytes(used.nonce_size), b"", b"text")
    assert len(sealed) == len(b"text") + 16


def test_hkdf_is_that_of_rfc_5869() -> None:
    # RFC 5869 A.1
    used = suite(1)
    prk = used.hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    assert prk.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"
    okm = used.hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert used.hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 32) == okm[:32]


def test_hkdf_gives_at_most_255_blocks() -> None:
    used = suite(1)
    assert len(used.hkdf_expand(bytes(32), b"", 255 * 32)) == 255 * 32
    with pytest.raises(UsageError):
        used.hkdf_expand(bytes(32), b"", 255 * 32 + 1)


def test_ed25519_is_that_of_rfc_8032() -> None:
    # RFC 8032 7.1, test 2
    used = suite(1)
    seed = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    key = used.signature_key(seed)
    public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.public.hex() == public
    signature = used.sign(key, b"\x72")
    assert signature.hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    used.verify(key.public, b"\x72", signature)


@suites
def test_a_signature_verifies_only_as_it_was_made(used: CipherSuite) -> None:
    @given(st.binary(max_size=100), st.data())
    def check(data: bytes, more: st.DataObject) -> None:
        key = used.generate_signature_key()
        signature = used.sign(key, data)
        used.verify(key.public, data, signature)
        damaged = bytearray(signature)
        damaged[more.draw(st.integers(0, len(damaged) - 1))] ^= 1 << more.draw(st.integers(0, 7))
        for public, content, tag in (
            (used.generate_signature_key().public, data, signature),
            (key.public, data + b"x", signature),
            (key.public, data, bytes(damaged)),
            (key.public, data, signature[:-1]),
            (key.public[:-1], data, signature),
        ):
            with pytest.raises(CryptoError):
                used.verify(public, content, tag)

    check()


@pytest.mark.parametrize("public", [bytes(32), b"\x01" + bytes(31)], ids=["zero", "one"])
def test_a_signature_key_of_small_order_is_refused(public: bytes) -> None:
    # R = the neutral element, S = 0: such a signature would hold for any message.
    signature = b"\x01" + bytes(63)
    with pytest.raises(CryptoError):
        suite(1).verify(public, b"anything", signature)


@suites
def test_an_aead_opens_only_what_was_sealed(used: CipherSuite) -> None:
    key, nonce = bytes(used.key_size), bytes(used.nonce_size)
    sealed = used.aead_seal(key, nonce, b"aad", b"text")
    assert used.aead_open(key, nonce, b"aad", sealed) == b"text"
    for case in (
        (b"\x01" + key[1:], nonce, b"aad", sealed),
        (key, b"\x01" + nonce[1:], b"aad", sealed),
        (key, nonce, b"", sealed),
        (key, nonce, b"aad", sealed[:-1]),
        (key, nonce, b"aad", b""),
    ):
        with pytest.raises(CryptoError):
            used.aead_open(*case)


def test_a_mac_is_checked_whole() -> None:
    used = suite(1)
    tag = used.hmac(b"key", b"data")
    assert used.check_mac(b"key", b"data", tag)
    assert not used.check_mac(b"key", b"data", tag[:-1])
    assert not used.check_mac(b"key", b"data", b"")
    assert not used.check_mac(b"key2", b"data", tag)


def test_keys_show_their_public_half_only() -> None:
    used = suite(1)
    signer, pair = used.generate_signature_key(), used.generate_kem_key()
    for secret in (signer.private, pair.private):
        assert repr(bytes(secret)) not in repr((signer, pair))
        assert secret.hex() not in repr((signer, pair))


def test_the_hash_is_the_one_that_the_suite_names() -> None:
    assert suite(1).hash(b"abc") == hashlib.sha256(b"abc").digest()
    assert suite(0x004E).hash(b"abc") == hashlib.sha384(b"abc").digest()


@suites
def test_no_two_suites_are_the_same_but_for_their_number(used: CipherSuite) -> None:
    assert [replace(row, number=0, name="") for row in SUITES.values()].count(
        replace(used, number=0, name="")
    ) == 1
    assert used == suite(used.number)
