"""The table of kinds of vectors: how an entry is recognised, and what verifies it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from . import crypto_kinds, message_kinds, schedule_kinds, tree_kinds

Entry = dict[str, Any]


class Kind(NamedTuple):
    """A kind of vectors: fields that no entry of another kind has together, and its verifier."""

    fields: frozenset[str]
    verify: Callable[[Entry], None] | None


def _kind(fields: str, verify: Callable[[Entry], None] | None) -> Kind:
    return Kind(frozenset(fields.split()), verify)


KINDS: dict[str, Kind] = {
    "tree-math": _kind("n_leaves n_nodes root sibling", tree_kinds.verify_tree_math),
    "crypto-basics": _kind("ref_hash derive_tree_secret", crypto_kinds.verify_crypto_basics),
    "deserialization": _kind("vlbytes_header length", crypto_kinds.verify_deserialization),
    "tree-operations": _kind("tree_before proposal", tree_kinds.verify_tree_operation),
    "tree-validation": _kind("tree resolutions tree_hashes", tree_kinds.verify_tree_validation),
    "treekem": _kind("leaves_private update_paths", tree_kinds.verify_treekem),
    "key-schedule": _kind("initial_init_secret epochs", schedule_kinds.verify_key_schedule),
    "secret-tree": _kind("sender_data encryption_secret leaves", schedule_kinds.verify_secret_tree),
    "message-protection": _kind(
        "sender_data_secret membership_key application_priv",
        message_kinds.verify_message_protection,
    ),
    "psk_secret": _kind("psks psk_secret", schedule_kinds.verify_psk_secret),
    "transcript-hashes": _kind(
        "confirmation_key interim_transcript_hash_before", schedule_kinds.verify_transcript_hashes
    ),
    "welcome": _kind("init_priv signer_pub welcome", message_kinds.verify_welcome),
    "messages": _kind("mls_welcome mls_group_info group_secrets", message_kinds.verify_messages),
    "passive-client": _kind(
        "external_psks initial_epoch_authenticator", message_kinds.verify_passive_client
    ),
}


def kind_of(entry: Entry) -> str | None:
    """The name of an entry's kind, or None."""
    names = [name for name, kind in KINDS.items() if kind.fields <= entry.keys()]
    return names[0] if len(names) == 1 else None


def verify(entry: Entry) -> None:
    """Verify an entry of any kind; raises when it does not verify, or nobody knows how."""
    name = kind_of(entry)
    assert name is not None, f"unknown kind of vector, with the fields {', '.join(sorted(entry))}"
    verifier = KINDS[name].verify
    assert verifier is not None, f"no verifier for the kind {name}"
    verifier(entry)
