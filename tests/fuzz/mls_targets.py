"""Targets: every decoder of pli_protocol.mls, by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pli_protocol.mls import MLSError, encode
from pli_protocol.mls.codec import Reader, Writer, decode
from pli_protocol.mls.extension import RequiredCapabilities
from pli_protocol.mls.external_senders import external_senders
from pli_protocol.mls.framing import (
    AuthenticatedContent,
    ContentType,
    FramedContentAuthData,
    verify_signed,
)
from pli_protocol.mls.group_context import GroupContext
from pli_protocol.mls.group_support import required_capabilities
from pli_protocol.mls.key_package import KeyPackageSecrets
from pli_protocol.mls.key_schedule import JoinerSecret
from pli_protocol.mls.message import MLSMessage, peek
from pli_protocol.mls.private_message import SenderData, open_sender_data
from pli_protocol.mls.psk import PreSharedKeyID
from pli_protocol.mls.welcome import GroupSecrets, open_group_info, open_group_secrets
from pli_protocol.secret import Secret
from tests.protocol.mls.struct_classes import struct_classes, struct_functions, structs_within

from .group_world import World, world
from .target import Target, target

Decode = Callable[[bytes], None]


def of_class(cls: type[Any]) -> Decode:
    """Decode; what decodes must encode to the same bytes, for there is one encoding of a value."""

    def run(data: bytes) -> None:
        assert encode(decode(cls, data)) == data

    return run


def of_functions(read: Callable[[Reader], Any], write: Callable[[Writer, Any], None]) -> Decode:
    """The same for a struct that is read by a function."""

    def run(data: bytes) -> None:
        r = Reader(data)
        value = read(r)
        r.finish()
        w = Writer()
        write(w, value)
        assert w.getvalue() == data

    return run


def auth_data(data: bytes) -> None:
    """FramedContentAuthData depends on the kind of content."""
    for content_type in ContentType:
        try:
            r = Reader(data)
            FramedContentAuthData.read(r, content_type)
            r.finish()
        except MLSError:
            continue


def extensions(data: bytes) -> None:
    """What is read of extensions only when it is needed."""
    context = decode(GroupContext, data)
    for read in (required_capabilities, external_senders):
        try:
            read(context.extensions)
        except MLSError:
            continue


def key_package_secrets(data: bytes) -> None:
    """The stored private keys of a key package."""
    KeyPackageSecrets.decode(data)


def envelope(data: bytes) -> None:
    """MLSMessage, and what a relay reads of it."""
    try:
        message = decode(MLSMessage, data)
    except MLSError:
        peek(data)
        return
    assert encode(message) == data
    header = peek(data)
    assert header.wire_format is message.wire_format


def signed(data: bytes) -> None:
    """A kept proof of authorship."""
    bob = world().bob.group
    verify_signed(data, bob.context, bob.signer.public)


def decoders() -> dict[str, Decode]:
    """Every decoder by name; the name's place in the sorted list is an input's first byte."""
    found: dict[str, Decode] = {
        name: of_class(cls)
        for name, cls in struct_classes().items()
        if cls is not FramedContentAuthData
    }
    found |= {name: of_functions(*pair) for name, pair in struct_functions().items()}
    found |= {
        "FramedContentAuthData": auth_data,
        "GroupContext extensions": extensions,
        "MLSMessage": envelope,
        "stored KeyPackageSecrets": key_package_secrets,
        "signed": signed,
    }
    return dict(sorted(found.items()))


def values(of: World) -> Iterator[Any]:
    """Real structs of every class."""
    group = of.bob.group
    for message in (*of.messages.values(), of.welcome, of.group_info):
        yield from structs_within(decode(MLSMessage, message))
    yield from structs_within(of.package)
    for part in (group.tree, group.private_tree, group.context, of.bob_before.proposals):
        yield from structs_within(part)
    yield RequiredCapabilities((1, 2), (3,), (1,))
    yield from structs_within(external_senders(group.context.extensions))
    yield SenderData(1, 2, b"abcd")
    psk = PreSharedKeyID.external(b"id", bytes(32))
    yield GroupSecrets(JoinerSecret(bytes(32)), Secret(bytes(32)), (psk,))
    yield from opened(of)


def opened(of: World) -> Iterator[Any]:
    """What lies inside a Welcome and inside a PrivateMessage."""
    welcome = decode(MLSMessage, of.welcome).body
    suite, (package, secrets) = of.bob.suite, of.package
    inside = open_group_secrets(suite, welcome, package.reference(suite), secrets.init_key)
    yield inside
    yield open_group_info(suite, welcome, inside.joiner_secret, Secret(bytes(suite.hash_size)))
    message = decode(MLSMessage, of.messages["application"]).body
    yield open_sender_data(suite, message, of.bob.group.secrets.sender_data_secret)
    proof = of.alice.group.seal(b"text", random=of.alice.random).signed
    yield from structs_within(decode(AuthenticatedContent, proof))


def written(write: Callable[[Writer, Any], None], value: object) -> bytes:
    w = Writer()
    write(w, value)
    return w.getvalue()


def seeds() -> dict[str, list[bytes]]:
    """Inputs that decode, by decoder."""
    of = world()
    found: dict[str, list[bytes]] = {name: [] for name in decoders()}
    functions = struct_functions()
    for value in values(of):
        name = type(value).__name__
        found[name].append(encode(value))
        if name in ("LeafNode", "ParentNode"):
            found["node"].append(written(functions["node"][1], value))
            if name == "LeafNode":
                found["credential"].append(written(functions["credential"][1], value.credential))
        if hasattr(value, "proposal_type"):
            found["proposal"].append(written(functions["proposal"][1], value))
        if name == "GroupContext":
            found["extensions"].append(written(functions["extensions"][1], value.extensions))
            found["GroupContext extensions"].append(encode(value))
    found["stored KeyPackageSecrets"].append(of.package[1].encode())
    found["signed"].append(of.alice.group.seal(b"text", random=of.alice.random).signed)
    return found


def struct_target() -> Target:
    """One target for all decoders, chosen by the first byte."""
    table = decoders()
    runs = list(table.values())

    def run(data: bytes) -> None:
        if data:
            runs[data[0] % len(runs)](data[1:])

    known = seeds()
    inputs = [
        bytes([number]) + data
        for number, name in enumerate(table)
        for data in sorted(set(known[name]), key=len)[:6]
    ]
    return target("mls-structs", run, inputs, MLSError)


def message_target() -> Target:
    """The envelope alone: what comes from the relay."""
    of = world()
    package = encode(MLSMessage(of.package[0]))
    messages = [*of.messages.values(), of.welcome, of.group_info, package]
    return target("mls-message", envelope, messages, MLSError)
