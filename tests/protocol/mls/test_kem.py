"""The KEMs: DHKEM(X25519) and X-Wing, against the drafts' vectors and `cryptography`'s own X-Wing."""

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import pytest
from cryptography.hazmat.primitives import hpke as other
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls import hpke, kem
from pli_protocol.mls.ciphersuite import CipherSuite, suite
from pli_protocol.mls.errors import CryptoError, UsageError, ValidationError
from pli_protocol.mls.kem import DHKEM_X25519, KEM, X_WING, KEMKeyPair
from pli_protocol.mls.leaf_check import check_encryption_key

kems = pytest.mark.parametrize("used", [DHKEM_X25519, X_WING], ids=["x25519", "x-wing"])
PQ = suite(0x004E)

# draft-ietf-hpke-pq-05, A.5: MLKEM768-X25519, HKDF-SHA256, ChaCha20Poly1305.
IKM_R = "c8575d137deab99ac98fb0873048c83c3a1f47ef5b409f609c0ca652f58c83e0"
SK_R = "b6bfa0299b955e85224df2e468f29eeab377ff3b96d4462b39447a22d32b91be"
PK_R_START = "d3d102410970b8bab2984008669914490c95dea2c2ae331ca229aaf3609a6d5a"
PK_R_END = "641763ebe08e7add5686b0ed1d1e7053982aa616130939d0a09462df7dc74d05"
ENC = """
ab354dd589f74ee0eab7718a630cbec5df1d09058e177cd6dd141d883450ddd70
c050d88bed3d07cce23415cab411108cc30906482a71adcb134a56e978a6152a8
e063b24acd1534f264f10458152a9ed4f1f32b3d480c4f2453b7fdea7720146b3
ee92cf8a13a4840076f68c911c65fa3db5053fb0aabf79e64cd5e7aa71b2b9641
e713ec7df552e17d5020f8721ee449b42c888e2a3f87cfd96e3a98c3e7c4cd8f6
47f899570f596bf17d2b6fa2cad19706d9cc3cf09493e1c7ffa0eb2a4559ae1d9
40fdbef97bed383e6ccfdb448d9f1a81805166b32c2af2e16878c6dc46ab43323
ed9c136b925239782e3c329c31a5cf2a80faf025a80766e244605c27afe4b624d
9d8ca99b6ef5439ed1ad044b518c434385acd49f1369ded6624a2832a571ccdd7
0d08b3c04cb1cd3136166f9a485f536f69ec66f0293e840025ccaac42f8e5f7c9
cb818076c272797047f5e50c1e9f1dab81cfb48fe4c4998b2427f009702b145f3
4ad8dbc3e7ad4e4023057ba31cd02c4c0545ebf71eb02533e8eaa2b2f2690ee14
07bf1f66dc5f4d836c45b82f10b720df72d237488a9af1b6dfb4741fd613379c2
e211e77f7fae6b3734ad81de2d452005334857c4a3cbc82afc7428fe510495969
b296d24e1a7431f557d48578cf92ae86c0392f0ba73755a9e5465c8e3495e4cd2
a82d463244341e39414e26c9b242f31d2cf0e46b2aeb11dd5e56ec44834350d15
1344229e410faff2b2ace5c9b3fa12571db1d28da2c7133492781dac41b7a7e2b
ac2260fd12f56939033587824c9dfb17d41b3bceea53763193abe0c7c184d5de1
61ef5312f31fab42478c9a193b868e4d29b2b7624f3ebe740f393d03d843cd532
7286a579fd2a6e37aca5b64f9316115d612c7781e704ea7d182701c5019975cad
14fbf4ab3904d4a35acaf0be32d716a1ef5d7188fc418ae9e60744325a3e80016
55b756df94c24031c3ce32bd90c0ecdac52ca140fdad7f44d04bd0a7e2a726c54
cf9793f8784a23296f65da3fd1cbc18300d503c5b27be99b9b0e32d20b3614dc8
a999f30c2779dd7886cfd486dc1c93ebcf517b5210a4359d9fa1805381f0f2261
ff47de01de555d98bc1a30dda557a83007b61636abaf9041f96890f0f565eefc4
5859fbcd32d91b203215541227a4fcc3d95be2ddb0702878caa20f2da62c4ff9f
e33af591ba1ec241fbe2208e0480f8b1cca1679c096f8f5a02a33e9df445b3274
ac112b43d51510135cd3f532a3379e90bb7f0cb43717e90555bb1a80924cc6957
7455687cceb9b1610c05839541e87ad83d79ef3ff24ace1934cfbe989691959d9
3ac48c716b672b370dd4c144ca1e32508707a6ef8aa29b55759b3d054c56bee1b
aa6f41b84b9fc3fd681a1a1528eac578141529836a29dda1501a49ba245536725
6d2fe6f74ebb74ef9a49a94a4c6cd1dd09810f0e9bffa69dd8c94d226d0b2977b
11a35382888961004a44c60fd602e9ff4271287e9240ba96146515b9db9da6037
5aeeafeac1eeb764faebacd197df27817c35fe4c5c802e43349d7bc95c8b40c00
1449d3251c1d92ff6d5c3b08c4b27c
"""
SHARED_SECRET = "e059d39125d1f09a7232413a13ec5cb18a37417675442c962700d59da46d105a"
KEY = "100a6260ae1a2660dd575fd4f8bf8ebddda22b8bdb0f1bca9fcb26c0aa12418e"
BASE_NONCE = "b55542ef5c7fc75d075bbfde"
EXPORTER_SECRET = "2838515658ae0c04e99391c0bad9a45613254bad20f7cdd80a70b25f71fec22d"
CIPHERTEXT = """
a4ab74475a498ed725f685421f67c09a4783fe76f67bd251e1e73db8eb1452dfad
4df3c6453f7edecc7bb055dde561e2efd54d73a3d4f1f2f02eac90ba1e9b84ded6
6d43aee6393524db
"""
EXPORTED = "14b64c194571a8e6fc16cb4d22754c79391081174b6001cd8050142f928defbb"
# The draft's vectors take the hexadecimal text itself as info and plaintext.
INFO = b"Ode on a Grecian Urn".hex().encode()
PLAINTEXT = b"Beauty is truth, truth beauty".hex().encode()


def unwrapped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\n", ""))


def test_x_wing_is_that_of_the_draft() -> None:
    used = replace(suite(3), kem=X_WING)
    pair = hpke.derive_key_pair(used, bytes.fromhex(IKM_R))
    assert pair.private.hex() == SK_R
    assert (pair.public[:32].hex(), pair.public[-32:].hex()) == (PK_R_START, PK_R_END)
    assert X_WING.decap(unwrapped(ENC), pair).hex() == SHARED_SECRET
    context = hpke.setup_base_receiver(used, unwrapped(ENC), pair, INFO)
    assert (context.key.hex(), context.nonce.hex()) == (KEY, BASE_NONCE)
    assert context.exporter_secret.hex() == EXPORTER_SECRET
    assert context.export(b"pseudorandom0", 32).hex() == EXPORTED
    opened = hpke.open_sealed(used, unwrapped(ENC), pair, INFO, b"Count-0", unwrapped(CIPHERTEXT))
    assert opened == PLAINTEXT


def theirs(seed: bytes) -> other.MLKEM768X25519PrivateKey:
    """The same key pair as `cryptography` holds it."""
    both = hashlib.shake_256(seed).digest(96)
    return other.MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(both[:64]),
        X25519PrivateKey.from_private_bytes(both[64:]),
    )


OTHER = other.Suite(other.KEM.MLKEM768_X25519, other.KDF.HKDF_SHA384, other.AEAD.AES_256_GCM)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.binary(max_size=50))
def test_hpke_of_the_suite_is_that_of_cryptography(
    seed: bytes, plaintext: bytes, info: bytes
) -> None:
    pair = hpke.key_pair(PQ, seed)
    enc, sealed = hpke.seal(PQ, pair.public, info, b"", plaintext)
    assert OTHER.decrypt(enc + sealed, theirs(seed), info) == plaintext
    public = other.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(pair.public[:1184]),
        X25519PublicKey.from_public_bytes(pair.public[1184:]),
    )
    made = OTHER.encrypt(plaintext, public, info)
    assert hpke.open_sealed(PQ, made[:1120], pair, info, b"", made[1120:]) == plaintext


@kems
def test_both_ends_get_one_secret_and_sizes_are_as_announced(used: KEM) -> None:
    @given(st.binary(min_size=32, max_size=64))
    def check(ikm: bytes) -> None:
        pair = used.derive_key_pair(ikm)
        assert pair == used.derive_key_pair(ikm) == used.key_pair(pair.private)
        enc, secret = used.encap(pair.public)
        assert used.decap(enc, pair) == secret
        assert len(secret) == 32
        assert (len(pair.public), len(enc)) == (used.public_size, used.enc_size)
        assert len(pair.private) == used.private_size
        assert used.encap(pair.public)[1] != secret

    check()


@kems
def test_another_key_or_another_enc_gives_another_secret(used: KEM) -> None:
    pair, stranger = used.derive_key_pair(b"one"), used.derive_key_pair(b"two")
    enc, secret = used.encap(pair.public)
    assert used.decap(enc, stranger) != secret
    for position in (0, len(enc) // 2, len(enc) - 2):
        changed = bytearray(enc)
        changed[position] ^= 1
        assert used.decap(bytes(changed), pair) != secret


@kems
@pytest.mark.parametrize("change", [-1, 1], ids=["short", "long"])
def test_keys_of_a_wrong_length_are_refused(used: KEM, change: int) -> None:
    pair = used.derive_key_pair(b"key")
    enc, _ = used.encap(pair.public)
    for call, value in (
        (used.check_public_key, pair.public),
        (used.encap, pair.public),
        (lambda enc: used.decap(enc, pair), enc),
    ):
        with pytest.raises(CryptoError):
            call(value[:-1] if change < 0 else value + b"\x00")
        with pytest.raises(CryptoError):
            call(b"")
    with pytest.raises(UsageError):
        used.key_pair(bytes(used.private_size + change))


@pytest.mark.parametrize("u", [0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18], ids=hex)
def test_the_x25519_part_of_small_order_is_refused(u: int) -> None:
    pair = X_WING.derive_key_pair(b"key")
    point = u.to_bytes(32, "little")
    public = pair.public[:-32] + point
    enc, _ = X_WING.encap(pair.public)
    with pytest.raises(CryptoError):
        X_WING.check_public_key(public)
    with pytest.raises(CryptoError):
        X_WING.encap(public)
    with pytest.raises(CryptoError):
        X_WING.decap(enc[:-32] + point, pair)


def test_an_ml_kem_key_with_a_coefficient_out_of_range_is_refused() -> None:
    # FIPS 203 §7.2: each of the 768 12-bit coefficients is below 3329.
    public = X_WING.derive_key_pair(b"key").public
    for position in (0, 576, 1149):
        bad = public[:position] + b"\xff\xff\xff" + public[position + 3 :]
        with pytest.raises(CryptoError):
            X_WING.check_public_key(bad)
        with pytest.raises(CryptoError):
            X_WING.encap(bad)


def stored(pair: KEMKeyPair) -> KEMKeyPair:
    """The pair as it comes back from storage."""
    return KEMKeyPair(pair.public, pair.private)


def test_a_stored_seed_is_expanded_once() -> None:
    pair = X_WING.derive_key_pair(b"key")
    enc, secret = X_WING.encap(pair.public)
    kept = stored(pair)
    with mock.patch.object(kem, "_expand", wraps=kem._expand) as expand:
        assert [X_WING.decap(enc, kept) for _ in range(3)] == [secret] * 3
        assert [X_WING.decap(enc, pair) for _ in range(3)] == [secret] * 3
    assert expand.call_count == 1


def test_what_is_expanded_is_neither_compared_nor_shown_nor_pickled() -> None:
    pair = X_WING.derive_key_pair(b"key")
    assert pair.expanded is not None
    assert (pair, hash(pair)) == (stored(pair), hash(stored(pair)))
    assert repr(pair) == repr(stored(pair))
    with pytest.raises(TypeError):
        pickle.dumps(pair)
    seed, scalar = bytes(pair.private), bytes(pair.expanded.scalar)
    for secret in (seed, scalar):
        shown = repr((pair, pair.expanded, pair.private))
        assert secret.hex() not in shown
        assert repr(secret) not in shown


@kems
def test_keys_come_from_the_source_of_randomness_given(used: KEM) -> None:
    assert used.generate_key_pair(lambda n: bytes(range(n))).private == bytes(range(32))


@pytest.mark.parametrize(
    "bad",
    [
        lambda public: public[:-1],
        lambda public: public + b"\x00",
        lambda public: b"\xff\xff\xff" + public[3:],
        lambda public: public[:-32] + bytes(32),
        lambda public: public[-32:],
    ],
    ids=["short", "long", "coefficient", "small order", "x25519 alone"],
)
def test_no_leaf_has_a_key_to_which_nobody_can_encrypt(bad: Callable[[bytes], bytes]) -> None:
    public = PQ.generate_kem_key().public
    check_encryption_key(PQ, public)
    with pytest.raises(ValidationError) as caught:
        check_encryption_key(PQ, bad(public))
    assert caught.value.rule == "encryption-key"


@pytest.mark.parametrize("used", [suite(1), suite(0x004E)], ids=lambda used: used.name)
@pytest.mark.parametrize("count", [0, 1, 65])
def test_many_are_encapsulated_to_at_once(used: CipherSuite, count: int) -> None:
    pairs = [used.generate_kem_key() for _ in range(count)]
    sent = used.kem.encap_each([pair.public for pair in pairs])
    assert [used.kem.decap(enc, pair) for (enc, _), pair in zip(sent, pairs, strict=True)] == [
        secret for _, secret in sent
    ]
    assert len({enc for enc, _ in sent}) == count
