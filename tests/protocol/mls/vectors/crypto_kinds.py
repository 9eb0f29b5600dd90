"""Verifiers of crypto-basics and deserialization."""

from typing import Any

from pli_protocol.mls import hpke, labels
from pli_protocol.mls.ciphersuite import CipherSuite, suite
from pli_protocol.mls.codec import Reader, varint

Entry = dict[str, Any]


def verify_crypto_basics(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    _verify_derivations(used, entry)
    _verify_signing(used, entry["sign_with_label"])
    _verify_encryption(used, entry["encrypt_with_label"])


def _verify_derivations(used: CipherSuite, entry: Entry) -> None:
    case = entry["ref_hash"]
    out = labels.ref_hash(used, case["label"], bytes.fromhex(case["value"]))
    assert out.hex() == case["out"]
    case = entry["expand_with_label"]
    secret, context = bytes.fromhex(case["secret"]), bytes.fromhex(case["context"])
    out = labels.expand_with_label(used, secret, case["label"], context, case["length"])
    assert out.hex() == case["out"]
    case = entry["derive_secret"]
    out = labels.derive_secret(used, bytes.fromhex(case["secret"]), case["label"])
    assert out.hex() == case["out"]
    case = entry["derive_tree_secret"]
    secret = bytes.fromhex(case["secret"])
    out = labels.derive_tree_secret(used, secret, case["label"], case["generation"], case["length"])
    assert out.hex() == case["out"]


def _verify_signing(used: CipherSuite, case: Entry) -> None:
    public, content = bytes.fromhex(case["pub"]), bytes.fromhex(case["content"])
    given = bytes.fromhex(case["signature"])
    labels.verify_with_label(used, public, case["label"], content, given)
    key = used.signature_key(bytes.fromhex(case["priv"]))
    assert key.public == public
    ours = labels.sign_with_label(used, key, case["label"], content)
    labels.verify_with_label(used, public, case["label"], content, ours)


def _verify_encryption(used: CipherSuite, case: Entry) -> None:
    pair = hpke.key_pair(used, bytes.fromhex(case["priv"]))
    assert pair.public.hex() == case["pub"]
    label, context = case["label"], bytes.fromhex(case["context"])
    plaintext = bytes.fromhex(case["plaintext"])
    given = labels.HPKECiphertext(
        bytes.fromhex(case["kem_output"]), bytes.fromhex(case["ciphertext"])
    )
    assert labels.decrypt_with_label(used, pair, label, context, given) == plaintext
    ours = labels.encrypt_with_label(used, pair.public, label, context, plaintext)
    assert labels.decrypt_with_label(used, pair, label, context, ours) == plaintext


def verify_deserialization(entry: Entry) -> None:
    header = bytes.fromhex(entry["vlbytes_header"])
    reader = Reader(header)
    assert reader.length() == entry["length"]
    reader.finish()
    assert varint(entry["length"]) == header
