"""Verifiers of key-schedule, secret-tree, psk_secret and transcript-hashes."""

from typing import Any

from pli_protocol.mls import hpke, key_schedule, transcript_hash
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.commit import Commit
from pli_protocol.mls.framing import AuthenticatedContent
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.private_message import sender_data_key
from pli_protocol.mls.psk import PreSharedKeyID, psk_secret
from pli_protocol.mls.secret_tree import RatchetKind, SecretTree

Entry = dict[str, Any]

SECRETS = (
    "init_secret",
    "sender_data_secret",
    "exporter_secret",
    "external_secret",
    "confirmation_key",
    "membership_key",
    "resumption_psk",
    "epoch_authenticator",
)


def verify_key_schedule(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    init_secret = bytes.fromhex(entry["initial_init_secret"])
    for number, epoch in enumerate(entry["epochs"]):
        context = GroupContext(
            used.number,
            bytes.fromhex(entry["group_id"]),
            number,
            bytes.fromhex(epoch["tree_hash"]),
            bytes.fromhex(epoch["confirmed_transcript_hash"]),
        )
        assert encode(context).hex() == epoch["group_context"]
        commit_secret = bytes.fromhex(epoch["commit_secret"])
        psk = bytes.fromhex(epoch["psk_secret"]) if epoch.get("psk_secret") else used.zero
        joiner = key_schedule.derive_joiner_secret(used, init_secret, commit_secret, context)
        assert joiner.hex() == epoch["joiner_secret"]
        welcome = key_schedule.derive_welcome_secret(used, joiner, psk)
        assert welcome.hex() == epoch["welcome_secret"]
        secrets, encryption_secret = key_schedule.derive_epoch(
            used, key_schedule.derive_epoch_secret(used, joiner, psk, context)
        )
        assert encryption_secret.hex() == epoch["encryption_secret"]
        for name in SECRETS:
            assert getattr(secrets, name).hex() == epoch[name], name
        pair = hpke.derive_key_pair(used, secrets.external_secret)
        assert pair.public.hex() == epoch["external_pub"]
        _verify_exporter(entry, epoch["exporter"], secrets.exporter_secret)
        init_secret = secrets.init_secret


def _verify_exporter(entry: Entry, case: Entry, exporter_secret: bytes) -> None:
    used = suite(entry["cipher_suite"])
    context = bytes.fromhex(case["context"])
    out = key_schedule.export_secret(used, exporter_secret, case["label"], context, case["length"])
    assert out.hex() == case["secret"]


def verify_secret_tree(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    case = entry["sender_data"]
    secret, ciphertext = (bytes.fromhex(case[n]) for n in ("sender_data_secret", "ciphertext"))
    key, nonce = sender_data_key(used, secret, ciphertext)
    assert (key.hex(), nonce.hex()) == (case["key"], case["nonce"])
    width = 1 << (len(entry["leaves"]) - 1).bit_length()
    tree = SecretTree.create(bytes.fromhex(entry["encryption_secret"]), width)
    for leaf, generations in enumerate(entry["leaves"]):
        for wanted in generations:
            for kind in RatchetKind:
                found, tree, _ = tree.open_key(used, leaf, kind, wanted["generation"])
                assert found.key.hex() == wanted[f"{kind.value}_key"]
                assert found.nonce.hex() == wanted[f"{kind.value}_nonce"]


def verify_psk_secret(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    psks = [
        (
            PreSharedKeyID.external(bytes.fromhex(psk["psk_id"]), bytes.fromhex(psk["psk_nonce"])),
            bytes.fromhex(psk["psk"]),
        )
        for psk in entry["psks"]
    ]
    assert psk_secret(used, psks).hex() == entry["psk_secret"]


def verify_transcript_hashes(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    signed = decode(AuthenticatedContent, bytes.fromhex(entry["authenticated_content"]))
    assert isinstance(signed.content.content, Commit)
    confirmed = transcript_hash.confirmed_transcript_hash(
        used,
        bytes.fromhex(entry["interim_transcript_hash_before"]),
        signed.wire_format,
        signed.content,
        signed.auth.signature,
    )
    assert confirmed.hex() == entry["confirmed_transcript_hash_after"]
    tag = signed.auth.confirmation_tag
    assert tag is not None
    key = bytes.fromhex(entry["confirmation_key"])
    assert transcript_hash.confirmation_tag(used, key, confirmed) == tag
    interim = transcript_hash.interim_transcript_hash(used, confirmed, tag)
    assert interim.hex() == entry["interim_transcript_hash_after"]
