"""Verifiers of messages, message-protection, welcome and passive-client."""

import os
from typing import Any

import pytest

from pli_protocol.mls import hpke
from pli_protocol.mls.ciphersuite import CipherSuite, SignatureKeyPair, suite
from pli_protocol.mls.codec import decode, encode
from pli_protocol.mls.commit import Commit
from pli_protocol.mls.errors import UsageError
from pli_protocol.mls.framing import (
    AuthenticatedContent,
    Content,
    ContentType,
    FramedContent,
    Sender,
    SenderType,
    WireFormat,
    sign_content,
    with_tag,
)
from pli_protocol.mls.group import Group
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.identity import ACCEPT_ALL
from pli_protocol.mls.key_package import KeyPackage, KeyPackageSecrets
from pli_protocol.mls.key_schedule import derive_epoch, derive_epoch_secret
from pli_protocol.mls.message import Body, MLSMessage
from pli_protocol.mls.private_message import (
    PrivateMessage,
    open_sender_data,
    protect_private,
    unprotect_private,
)
from pli_protocol.mls.proposal import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    ReInit,
    Remove,
    Update,
    decode_proposal,
)
from pli_protocol.mls.psk import psk_secret
from pli_protocol.mls.public_message import PublicMessage, protect_public, unprotect_public
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.secret_tree import SecretTree
from pli_protocol.mls.transcript_hash import confirmation_tag
from pli_protocol.mls.welcome import GroupSecrets, Welcome, open_group_info, open_group_secrets

Entry = dict[str, Any]

STRUCTS: dict[str, Any] = {
    "ratchet_tree": RatchetTree,
    "group_secrets": GroupSecrets,
    "add_proposal": Add,
    "update_proposal": Update,
    "remove_proposal": Remove,
    "pre_shared_key_proposal": PreSharedKey,
    "re_init_proposal": ReInit,
    "external_init_proposal": ExternalInit,
    "group_context_extensions_proposal": GroupContextExtensions,
    "commit": Commit,
}
MESSAGES: dict[str, tuple[WireFormat, ContentType | None]] = {
    "mls_welcome": (WireFormat.WELCOME, None),
    "mls_group_info": (WireFormat.GROUP_INFO, None),
    "mls_key_package": (WireFormat.KEY_PACKAGE, None),
    "public_message_application": (WireFormat.PUBLIC_MESSAGE, ContentType.APPLICATION),
    "public_message_proposal": (WireFormat.PUBLIC_MESSAGE, ContentType.PROPOSAL),
    "public_message_commit": (WireFormat.PUBLIC_MESSAGE, ContentType.COMMIT),
    "private_message": (WireFormat.PRIVATE_MESSAGE, None),
}


def verify_messages(entry: Entry) -> None:
    for name, struct in STRUCTS.items():
        data = bytes.fromhex(entry[name])
        assert encode(decode(struct, data)) == data, name
    for name, (wire_format, content_type) in MESSAGES.items():
        data = bytes.fromhex(entry[name])
        message = decode(MLSMessage, data)
        assert encode(message) == data, name
        assert message.wire_format is wire_format
        if content_type is not None:
            assert isinstance(message.body, PublicMessage)
            assert message.body.content.content_type is content_type


def _body(data: str) -> Body:
    return decode(MLSMessage, bytes.fromhex(data)).body


class Protection:
    """The state that message-protection describes: two members, the second of whom sends."""

    sender = Sender(SenderType.MEMBER, 1)

    def __init__(self, entry: Entry) -> None:
        self.suite: CipherSuite = suite(entry["cipher_suite"])
        self.context = GroupContext(
            self.suite.number,
            bytes.fromhex(entry["group_id"]),
            entry["epoch"],
            bytes.fromhex(entry["tree_hash"]),
            bytes.fromhex(entry["confirmed_transcript_hash"]),
        )
        self.signer: SignatureKeyPair = self.suite.signature_key(
            bytes.fromhex(entry["signature_priv"])
        )
        assert self.signer.public.hex() == entry["signature_pub"]
        self.sender_data_secret = bytes.fromhex(entry["sender_data_secret"])
        self.membership_key = bytes.fromhex(entry["membership_key"])
        self.tree = SecretTree.create(bytes.fromhex(entry["encryption_secret"]), 2)

    def sign(self, content: Content, wire_format: WireFormat) -> AuthenticatedContent:
        framed = FramedContent(self.context.group_id, self.context.epoch, self.sender, b"", content)
        signed = sign_content(self.suite, self.signer, wire_format, framed, self.context)
        return with_tag(signed, b"tag") if isinstance(content, Commit) else signed

    def open_public(self, message: Body) -> Content:
        assert isinstance(message, PublicMessage)
        signed = unprotect_public(self.suite, message, self.context, self.membership_key)
        signed.verify(self.suite, self.signer.public, self.context)
        return signed.content.content

    def open_private(self, message: Body) -> Content:
        assert isinstance(message, PrivateMessage)
        sender = open_sender_data(self.suite, message, self.sender_data_secret)
        assert sender.leaf_index == self.sender.index
        opened = unprotect_private(self.suite, message, sender, self.tree)
        opened.signed.verify(self.suite, self.signer.public, self.context)
        return opened.signed.content.content


def verify_message_protection(entry: Entry) -> None:
    state = Protection(entry)
    proposal = decode_proposal(bytes.fromhex(entry["proposal"]))
    commit = decode(Commit, bytes.fromhex(entry["commit"]))
    application = bytes.fromhex(entry["application"])
    for content, name in ((proposal, "proposal"), (commit, "commit"), (application, "application")):
        assert state.open_private(_body(entry[f"{name}_priv"])) == content
        signed = state.sign(content, WireFormat.PRIVATE_MESSAGE)
        sealed = protect_private(
            state.suite,
            signed,
            state.tree,
            state.sender_data_secret,
            padding=0,
            random=os.urandom,
        )
        again = _body(encode(MLSMessage(sealed.message)).hex())
        assert state.open_private(again) == content
    for content, name in ((proposal, "proposal"), (commit, "commit")):
        assert state.open_public(_body(entry[f"{name}_pub"])) == content
        signed = state.sign(content, WireFormat.PUBLIC_MESSAGE)
        public = protect_public(state.suite, signed, state.context, state.membership_key)
        assert state.open_public(_body(encode(MLSMessage(public)).hex())) == content
    with pytest.raises(UsageError):
        state.sign(application, WireFormat.PUBLIC_MESSAGE)
    private = state.sign(application, WireFormat.PRIVATE_MESSAGE)
    with pytest.raises(UsageError):
        protect_public(state.suite, private, state.context, state.membership_key)


def verify_welcome(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    key_package, welcome = _body(entry["key_package"]), _body(entry["welcome"])
    assert isinstance(key_package, KeyPackage)
    assert isinstance(welcome, Welcome)
    init_key = hpke.key_pair(used, bytes.fromhex(entry["init_priv"]))
    assert init_key.public == key_package.init_key
    secrets = open_group_secrets(used, welcome, key_package.reference(used), init_key)
    no_psk = psk_secret(used, [])
    info = open_group_info(used, welcome, secrets.joiner_secret, no_psk)
    info.verify(used, bytes.fromhex(entry["signer_pub"]))
    context = info.group_context
    epoch = derive_epoch_secret(used, secrets.joiner_secret, no_psk, context)
    key = derive_epoch(used, epoch).secrets.confirmation_key
    tag = confirmation_tag(used, key, context.confirmed_transcript_hash)
    assert tag == info.confirmation_tag


def verify_passive_client(entry: Entry) -> None:
    used = suite(entry["cipher_suite"])
    key_package = _body(entry["key_package"])
    assert isinstance(key_package, KeyPackage)
    signer = used.signature_key(bytes.fromhex(entry["signature_priv"]))
    init_key = hpke.key_pair(used, bytes.fromhex(entry["init_priv"]))
    leaf_key = hpke.key_pair(used, bytes.fromhex(entry["encryption_priv"]))
    assert signer.public == key_package.leaf_node.signature_key
    assert init_key.public == key_package.init_key
    assert leaf_key.public == key_package.leaf_node.encryption_key
    psks = {
        bytes.fromhex(psk["psk_id"]): bytes.fromhex(psk["psk"]) for psk in entry["external_psks"]
    }
    tree = entry["ratchet_tree"]
    group = Group.join(
        bytes.fromhex(entry["welcome"]),
        key_package,
        KeyPackageSecrets(init_key, leaf_key),
        signer,
        tree=None if tree is None else bytes.fromhex(tree),
        psks=psks,
        identity=ACCEPT_ALL,
        now=None,
    ).group
    assert group.epoch_authenticator.hex() == entry["initial_epoch_authenticator"]
    for epoch in entry["epochs"]:
        for message in (*epoch["proposals"], epoch["commit"]):
            outcome = group.process(
                bytes.fromhex(message), identity=ACCEPT_ALL, now=None, psks=psks
            )
            group = outcome.group
        assert group.epoch_authenticator.hex() == epoch["epoch_authenticator"]
        # What is stored is all that is needed to go on.
        assert Group.from_entries(group.entries(), signer) == group
