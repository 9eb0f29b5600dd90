"""Targets: groups that are given bad messages, by strangers and by members who can sign anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Commit,
    Group,
    KeyPackage,
    LeafNode,
    MLSError,
    SignatureKeyPair,
    Update,
    encode,
)
from pli_protocol.mls.codec import Reader, Writer, decode
from pli_protocol.mls.extension import Extension, ExtensionType
from pli_protocol.mls.framing import (
    AuthenticatedContent,
    ContentType,
    FramedContent,
    Sender,
    SenderType,
    read_content,
    sign_content,
    with_tag,
    write_content,
)
from pli_protocol.mls.group_info import GroupInfo
from pli_protocol.mls.key_package import sign_with_label
from pli_protocol.mls.key_schedule import JoinerSecret, derive_epoch, derive_epoch_secret
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.private_message import PrivateMessage, protect_private
from pli_protocol.mls.public_message import protect_public
from pli_protocol.mls.ratchet_tree import RatchetTree
from pli_protocol.mls.transcript_hash import confirmation_tag
from pli_protocol.mls.welcome import NewMember, create_welcome
from pli_protocol.secret import Secret
from tests.protocol.mls.groups import NOW

from .group_world import PRIVATE, PSKS, PUBLIC, World, world
from .target import Target, target

SENDERS = (
    Sender(SenderType.MEMBER, 0),
    Sender(SenderType.EXTERNAL, 0),
    Sender(SenderType.NEW_MEMBER_PROPOSAL),
    Sender(SenderType.NEW_MEMBER_COMMIT),
)
RESIGN, CONFIRM = 0x40, 0x80


def stranger_target() -> Target:
    """Bytes from the relay, to a member and to one who was added or wants to join."""
    of = world()
    package, secrets = of.package

    def run(data: bytes) -> None:
        for receive in (
            lambda: of.process(data),
            lambda: Group.join(
                data, package, secrets, of.dave.signer, psks=PSKS, identity=ACCEPT_BASIC, now=NOW
            ),
            lambda: of.dave.join_external(data),
        ):
            try:
                receive()
            except MLSError:
                continue

    seeds = [*of.messages.values(), of.welcome, of.group_info]
    return target("group-stranger", run, seeds, MLSError)


# --- what members can make ------------------------------------------------------------------------


def insider_target() -> Target:
    """Contents of a sender's choice under valid signatures and keys, in either wire format.

    The first byte says what: bits 0-1 the kind of content, 2-3 the kind of sender, 4 the wire
    format, 6 whether leaves and key packages inside are signed anew, 7 whether the confirmation
    tag is right as far as that can be known.
    """
    of = world()
    kinds = tuple(ContentType)

    def run(data: bytes) -> None:
        if not data:
            return
        choice, body = data[0], data[1:]
        r = Reader(body)
        content = read_content(r, kinds[choice % 3])
        r.finish()
        sender = SENDERS[choice >> 2 & 3]
        if choice & RESIGN:
            content = resigned(of, content, sender)
        message = said(of, content, sender, PRIVATE if choice & 16 else PUBLIC)
        group = of.process(message)
        if group is not None:
            # What was taken can be stored and used.
            assert Group.from_entries(group.entries(), group.signer) == group
            group.commit([], identity=ACCEPT_BASIC, now=NOW, psks=PSKS, random=of.bob.random)

    return target("group-insider", run, insider_seeds(of), MLSError)


def insider_seeds(of: World) -> list[bytes]:
    """The contents of all messages that there are."""
    kinds = tuple(ContentType)
    seeds = []
    for message in of.messages.values():
        body = decode(MLSMessage, message).body
        content = body.content if not isinstance(body, PrivateMessage) else None
        if content is None:
            continue
        w = Writer()
        write_content(w, content.content)
        sender = next(
            at for at, one in enumerate(SENDERS) if one.sender_type is content.sender.sender_type
        )
        for flags in (0, 16, RESIGN):
            first = kinds.index(content.content_type) | sender << 2 | flags
            seeds.append(bytes([first]) + w.getvalue())
        if isinstance(content.content, Add):
            for outside in (1, 2):
                seeds.append(
                    bytes([kinds.index(content.content_type) | outside << 2]) + w.getvalue()
                )
    return seeds


def said(of: World, content: Any, sender: Sender, wire: Any) -> bytes:
    """A message with this content, signed with the sender's key, encrypted or not."""
    alice = of.alice.group
    signer = of.outsider if sender.sender_type is SenderType.EXTERNAL else alice.signer
    framed = FramedContent(alice.group_id, alice.epoch, sender, b"", content)
    signed = sign_content(alice.suite, signer, wire, framed, alice.context)
    if isinstance(content, Commit):
        signed = with_tag(signed, bytes(alice.suite.hash_size))
    if wire is PUBLIC:
        key = alice.secrets.membership_key if sender.sender_type is SenderType.MEMBER else None
        return encode(MLSMessage(protect_public(alice.suite, signed, alice.context, key)))
    if sender.sender_type is not SenderType.MEMBER:
        signed = replace(signed, content=replace(framed, sender=SENDERS[0]))
    return sealed(of, signed)


def sealed(of: World, signed: AuthenticatedContent) -> bytes:
    alice = of.alice.group
    made = protect_private(
        alice.suite,
        signed,
        alice.secret_tree,
        alice.secrets.sender_data_secret,
        padding=0,
        random=of.alice.random,
    )
    return encode(MLSMessage(made.message))


def resigned(of: World, content: Any, sender: Sender) -> Any:
    """The content with leaves and key packages that the sender signs itself."""
    alice = of.alice.group
    match content:
        case Add(package):
            return Add(resigned_package(of, package))
        case Update(leaf):
            return Update(resigned_leaf(of, leaf, alice.signer, alice.own_leaf))
        case Commit(proposals, path):
            again = tuple(resigned(of, item, sender) for item in proposals)
            if path is not None:
                place = 3 if sender.sender_type is SenderType.NEW_MEMBER_COMMIT else 0
                leaf = resigned_leaf(of, path.leaf_node, alice.signer, place)
                path = replace(path, leaf_node=leaf)
            return Commit(again, path)
    return content


def resigned_leaf(of: World, leaf: LeafNode, signer: SignatureKeyPair, place: int) -> LeafNode:
    mine = copied(leaf, signature_key=signer.public)
    group_id = of.alice.group.group_id
    signed = mine.to_be_signed(group_id, place)
    return copied(mine, signature=sign_with_label(of.alice.suite, signer, "LeafNodeTBS", signed))


def copied(leaf: LeafNode, **changes: Any) -> LeafNode:
    """A leaf with other fields, encoded anew."""
    names = [field.name for field in fields(LeafNode) if field.init]
    return LeafNode(**({name: getattr(leaf, name) for name in names} | changes))


def resigned_package(of: World, package: KeyPackage) -> KeyPackage:
    signer = of.dave.signer
    package = replace(package, leaf_node=resigned_leaf(of, package.leaf_node, signer, 0))
    signed = package.to_be_signed()
    return replace(
        package, signature=sign_with_label(of.dave.suite, signer, "KeyPackageTBS", signed)
    )


# --- joining what a member made up ----------------------------------------------------------------


def join_target() -> Target:
    """A tree and extensions of a member's choice, in a valid GroupInfo and Welcome.

    Input: how the leaf of the one who joins gets in (1 byte), length of the GroupContext's
    extensions (2 bytes), these, the ratchet tree.
    """
    of = world()

    def run(data: bytes) -> None:
        if len(data) < 3:
            return
        r = Reader(data)
        flags, size = r.u8(), r.u16()
        extensions, tree = r.bytes(size), r.bytes(len(data) - r.position)
        welcome, info = made_up(of, flags, extensions, tree)
        package, secrets = of.package
        for join in (
            lambda: (
                Group.join(
                    welcome,
                    package,
                    secrets,
                    of.dave.signer,
                    psks=PSKS,
                    identity=ACCEPT_BASIC,
                    now=NOW,
                ).group
            ),
            lambda: (
                Group.join_external(
                    info, of.dave.credential, of.dave.signer, identity=ACCEPT_BASIC, now=NOW
                ).group
            ),
        ):
            try:
                group = join()
                assert Group.from_entries(group.entries(), group.signer) == group
            except MLSError:
                continue

    return target("group-join", run, join_seeds(of), MLSError)


def join_seeds(of: World) -> list[bytes]:
    alice = of.alice.group
    w = Writer()
    w.structs(alice.context.extensions)
    extensions = w.getvalue()
    added = alice.commit(
        [Add(of.package[0])], identity=ACCEPT_BASIC, now=NOW, random=of.alice.random
    )
    trees = [encode(alice.tree), added.ratchet_tree]
    return [
        bytes([flags]) + len(extensions).to_bytes(2, "big") + extensions + tree
        for flags in (0, 1, 2)
        for tree in trees
    ]


def made_up(of: World, flags: int, extensions: bytes, tree: bytes) -> tuple[bytes, bytes]:
    """A Welcome to dave and a GroupInfo, both valid but for what tree and extensions say."""
    alice, suite = of.alice.group, of.alice.suite
    package, _ = of.package
    r = Reader(extensions)
    listed = r.vector(Extension.read)
    r.finish()
    tree_hash = alice.context.tree_hash
    try:
        parsed = decode(RatchetTree, tree)
        if flags & 1:
            parsed, _ = parsed.add_leaf(package.leaf_node)
            tree = encode(parsed)
        tree_hash = parsed.tree_hash(suite)
    except MLSError:
        pass
    context = replace(alice.context, tree_hash=tree_hash, extensions=listed)
    joiner = JoinerSecret(bytes(suite.hash_size))
    none = Secret(bytes(suite.hash_size))
    secrets, _ = derive_epoch(suite, derive_epoch_secret(suite, joiner, none, context))
    tag = confirmation_tag(suite, secrets.confirmation_key, context.confirmed_transcript_hash)
    info = GroupInfo(
        context,
        (
            Extension(ExtensionType.RATCHET_TREE, tree),
            decode(MLSMessage, of.group_info).body.extensions[1],
        ),
        tag,
        0,
    ).signed_by(suite, alice.signer)
    path_secret = Secret(bytes(suite.hash_size)) if flags & 2 else None
    members = [NewMember(package, path_secret)]
    welcome = create_welcome(suite, info, joiner, none, (), members, of.alice.random)
    return encode(MLSMessage(welcome)), encode(MLSMessage(info))


# --- stored groups --------------------------------------------------------------------------------


def entries_target() -> Target:
    """A store with one entry changed, taken away or put beside the others.

    Input: which entry, what is done (0 replace, 1 remove, 2 put beside under a name of up to 30
    bytes, ended by 0), the bytes.
    """
    of = world()
    stored = [dict(of.bob.group.entries()), dict(of.bob_before.entries())]
    message = of.messages["application"]

    def run(data: bytes) -> None:
        if len(data) < 2:
            return
        entries = dict(stored[data[0] & 1])
        names = sorted(entries)
        name = names[(data[0] >> 1) % len(names)]
        match data[1] % 3:
            case 0:
                entries[name] = data[2:]
            case 1:
                del entries[name]
            case 2:
                new, _, value = data[2:].partition(b"\0")
                entries[new[:30].decode("latin-1")] = value
        group = Group.from_entries(entries, of.bob.signer)
        used(group, message)

    seeds = []
    for which, entries in enumerate(stored):
        for at, name in enumerate(sorted(entries)):
            seeds.append(bytes([which | at << 1, 0]) + entries[name])
            seeds.append(bytes([which | at << 1, 1]))
            seeds.append(bytes([which, 2]) + name.encode() + b"\0" + entries[name])
    return target("group-entries", run, seeds, MLSError)


def used(group: Group, message: bytes) -> None:
    """A group that could be read does something or says an error of the library."""
    uses: tuple[Callable[[], object], ...] = (
        group.entries,
        group.members,
        lambda: group.seal(b"text"),
        lambda: group.process(message, identity=ACCEPT_BASIC, now=NOW),
        lambda: group.export_secret("label", b"", 32),
    )
    for use in uses:
        try:
            use()
        except MLSError:
            continue
