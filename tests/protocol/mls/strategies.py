"""Hypothesis strategies for every struct, by the name of its class (`STRUCTS`, `FUNCTIONS`)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from pli_protocol.mls.ciphersuite import HPKEPrivateKey, KEMKeyPair
from pli_protocol.mls.commit import Commit, ProposalRef
from pli_protocol.mls.extension import Extension
from pli_protocol.mls.external_senders import ExternalSender
from pli_protocol.mls.framing import (
    AuthenticatedContent,
    Content,
    ContentType,
    FramedContent,
    FramedContentAuthData,
    Sender,
    SenderType,
    WireFormat,
)
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.group_info import GroupInfo
from pli_protocol.mls.key_package import KeyPackageSecrets
from pli_protocol.mls.key_schedule import JoinerSecret
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.pending import PendingProposal
from pli_protocol.mls.private_message import PrivateMessage, SenderData
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.mls.proposal import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
)
from pli_protocol.mls.psk import PreSharedKeyID, ResumptionPSKUsage
from pli_protocol.mls.public_message import PublicMessage
from pli_protocol.mls.welcome import EncryptedGroupSecrets, GroupSecrets, Welcome
from pli_protocol.secret import Secret

from . import structs
from .structs import ciphertexts, credentials, key_packages, leaf_nodes, update_paths

# Vectors change the size of their length at 64 and at 16384 bytes.
opaque = st.one_of(
    st.binary(max_size=40), st.sampled_from([bytes(63), bytes(64), bytes(16383), bytes(16384)])
)
short = st.binary(max_size=40)
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)


def several(items: st.SearchStrategy[object], most: int = 3) -> st.SearchStrategy[tuple]:  # type: ignore[type-arg]
    return st.lists(items, max_size=most).map(tuple)


extensions = several(st.builds(Extension, u16, opaque), 2)
group_contexts = st.builds(GroupContext, u16, short, u64, short, short, extensions)
external_senders = st.builds(ExternalSender, short, credentials)
psk_ids = st.one_of(
    st.builds(PreSharedKeyID.external, short, short),
    st.builds(PreSharedKeyID.resumption, st.sampled_from(ResumptionPSKUsage), short, u64, short),
)
proposals: st.SearchStrategy[Proposal] = st.one_of(
    st.builds(Add, key_packages),
    st.builds(Update, leaf_nodes()),
    st.builds(Remove, u32),
    st.builds(PreSharedKey, psk_ids),
    st.builds(ReInit, short, u16, u16, extensions),
    st.builds(ExternalInit, opaque),
    st.builds(GroupContextExtensions, extensions),
)
commits = st.builds(
    Commit, several(st.one_of(proposals, short.map(ProposalRef))), st.none() | update_paths
)
senders = st.one_of(
    st.builds(Sender, st.sampled_from([SenderType.MEMBER, SenderType.EXTERNAL]), u32),
    st.builds(
        Sender, st.sampled_from([SenderType.NEW_MEMBER_PROPOSAL, SenderType.NEW_MEMBER_COMMIT])
    ),
)
contents: st.SearchStrategy[Content] = st.one_of(opaque, proposals, commits)
framed_contents = st.builds(FramedContent, short, u64, senders, opaque, contents)


@st.composite
def authenticated_contents(draw: st.DrawFn) -> AuthenticatedContent:
    content = draw(framed_contents)
    tag = draw(short) if isinstance(content.content, Commit) else None
    wire_format = draw(st.sampled_from([WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE]))
    return AuthenticatedContent(wire_format, content, FramedContentAuthData(draw(short), tag))


@st.composite
def public_messages(draw: st.DrawFn) -> PublicMessage:
    signed = draw(authenticated_contents())
    member = signed.content.sender.sender_type is SenderType.MEMBER
    return PublicMessage(signed.content, signed.auth, draw(short) if member else None)


private_messages = st.builds(
    PrivateMessage,
    short,
    u64,
    st.sampled_from(ContentType),
    opaque,
    short,
    opaque,
)


sender_data = st.builds(SenderData, u32, u32, st.binary(min_size=4, max_size=4))
group_infos = st.builds(GroupInfo, group_contexts, extensions, short, u32, short)
group_secrets = st.builds(
    GroupSecrets, short.map(JoinerSecret), st.none() | short.map(Secret), several(psk_ids)
)
welcomes = st.builds(
    Welcome, u16, several(st.builds(EncryptedGroupSecrets, short, ciphertexts)), opaque
)
messages = st.builds(
    MLSMessage,
    st.one_of(public_messages(), private_messages, welcomes, group_infos, key_packages),
)
adds = st.builds(Add, key_packages)
updates = st.builds(Update, leaf_nodes())
key_pairs = st.builds(KEMKeyPair, short, short.map(HPKEPrivateKey))
private_trees = st.builds(PrivateTree, u32, key_pairs, st.dictionaries(u32, key_pairs, max_size=3))


@st.composite
def pending_proposals(draw: st.DrawFn) -> PendingProposal:
    content = draw(st.builds(FramedContent, short, u64, senders, opaque, proposals))
    signed = AuthenticatedContent(
        WireFormat.PRIVATE_MESSAGE, content, FramedContentAuthData(draw(short), None)
    )
    return PendingProposal(signed, ProposalRef(draw(short)), draw(st.none() | key_pairs))


STRUCTS: dict[str, st.SearchStrategy[Any]] = {
    "Add": adds,
    "AuthenticatedContent": authenticated_contents(),
    "Capabilities": structs.capabilities,
    "Commit": commits,
    "EncryptedGroupSecrets": st.builds(EncryptedGroupSecrets, short, ciphertexts),
    "Extension": st.builds(Extension, u16, opaque),
    "ExternalInit": st.builds(ExternalInit, opaque),
    "ExternalSender": external_senders,
    "FramedContent": framed_contents,
    "GroupContext": group_contexts,
    "GroupContextExtensions": st.builds(GroupContextExtensions, extensions),
    "GroupInfo": group_infos,
    "GroupSecrets": group_secrets,
    "HPKECiphertext": ciphertexts,
    "KeyPackage": key_packages,
    "KeyPackageSecrets": st.builds(KeyPackageSecrets, key_pairs, key_pairs),
    "LeafNode": leaf_nodes(),
    "Lifetime": structs.lifetimes,
    "MLSMessage": messages,
    "ParentNode": structs.parent_nodes,
    "PendingProposal": pending_proposals(),
    "PreSharedKey": st.builds(PreSharedKey, psk_ids),
    "PreSharedKeyID": psk_ids,
    "PrivateMessage": private_messages,
    "PrivateTree": private_trees,
    "PublicMessage": public_messages(),
    "RatchetTree": structs.ratchet_trees(),
    "ReInit": st.builds(ReInit, short, u16, u16, extensions),
    "Remove": st.builds(Remove, u32),
    "RequiredCapabilities": structs.required_capabilities,
    "Sender": senders,
    "SenderData": sender_data,
    "Update": updates,
    "UpdatePath": update_paths,
    "UpdatePathNode": structs.path_nodes,
    "Welcome": welcomes,
}
FUNCTIONS: dict[str, st.SearchStrategy[Any]] = {
    "credential": credentials,
    "extensions": extensions,
    "node": structs.nodes,
    "proposal": proposals,
}
"""Structs that functions read and write."""
