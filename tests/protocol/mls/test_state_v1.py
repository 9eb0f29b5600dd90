"""Groups as the first version stored them are read for ever: nobody may be left with a dead vault.

The files were made once by `make_state_fixture` and never change. What is tested here uses nothing
but what they hold and the library's public face.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest

from pli_protocol.mls import (
    ApplicationReceived,
    CommitReceived,
    GenerationError,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    SignatureKeyPair,
    UsageError,
    suite,
)
from pli_protocol.mls.codec import decode
from pli_protocol.mls.identity import ACCEPT_ALL
from pli_protocol.mls.stored import FORMAT

from . import make_state_fixture

SUITES = (0x0001, 0x0003, 0x004E)
FOREVER = {
    0x0001: "b5287d611d2d2ad0b795912ff0c7d0f60ee55d3b0af4b43a7372c43d0a970282",
    0x0003: "71b27d2a2c5b04493d9d37211f0c6ee8fc4f9ddacc2cd3fc5d18d50b6ae37c6f",
    0x004E: "8cd91a35424473695631d80a256cdf8a55efba191795d6f11c9ec52c6e1c7388",
}
"""SHA-256 of each file."""

every_suite = pytest.mark.parametrize("number", SUITES)


@cache
def kept(number: int) -> Any:
    return json.loads(make_state_fixture.file_of(number, 1).read_bytes())


def entries(values: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: None if value is None else b64decode(value) for name, value in values.items()}


def signer(number: int, value: Mapping[str, Any]) -> SignatureKeyPair:
    return suite(number).signature_key(b64decode(value["signer"]))


def read(number: int, value: Mapping[str, Any]) -> Group:
    """The group that was stored; it must be what it was."""
    group = Group.from_entries(entries(value["entries"]), signer(number, value))
    is_as_expected(group, value["expected"])
    return group


def is_as_expected(group: Group, expected: Mapping[str, Any]) -> None:
    assert make_state_fixture.expected(group) == expected


def process(number: int, group: Group, message: str) -> Any:
    psks = {b64decode(name): b64decode(psk) for name, psk in kept(number)["psk"].items()}
    return group.process(
        b64decode(message), identity=ACCEPT_ALL, now=kept(number)["now"], psks=psks
    )


@every_suite
def test_the_file_itself_never_changes(number: int) -> None:
    data = make_state_fixture.file_of(number, 1).read_bytes()
    assert hashlib.sha256(data).hexdigest() == FOREVER[number]


@every_suite
def test_the_file_holds_what_can_be_stored(number: int) -> None:
    waiting = kept(number)["waiting"]["amelie"]["entries"]
    kinds = {name.split("/")[0] for name in waiting}
    assert kinds == {"group", "secrets", "private", "tree", "keys", "past", "proposal"}
    assert {name.split("/")[2] for name in waiting if name.startswith("keys/")} == {
        "node",
        "ratchet",
        "skipped",
    }
    nodes = {int(name.split("/")[1]) for name in waiting if name.startswith("tree/")}
    assert set(range(max(nodes))) - nodes, "a node is blank"
    assert len([name for name in waiting if name.startswith("past/")]) == 5
    assert len([name for name in waiting if name.startswith("proposal/")]) == 3


@every_suite
@pytest.mark.parametrize("when", ["quiet", "waiting"])
@pytest.mark.parametrize("name", ["amelie", "bruno"])
def test_a_stored_group_is_read_and_stored_again_as_it_was(
    number: int, when: str, name: str
) -> None:
    value = kept(number)[when][name]
    group = read(number, value)
    stored_again = group.entries()
    assert Group.from_entries(stored_again, group.signer) == group
    if FORMAT == 1:
        assert stored_again == entries(value["entries"])


@every_suite
def test_late_and_overtaken_messages_open_once(number: int) -> None:
    """Of removed members and past epochs, with keys put by, and those that just come."""
    group = read(number, kept(number)["quiet"]["amelie"])
    for sent in kept(number)["late"] + kept(number)["current"]:
        received = process(number, group, sent["message"])
        assert isinstance(received, ApplicationReceived)
        assert received.data == b64decode(sent["data"])
        group = received.group
        with pytest.raises(GenerationError):
            process(number, group, sent["message"])


@every_suite
def test_two_members_read_from_the_files_understand_each_other(number: int) -> None:
    amelie, bruno = (read(number, kept(number)["quiet"][name]) for name in ("amelie", "bruno"))
    for _ in range(2):
        sealed = amelie.seal("Température relevée à midi".encode())
        received = process(number, bruno, _text(sealed.message))
        assert isinstance(received, ApplicationReceived)
        assert received.data.decode() == "Température relevée à midi"
        amelie, bruno = received.group, sealed.group  # the other one writes next


@every_suite
def test_a_commit_over_stored_proposals_is_processed(number: int) -> None:
    """It takes up an Add and a Remove by reference, our own Update, and three pre-shared keys."""
    group = read(number, kept(number)["waiting"]["amelie"])
    commit = kept(number)["other_commit"]
    received = process(number, group, commit["message"])
    assert isinstance(received, CommitReceived)
    assert received.group.epoch_authenticator == b64decode(commit["authenticator"])
    assert [len(part) for part in (received.added, received.removed)] == [1, 1]
    assert group.own_leaf in {member.leaf for member in received.updated}


@every_suite
def test_an_own_commit_that_waited_is_taken_over_and_followed(number: int) -> None:
    own = kept(number)["own_commit"]
    amelie, bruno = (read(number, kept(number)["waiting"][name]) for name in ("amelie", "bruno"))
    merged = amelie.following(entries(own["changes"])).merged(amelie).group
    is_as_expected(merged, own["expected"])

    received = process(number, bruno, own["message"])
    assert isinstance(received, CommitReceived)
    newcomer = kept(number)["newcomer"]
    joined = Group.join(
        b64decode(own["welcome"]),
        decode(KeyPackage, b64decode(newcomer["key_package"])),
        KeyPackageSecrets.decode(b64decode(newcomer["secrets"])),
        signer(number, newcomer),
        identity=ACCEPT_ALL,
        now=kept(number)["now"],
    ).group
    is_as_expected(joined, newcomer["expected"])

    sealed = merged.seal(b"to all")
    for group in (received.group, joined):
        opened = process(number, group, _text(sealed.message))
        assert isinstance(opened, ApplicationReceived)
        assert opened.data == b"to all"


@every_suite
def test_a_group_at_its_beginning_and_one_at_its_end(number: int) -> None:
    young = read(number, kept(number)["young"])
    assert young.epoch == 0
    made = young.commit(identity=ACCEPT_ALL, now=kept(number)["now"])
    assert made.group.merged(made.sent).group.epoch == 1
    closed = read(number, kept(number)["closed"])
    assert closed.reinit is not None
    with pytest.raises(UsageError):
        closed.seal(b"too late")


def _text(data: bytes) -> str:
    return make_state_fixture.text(data)


def test_a_file_is_never_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    before = [make_state_fixture.file_of(number).read_bytes() for number in SUITES]
    make_state_fixture.main()
    assert [make_state_fixture.file_of(number).read_bytes() for number in SUITES] == before
    assert capsys.readouterr().err.count("stays as it was") == len(SUITES)
