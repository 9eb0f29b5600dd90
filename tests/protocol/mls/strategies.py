"""Hypothesis strategies for the structs of the upper half of RFC 9420."""

from __future__ import annotations

from hypothesis import strategies as st

from pli_protocol.mls.commit import Commit, ProposalRef
from pli_protocol.mls.credential import BasicCredential, Credential, X509Credential
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
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.key_schedule import JoinerSecret
from pli_protocol.mls.labels import HPKECiphertext
from pli_protocol.mls.leaf_node import Capabilities, LeafNode, LeafNodeSource, Lifetime
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.private_message import PrivateMessage, SenderData
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
from pli_protocol.mls.update_path import UpdatePath, UpdatePathNode
from pli_protocol.mls.welcome import EncryptedGroupSecrets, GroupSecrets, Welcome
from pli_protocol.secret import Secret

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
credentials: st.SearchStrategy[Credential] = st.one_of(
    st.builds(BasicCredential, short), st.builds(X509Credential, several(short))
)
group_contexts = st.builds(GroupContext, u16, short, u64, short, short, extensions)
external_senders = st.builds(ExternalSender, short, credentials)
capabilities = st.builds(Capabilities, *[several(u16) for _ in range(5)])


@st.composite
def leaf_nodes(draw: st.DrawFn) -> LeafNode:
    source = draw(st.sampled_from(LeafNodeSource))
    lifetime = Lifetime(draw(u64), draw(u64)) if source is LeafNodeSource.KEY_PACKAGE else None
    parent_hash = draw(short) if source is LeafNodeSource.COMMIT else None
    return LeafNode(
        draw(short),
        draw(short),
        draw(credentials),
        draw(capabilities),
        source,
        lifetime,
        parent_hash,
        draw(extensions),
        draw(short),
    )


key_packages = st.builds(KeyPackage, u16, u16, short, leaf_nodes(), extensions, short)
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
ciphertexts = st.builds(HPKECiphertext, short, short)
paths = st.builds(
    UpdatePath, leaf_nodes(), several(st.builds(UpdatePathNode, short, several(ciphertexts)), 2)
)
commits = st.builds(
    Commit, several(st.one_of(proposals, short.map(ProposalRef))), st.none() | paths
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
