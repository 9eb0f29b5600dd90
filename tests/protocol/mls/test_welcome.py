"""Welcome and GroupInfo: sealed for whom, signed by whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pli_protocol.mls import (
    Extension,
    ExtensionType,
    GroupInfo,
    MLSMessage,
    ValidationError,
    decode,
    encode,
)
from pli_protocol.mls.group_info import external_pub_extension
from pli_protocol.mls.key_schedule import JoinerSecret
from pli_protocol.mls.welcome import (
    GroupSecrets,
    NewMember,
    create_welcome,
    open_group_info,
    open_group_secrets,
)

from .groups import Member, party


def group_info(member: Member) -> GroupInfo:
    found = decode(MLSMessage, member.group.group_info()).body
    assert isinstance(found, GroupInfo)
    return found


def test_each_new_member_opens_its_own_secrets() -> None:
    (alice,) = party("alice")
    used, joiner, psk = alice.suite, JoinerSecret(b"j" * 32), bytes(32)
    new = [Member("bob").key_package(), Member("carol").key_package()]
    sent = group_info(alice)
    welcome = create_welcome(used, sent, joiner, psk, [], [NewMember(kp, None) for kp, _ in new])
    for package, secrets in new:
        opened = open_group_secrets(used, welcome, package.reference(used), secrets.init_key)
        assert opened == GroupSecrets(joiner, None)
        info = open_group_info(used, welcome, opened.joiner_secret, psk)
        assert info == sent
    with pytest.raises(ValidationError) as failed:
        open_group_secrets(used, welcome, new[0][0].reference(used), new[1][1].init_key)
    assert failed.value.rule == "welcome-secrets"
    with pytest.raises(ValidationError) as failed:
        open_group_info(used, welcome, joiner, b"\x01" * 32)
    assert failed.value.rule == "welcome-group-info"


def test_the_secrets_are_bound_to_the_group_info() -> None:
    (alice,) = party("alice")
    used, (package, secrets) = alice.suite, Member("bob").key_package()
    member = NewMember(package, None)
    one, two = (
        create_welcome(used, group_info(alice), JoinerSecret(secret * 32), bytes(32), [], [member])
        for secret in (b"1", b"2")
    )
    mixed = replace(one, encrypted_group_info=two.encrypted_group_info)
    with pytest.raises(ValidationError) as failed:
        open_group_secrets(used, mixed, package.reference(used), secrets.init_key)
    assert failed.value.rule == "welcome-secrets"


def test_group_secrets_are_not_shown() -> None:
    shown = repr(GroupSecrets(JoinerSecret(b"joiner secret of 32 bytes length"), None))
    assert (
        shown == "GroupSecrets(joiner_secret=JoinerSecret(<32 bytes>), path_secret=None, psks=())"
    )


def test_a_group_info_is_signed_by_a_member() -> None:
    alice, bob = party("alice", "bob")
    info = group_info(alice)
    info.verify(alice.suite, alice.signer.public)
    for changed, key in (
        (info, bob.signer.public),
        (replace(info, signer=1), alice.signer.public),
        (replace(info, confirmation_tag=bytes(32)), alice.signer.public),
        (replace(info, extensions=()), alice.signer.public),
    ):
        with pytest.raises(ValidationError) as failed:
            changed.verify(alice.suite, key)
        assert failed.value.rule == "group-info-signature"


def test_the_external_key_has_its_length_before_it() -> None:
    assert external_pub_extension(b"k" * 32).extension_data == b"\x20" + b"k" * 32
    (alice,) = party("alice")
    info = group_info(alice)
    assert len(info.external_pub() or b"") == 32
    assert replace(info, extensions=()).external_pub() is None
    bare = replace(info, extensions=(Extension(ExtensionType.EXTERNAL_PUB, b"k" * 32),))
    with pytest.raises(ValidationError) as failed:
        bare.external_pub()
    assert failed.value.rule == "external-pub"


def joins(member: Member, info: GroupInfo) -> None:
    member.join_external(encode(MLSMessage(info)))


def test_a_group_info_signed_by_nobody_of_the_group_is_refused() -> None:
    alice, _bob = party("alice", "bob")
    mallory = Member("mallory")
    info = group_info(alice)
    for forged, rule in (
        (info.signed_by(alice.suite, mallory.signer), "group-info-signature"),
        (replace(info, signer=7).signed_by(alice.suite, mallory.signer), "group-info-signer"),
    ):
        with pytest.raises(ValidationError) as failed:
            joins(mallory, forged)
        assert failed.value.rule == rule


def test_extensions_stand_once_in_a_group_info() -> None:
    (alice,) = party("alice")
    info = group_info(alice)
    twice = replace(info, extensions=(*info.extensions, Extension(0xF123, b"")))
    joins(Member("bob"), twice.signed_by(alice.suite, alice.signer))
    thrice = replace(twice, extensions=(*twice.extensions, Extension(0xF123, b"")))
    with pytest.raises(ValidationError) as failed:
        joins(Member("carol"), thrice.signed_by(alice.suite, alice.signer))
    assert failed.value.rule == "extensions-duplicate"


def test_an_epoch_that_cannot_be_followed_is_refused() -> None:
    (alice,) = party("alice")
    info = group_info(alice)
    last = replace(info, group_context=replace(info.group_context, epoch=2**64 - 1))
    with pytest.raises(ValidationError) as failed:
        joins(Member("bob"), last.signed_by(alice.suite, alice.signer))
    assert failed.value.rule == "epoch-last"
