"""No secret in a repr, an exception or a traceback: of live groups, and of all that breaks."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    Group,
    KeyPackage,
    PreSharedKey,
    PreSharedKeyID,
    Remove,
    SignatureKeyPair,
    WireFormat,
)
from pli_protocol.mls.ciphersuite import CipherSuite, KEMKeyPair
from pli_protocol.mls.codec import encode
from pli_protocol.secret import Secret

from ... import leaks
from .groups import NOW, Member, party

SUITES = (0x0001, 0x004E)
every_suite = pytest.mark.parametrize("number", SUITES)


@contextmanager
def derived_secrets() -> Iterator[set[bytes]]:
    """Everything that the key derivations give meanwhile, whatever its type."""
    seen: set[bytes] = set()
    before = CipherSuite.hkdf_expand, CipherSuite.hkdf_extract

    def expand(self: CipherSuite, *args: Any) -> bytes:
        value = before[0](self, *args)
        seen.add(bytes(value))
        return value

    def extract(self: CipherSuite, *args: Any) -> Secret:
        value = before[1](self, *args)
        if not any(label in args[1] for label in (b"info_hash", b"psk_id_hash")):
            seen.add(bytes(value))  # those two are hashes of what everybody knows
        return value

    patch = pytest.MonkeyPatch()
    patch.setattr(CipherSuite, "hkdf_expand", expand)
    patch.setattr(CipherSuite, "hkdf_extract", extract)
    try:
        yield seen
    finally:
        patch.undo()


class Scene:
    """A whole conversation in one suite: its values, its secrets, its messages."""

    def __init__(self, number: int) -> None:
        self.values: list[Any] = []
        with derived_secrets() as self.derived:
            self._play(number)
        self.public = b"".join(self._public())
        self.parts = leaks.parts_of(self.derived | leaks.secrets_in(*self.values), self.public)

    def _public(self) -> Iterator[bytes]:
        """What the relay and the members see."""
        yield from self.messages.values()
        for value in leaks.reachable(*self.values):
            if isinstance(value, Group):
                yield value.context.encoded
                yield encode(value.tree)
            elif isinstance(value, SignatureKeyPair | KEMKeyPair):
                yield value.public
            elif isinstance(value, KeyPackage):
                yield encode(value)

    def keep(self, value: Any) -> Any:
        self.values.append(value)
        return value

    def _play(self, number: int) -> None:
        alice, bob, carol = party("alice", "bob", "carol", number=number)
        dave = Member("dave", number)
        psk = Secret(bytes(range(100, 132)))
        for member in (alice, bob, carol):
            member.psks[b"psk"] = psk
        package = self.keep(dave.key_package())
        self.keep(package[1].encode())
        self.messages: dict[str, bytes] = {}
        sealed = self.keep(alice.group.seal(b"plain text"))
        self.messages["application"] = sealed.message
        for wire in WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE:
            proposed = self.keep(alice.group.propose(Remove(2), wire_format=wire))
            self.messages[f"proposal {wire.name}"] = proposed.message
            update = self.keep(alice.group.propose_update(wire_format=wire))
            self.messages[f"update {wire.name}"] = update.message
            nonce = bytes(alice.suite.hash_size)
            made = self.keep(
                alice.group.commit(
                    [Add(package[0]), PreSharedKey(PreSharedKeyID.external(b"psk", nonce))],
                    wire_format=wire,
                    psks=alice.psks,
                    identity=ACCEPT_BASIC,
                    now=NOW,
                )
            )
            self.messages[f"commit {wire.name}"] = made.message
        self.messages["welcome"] = made.welcome
        self.messages["group info"] = made.group_info
        for message in list(self.messages.values())[:-2]:
            self.keep(bob.group.process(message, identity=ACCEPT_BASIC, now=NOW, psks=bob.psks))
        bob.process(self.messages["update PRIVATE_MESSAGE"])
        bob.open(self.messages["application"])
        carol.open(self.messages["application"])
        everybody = made.group.merged(alice.group)
        self.keep(everybody)
        self.keep(
            Group.join(
                made.welcome,
                *package,
                dave.signer,
                psks={b"psk": psk},
                identity=ACCEPT_BASIC,
                now=NOW,
            )
        )
        eve = Member("eve", number)
        external = Group.join_external(
            made.group_info, eve.credential, eve.signer, identity=ACCEPT_BASIC, now=NOW
        )
        self.keep(external)
        self.keep([alice.group, bob.group, carol.group, alice.signer])
        self.keep(bob.group.entries())
        self.bob, self.dave, self.package = bob.group, dave, package
        self.psks = bob.psks


@cache
def scene(number: int) -> Scene:
    return Scene(number)


@every_suite
def test_no_secret_is_shown_by_any_value(number: int) -> None:
    played = scene(number)
    text = leaks.shown(*played.values)
    assert "Secret(<" in text
    assert len(played.parts) > 500
    assert leaks.leaks(text, played.parts) == []


@every_suite
def test_every_secret_that_a_value_holds_is_marked_as_one(number: int) -> None:
    """Plain bytes would be shown by the next tuple, variable or f-string that they get into."""
    played = scene(number)
    assert leaks.leaks_of_bytes(leaks.plain_bytes(*played.values), played.parts) == []


@every_suite
def test_no_plain_text_is_shown_by_any_value(number: int) -> None:
    assert leaks.leaks(leaks.shown(*scene(number).values), {b"plain te"}) == []


@every_suite
def test_no_secret_is_in_what_damaged_messages_raise(number: int) -> None:
    """As a crash reporter sees it: with the variables of every function on the way."""
    played = scene(number)
    raised, harmless = 0, set[str]()
    for name, message in played.messages.items():
        for where in range(0, len(message), max(1, len(message) // 8)):
            data = message[:where] + bytes([message[where] ^ 0x41]) + message[where + 1 :]
            with derived_secrets() as seen:
                if name == "welcome":
                    report, error = leaks.what_breaks(lambda data=data: _join(played, data))  # type: ignore[misc]
                else:
                    report, error = leaks.what_breaks(lambda data=data: _process(played, data))  # type: ignore[misc]
            raised += error is not None
            assert leaks.leaks(report, played.parts, harmless) == [], name
            assert leaks.leaks(report, leaks.parts_of(seen, played.public)) == [], name
    assert raised > 70


def _process(played: Scene, data: bytes) -> None:
    played.bob.process(data, identity=ACCEPT_BASIC, now=NOW, psks=played.psks)


def _join(played: Scene, data: bytes) -> None:
    psks = {b"psk": Secret(bytes(range(100, 132)))}
    Group.join(data, *played.package, played.dave.signer, psks=psks, identity=ACCEPT_BASIC, now=NOW)


@every_suite
def test_no_secret_is_in_what_damaged_entries_raise(number: int) -> None:
    played = scene(number)
    entries, signer = played.bob.entries(), played.bob.signer
    raised, harmless = 0, set[str]()
    for name, value in entries.items():
        for damaged in (value[:-1], value + b"\0", b"\x03" + value[1:], value[:1] + b"\xff" * 40):
            broken = {**entries, name: Secret(damaged)}
            report, error = leaks.what_breaks(
                lambda broken=broken: Group.from_entries(broken, signer)  # type: ignore[misc]
            )
            raised += error is not None
            assert leaks.leaks(report, played.parts, harmless) == [], name
    assert raised > 50


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    alice, bob = party("alice", "bob", number=1)
    bob.open(alice.seal(b"plain text"))
    assert caplog.records == []


def test_a_secret_shows_its_length_only() -> None:
    secret = Secret(b"0123456789abcdef")
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        "%s" % secret,  # noqa: UP031
        "%r" % [secret],
        "{}".format(secret),  # noqa: UP032
        repr({"key": (secret,)}),
    ):
        assert "0123" not in text
        assert "Secret(<16 bytes>)" in text


def test_a_secret_is_not_pickled_and_copied_as_itself() -> None:
    secret = Secret(b"0123456789abcdef")
    assert copy.copy(secret) is copy.deepcopy([secret])[0] is secret
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps({"key": secret}, protocol)


def test_a_group_is_not_pickled() -> None:
    (alice,) = party("alice")
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(alice.group)


def test_what_searches_for_secrets_finds_them() -> None:
    secret = b"\x00\xffa secret, known to two, with 'quotes\" and \\"
    parts = leaks.parts_of({secret}, b"")
    for text in (
        f"key = {secret!r}",
        f"values: {[{'key': secret}]!r}",
        repr(f"told in a text: {secret[:20]!r}"),
        secret.hex(),
        secret.hex().upper(),
        "abc" + secret.hex(),
        "> BINARY " + secret.hex(" ") + " [30 bytes]",
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(b"before" + secret).decode(),
    ):
        assert leaks.leaks(text, parts), text
    assert leaks.leaks(repr(Secret(secret)), parts) == []
