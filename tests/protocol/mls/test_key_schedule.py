"""The key schedule: every input counts, every output differs, nothing is shown."""

from __future__ import annotations

from dataclasses import fields, replace

from pli_protocol.mls import GroupContext, suite
from pli_protocol.mls.key_schedule import (
    DerivedEpoch,
    derive_epoch,
    derive_epoch_secret,
    derive_joiner_secret,
    derive_welcome_secret,
    export_secret,
)

SUITE = suite(3)
CONTEXT = GroupContext(3, b"group", 4, b"tree", b"transcript")
ZERO = bytes(32)


def epoch(
    init: bytes = ZERO, commit: bytes = ZERO, psk: bytes = ZERO, context: GroupContext = CONTEXT
) -> DerivedEpoch:
    joiner = derive_joiner_secret(SUITE, init, commit, context)
    return derive_epoch(SUITE, derive_epoch_secret(SUITE, joiner, psk, context))


def test_all_secrets_of_an_epoch_are_different() -> None:
    secrets, encryption = epoch()
    values = {bytes(getattr(secrets, field.name)) for field in fields(secrets)}
    assert len(values | {bytes(encryption)}) == len(fields(secrets)) + 1
    assert {len(value) for value in values} == {SUITE.hash_size}


def test_every_input_changes_the_epoch() -> None:
    other = b"\x01" * 32
    authenticators = {
        bytes(made.secrets.epoch_authenticator)
        for made in (
            epoch(),
            epoch(init=other),
            epoch(commit=other),
            epoch(psk=other),
            epoch(context=replace(CONTEXT, epoch=5)),
            epoch(context=replace(CONTEXT, tree_hash=b"another")),
            epoch(context=replace(CONTEXT, confirmed_transcript_hash=b"another")),
        )
    }
    assert len(authenticators) == 7


def test_the_welcome_secret_depends_on_joiner_and_pre_shared_keys() -> None:
    joiner = derive_joiner_secret(SUITE, ZERO, ZERO, CONTEXT)
    one = derive_welcome_secret(SUITE, joiner, ZERO)
    two = derive_welcome_secret(SUITE, joiner, b"\x01" * 32)
    assert one != two


def test_a_label_is_text_or_the_same_bytes() -> None:
    assert export_secret(SUITE, ZERO, "é", b"", 16) == export_secret(
        SUITE, ZERO, "é".encode(), b"", 16
    )


def test_the_secrets_of_an_epoch_are_not_shown() -> None:
    made = epoch()
    shown = repr(made)
    assert shown.startswith("DerivedEpoch(secrets=EpochSecrets(init_secret=InitSecret(<32 bytes>)")
    for field in fields(made.secrets):
        assert bytes(getattr(made.secrets, field.name)).hex() not in shown
