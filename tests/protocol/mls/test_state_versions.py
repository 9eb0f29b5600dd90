"""Groups as any version stored them are read for ever: nobody may be left with a dead vault.

The files were made once by `make_state_fixture` and never change. What is tested here uses nothing
but what they hold and the library's public face.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

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

Which: TypeAlias = tuple[int, int]

FOREVER = {
    (1, 0x0001): "9622f9842e1ac01fbe9423781aadf9250974515aeafe3e7736da0540bf5ee8d7",
    (1, 0x0003): "89a7beb15537be72b35323cb466cc6ed61eb852f8aa7d8bdf25478d71563bfb4",
    (2, 0x0001): "7c5490086bb1cb4606a89b063ee3d59315f6996c209752c053c5852324b69048",
    (2, 0x0003): "e5dceef4e01841f622fb65eb79d3d5c51d08e01ef72d0578fc663d540d6f9803",
    (2, 0x004E): "e6c21e10586ce67d40bd287be4c2fc490a57b1d138d09137c6c33b6ca57916f7",
}
"""SHA-256 of each file, by version of the format and suite."""

every_file = pytest.mark.parametrize(
    "which", FOREVER, ids=lambda which: f"v{which[0]}-{which[1]:04x}"
)


@cache
def kept(which: Which) -> Any:
    version, number = which
    return json.loads(make_state_fixture.file_of(number, version).read_bytes())


def entries(values: Mapping[str, str | None]) -> dict[str, Any]:
    return {name: None if value is None else b64decode(value) for name, value in values.items()}


def signer(which: Which, value: Mapping[str, Any]) -> SignatureKeyPair:
    return suite(which[1]).signature_key(b64decode(value["signer"]))


def read(which: Which, value: Mapping[str, Any]) -> Group:
    """The group that was stored; it must be what it was."""
    group = Group.from_entries(entries(value["entries"]), signer(which, value))
    is_as_expected(group, value["expected"])
    return group


def is_as_expected(group: Group, expected: Mapping[str, Any]) -> None:
    assert make_state_fixture.expected(group) == expected


def process(which: Which, group: Group, message: str) -> Any:
    psks = {b64decode(name): b64decode(psk) for name, psk in kept(which)["psk"].items()}
    return group.process(b64decode(message), identity=ACCEPT_ALL, now=kept(which)["now"], psks=psks)


@every_file
def test_the_file_itself_never_changes(which: Which) -> None:
    data = make_state_fixture.file_of(which[1], which[0]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == FOREVER[which]


@every_file
def test_the_file_holds_what_can_be_stored(which: Which) -> None:
    waiting = kept(which)["waiting"]["amelie"]["entries"]
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


@every_file
@pytest.mark.parametrize("when", ["quiet", "waiting"])
@pytest.mark.parametrize("name", ["amelie", "bruno"])
def test_a_stored_group_is_read_and_stored_again_as_it_was(
    which: Which, when: str, name: str
) -> None:
    value = kept(which)[when][name]
    group = read(which, value)
    stored_again = group.entries()
    assert Group.from_entries(stored_again, group.signer) == group
    if which[0] == FORMAT:
        assert stored_again == entries(value["entries"])


@every_file
def test_late_and_overtaken_messages_open_once(which: Which) -> None:
    """Of removed members and past epochs, with keys put by, and those that just come."""
    group = read(which, kept(which)["quiet"]["amelie"])
    for sent in kept(which)["late"] + kept(which)["current"]:
        received = process(which, group, sent["message"])
        assert isinstance(received, ApplicationReceived)
        assert received.data == b64decode(sent["data"])
        group = received.group
        with pytest.raises(GenerationError):
            process(which, group, sent["message"])


@every_file
def test_two_members_read_from_the_files_understand_each_other(which: Which) -> None:
    amelie, bruno = (read(which, kept(which)["quiet"][name]) for name in ("amelie", "bruno"))
    for _ in range(2):
        sealed = amelie.seal("Température relevée à midi".encode())
        received = process(which, bruno, _text(sealed.message))
        assert isinstance(received, ApplicationReceived)
        assert received.data.decode() == "Température relevée à midi"
        amelie, bruno = received.group, sealed.group  # the other one writes next


@every_file
def test_a_commit_over_stored_proposals_is_processed(which: Which) -> None:
    """It takes up an Add and a Remove by reference, our own Update, and three pre-shared keys."""
    group = read(which, kept(which)["waiting"]["amelie"])
    commit = kept(which)["other_commit"]
    received = process(which, group, commit["message"])
    assert isinstance(received, CommitReceived)
    assert received.group.epoch_authenticator == b64decode(commit["authenticator"])
    assert [len(part) for part in (received.added, received.removed)] == [1, 1]
    assert group.own_leaf in {member.leaf for member in received.updated}


@every_file
def test_an_own_commit_that_waited_is_taken_over_and_followed(which: Which) -> None:
    own = kept(which)["own_commit"]
    amelie, bruno = (read(which, kept(which)["waiting"][name]) for name in ("amelie", "bruno"))
    if which[0] == 1:
        following = Group.from_entries(entries(own["entries"]), amelie.signer)
    else:
        following = amelie.following(entries(own["changes"]))
    merged = following.merged(amelie).group
    is_as_expected(merged, own["expected"])

    received = process(which, bruno, own["message"])
    assert isinstance(received, CommitReceived)
    newcomer = kept(which)["newcomer"]
    joined = Group.join(
        b64decode(own["welcome"]),
        decode(KeyPackage, b64decode(newcomer["key_package"])),
        KeyPackageSecrets.decode(b64decode(newcomer["secrets"])),
        signer(which, newcomer),
        identity=ACCEPT_ALL,
        now=kept(which)["now"],
    ).group
    is_as_expected(joined, newcomer["expected"])

    sealed = merged.seal(b"to all")
    for group in (received.group, joined):
        opened = process(which, group, _text(sealed.message))
        assert isinstance(opened, ApplicationReceived)
        assert opened.data == b"to all"


@every_file
def test_a_group_at_its_beginning_and_one_at_its_end(which: Which) -> None:
    young = read(which, kept(which)["young"])
    assert young.epoch == 0
    made = young.commit(identity=ACCEPT_ALL, now=kept(which)["now"])
    assert made.group.merged(made.sent).group.epoch == 1
    closed = read(which, kept(which)["closed"])
    assert closed.reinit is not None
    with pytest.raises(UsageError):
        closed.seal(b"too late")


def _text(data: bytes) -> str:
    return make_state_fixture.text(data)


def test_a_file_is_never_made_again(capsys: pytest.CaptureFixture[str]) -> None:
    suites = make_state_fixture.SUITES
    before = [make_state_fixture.file_of(number).read_bytes() for number in suites]
    make_state_fixture.main()
    assert [make_state_fixture.file_of(number).read_bytes() for number in suites] == before
    assert capsys.readouterr().err.count("stays as it was") == len(suites)


@every_file
def test_what_changes_is_written_in_the_newest_version(which: Which) -> None:
    """Entries of two versions lie beside each other, and are read as one group."""
    value = kept(which)["quiet"]["amelie"]
    stored, group = entries(value["entries"]), read(which, value)
    for _ in range(2):
        sealed = group.seal(b"text")
        stored |= sealed.changes
        group = sealed.group
    made = group.commit(identity=ACCEPT_ALL, now=kept(which)["now"])
    for changes in (made.changes_sent, made.group.merged(made.sent).changes):
        stored |= changes
    stored = {name: data for name, data in stored.items() if data is not None}
    assert {data[0] for data in stored.values()} == {which[0], FORMAT}
    assert Group.from_entries(stored, group.signer) == made.group.merged(made.sent).group
