"""The driver's ops about clients, groups, commits, proposals and pre-shared keys, over a real process."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from pli_protocol.mls import (
    BasicCredential,
    Capabilities,
    Commit,
    GroupInfo,
    KeyPackage,
    Lifetime,
    MLSMessage,
    PrivateMessage,
    PublicMessage,
    SignatureKeyPair,
    encode,
    generate_key_package,
    suite,
)

from .process import DriverProcess
from .table import Table, body

pytestmark = pytest.mark.processes
DAY = 86400
GREASE = {0x0A0A + 0x1010 * n for n in range(15)}


@pytest.fixture
def table(driver: DriverProcess) -> Table:
    return Table(driver)


def package_by_hand(days: int) -> str:
    """A key package of somebody else's, of a given lifetime."""
    chosen, now = suite(1), int(time.time())
    signer: SignatureKeyPair = chosen.generate_signature_key(os.urandom)
    package, _ = generate_key_package(
        chosen,
        BasicCredential(b"else"),
        signer,
        lifetime=Lifetime(now - 60, now - 60 + days * DAY),
        capabilities=Capabilities(cipher_suites=(1,), credentials=(1, 2)),
    )
    return encode(MLSMessage(package)).hex()


# Clients and key packages


def test_key_packages_live_sixty_days_and_list_basic_and_x509(table: Table) -> None:
    table.client("a", identity="ff00fe")
    package = body(table.package("a"))
    assert isinstance(package, KeyPackage)
    lifetime = package.leaf_node.lifetime
    assert lifetime is not None
    now = int(time.time())
    assert lifetime.not_before <= now - 60
    assert abs(lifetime.not_after - (now + 60 * DAY)) < DAY
    assert {1, 2} <= set(package.leaf_node.capabilities.credentials)
    assert package.leaf_node.credential == BasicCredential(b"\xff\x00\xfe")


def test_key_packages_carry_grease_when_it_is_asked_for(table: Table) -> None:
    table.client("a")
    plain, greased = body(table.package("a")), body(table.package("a", grease=True))

    def found(package: KeyPackage) -> list[int]:
        listed = package.leaf_node.capabilities
        seen = [*listed.cipher_suites, *listed.extensions, *listed.proposals, *listed.credentials]
        seen += [one.extension_type for one in (*package.extensions, *package.leaf_node.extensions)]
        return [number for number in seen if number in GREASE]

    assert found(plain) == []
    assert len(found(greased)) == 6


def test_a_greased_member_joins_and_is_a_member_like_others(table: Table) -> None:
    table.found("a")
    table.client("b")
    made = table.ok("add", "a", key_packages=[table.package("b", grease=True)])
    table.settle("a", made)
    table.join("b", made)
    table.update("b", "a")
    table.agree("a", "b")


@pytest.mark.parametrize("days", [1, 60, 366])
def test_lifetimes_up_to_366_days_are_accepted(table: Table, days: int) -> None:
    table.found("a")
    assert table.ok("add", "a", key_packages=[package_by_hand(days)])["welcome"]


def test_lifetimes_of_many_years_are_refused(table: Table) -> None:
    table.found("a")
    table.refused("add", "a", key_packages=[package_by_hand(5 * 366)])


def test_a_new_client_of_an_old_name_starts_afresh(table: Table) -> None:
    table.found("a")
    table.client("a")
    table.refused("epoch", "a")


# Groups


def test_a_group_may_have_extensions_and_require_capabilities(table: Table) -> None:
    for name, types in (("a", [0xF123, 0xF124]), ("b", [0xF124, 0xF123]), ("c", [])):
        table.client(name, extension_types=types)
    table.ok(
        "create_group",
        "a",
        extensions=[[0xF123, "0102"], [0xF124, ""]],
        required_capabilities={"extensions": [0xF124], "proposals": []},
    )
    context = bytes.fromhex(table.ok("epoch", "a")["group_context"])
    assert b"\xf1\x23\x02\x01\x02" in context
    table.refused("add", "a", key_packages=[table.package("c")])
    table.add("a", "b")
    table.agree("a", "b")


def test_x509_capable_members_may_be_required(table: Table) -> None:
    table.client("a")
    table.ok("create_group", "a", required_capabilities={"credentials": [2]})
    table.client("b")
    table.add("a", "b")
    table.agree("a", "b")


def test_a_group_cannot_require_what_its_founder_lacks(table: Table) -> None:
    table.client("a")
    required = {"extensions": [0xF125], "proposals": []}
    table.refused("create_group", "a", required_capabilities=required)
    table.refused("create_group", "a", required_capabilities={"proposals": [0xF126]})
    table.refused("create_group", "a", extensions=[[0xF127, "00"]])


def test_a_client_may_be_in_many_groups(table: Table) -> None:
    table.found("a", "b")
    table.ok("create_group", "a", group="beef")
    package = table.package("b")
    made = table.ok("add", "a", group="beef", key_packages=[package])
    table.ok("merge", "a", group="beef")
    assert table.ok("join", "b", welcome=made["welcome"])["group"] == "beef"
    assert table.ok("epoch", "b", group="beef")["epoch"] == 1
    table.update("a", "b")
    table.agree("a", "b")
    assert table.ok("epoch", "b", group="beef")["epoch"] == 1
    message = table.ok("send", "b", group="beef", plaintext="07")["message"]
    table.refused("process", "a", message=message)
    assert table.ok("process", "a", group="beef", message=message)["plaintext"] == "07"


def test_what_everybody_supports_may_be_listed_and_required(table: Table) -> None:
    for name in "ab":
        table.client(name, extension_types=[1, 2, 3, 4, 5])
    required = {"extensions": [1, 2, 3, 4, 5], "proposals": [1, 2, 3, 4, 5, 6, 7]}
    table.ok("create_group", "a", required_capabilities=required)
    table.add("a", "b")
    table.agree("a", "b")


# Commits


@pytest.mark.parametrize("number", [1, 3, 78])
def test_members_join_agree_and_read_each_other(driver: DriverProcess, number: int) -> None:
    table = Table(driver, number)
    table.found("a", "b", "c")
    table.agree("a", "b", "c")
    table.update("b", "a", "c")
    made = table.ok("remove", "c", identities=[b"a".hex()])
    table.settle("c", made, "b")
    assert table.process("a", made["commit"])["kind"] == "removed"
    table.agree("b", "c")


def test_one_commit_adds_several_with_one_welcome(table: Table) -> None:
    for name in "abcd":
        table.client(name)
    table.ok("create_group", "a")
    made = table.ok("add", "a", key_packages=[table.package(name) for name in "bcd"])
    assert {"commit", "welcome", "group_info"} <= set(made)
    assert isinstance(body(made["group_info"]), GroupInfo)
    table.settle("a", made)
    for name in "bcd":
        table.join(name, made)
    table.agree(*"abcd")


def test_one_commit_removes_several(table: Table) -> None:
    table.found(*"abcd")
    made = table.ok("remove", "a", identities=[b"b".hex(), b"d".hex()])
    assert "welcome" not in made
    table.settle("a", made, "c")
    for name in "bd":
        assert table.process(name, made["commit"])["kind"] == "removed"
        table.refused("epoch", name)
        table.refused("send", name, plaintext="00")
    table.agree("a", "c")


@pytest.mark.parametrize("op", ["add", "remove"])
def test_a_commit_about_nobody_is_refused(table: Table, op: str) -> None:
    table.found("a", "b")
    table.refused(op, "a")
    table.refused(op, "a", key_packages=[], identities=[])


def test_nobody_removes_a_stranger_or_himself(table: Table) -> None:
    table.found("a", "b")
    table.refused("remove", "a", identities=[b"z".hex()])
    table.refused("remove", "a", identities=[b"a".hex()])
    table.agree("a", "b")


def test_an_update_is_an_empty_commit_with_a_path(table: Table) -> None:
    table.found("a", "b")
    made = table.ok("commit_update", "a", wire="public")
    content = body(made["commit"]).content.content
    assert isinstance(content, Commit)
    assert content.proposals == ()
    assert content.path is not None


@pytest.mark.parametrize(("wire", "form"), [("public", PublicMessage), ("private", PrivateMessage)])
def test_handshakes_travel_as_the_request_says(table: Table, wire: str, form: type) -> None:
    table.found("a", "b")
    table.client("c")
    proposal = table.ok("propose_add", "b", key_package=table.package("c"), wire=wire)["proposal"]
    assert isinstance(body(proposal), form)
    assert table.process("a", proposal)["kind"] == "proposal"
    made = table.ok("commit_pending", "a", wire=wire)
    assert isinstance(body(made["commit"]), form)
    table.settle("a", made, "b")
    table.join("c", made)
    proposal = table.ok("propose_remove", "a", identity=b"c".hex(), wire=wire)["proposal"]
    assert isinstance(body(proposal), form)
    requests: list[tuple[str, dict[str, Any]]] = [
        ("add", {"key_packages": [package_by_hand(60)]}),
        ("remove", {"identities": [b"c".hex()]}),
        ("commit_update", {}),
        ("commit_psk", {"psk_id": "01", "psk": "02" * 32}),
    ]
    for op, fields in requests:
        assert isinstance(body(table.ok(op, "b", wire=wire, **fields)["commit"]), form)
        table.ok("discard", "b")


def test_another_wire_format_is_refused(table: Table) -> None:
    table.found("a", "b")
    table.refused("commit_update", "a", wire="postcard")


# Merging


def test_nothing_changes_until_a_commit_is_merged(table: Table) -> None:
    table.found("a", "b")
    before = table.ok("epoch", "a")["authenticator"]
    table.ok("commit_update", "a")
    assert table.ok("epoch", "a")["authenticator"] == before
    table.ok("merge", "a")
    assert table.ok("epoch", "a")["epoch"] == 2


def test_a_discarded_commit_leaves_the_epoch_as_it_was(table: Table) -> None:
    table.found("a", "b", "c")
    won, lost = table.ok("commit_update", "a"), table.ok("commit_update", "b")
    table.ok("discard", "b")
    table.settle("a", won, "b", "c")
    for name in "ac":
        table.refused("process", name, message=lost["commit"])
    table.agree(*"abc")
    table.update("b", "a", "c")


def test_the_winners_commit_takes_the_place_of_a_pending_one(table: Table) -> None:
    table.found("a", "b")
    won, _ = table.ok("commit_update", "a"), table.ok("commit_update", "b")
    table.settle("a", won, "b")
    table.refused("merge", "b")
    table.agree("a", "b")


def test_without_a_pending_commit_there_is_nothing_to_merge_or_discard(table: Table) -> None:
    table.found("a", "b")
    for op in ("merge", "discard"):
        assert "no commit is pending" in table.refused(op, "a")
    table.ok("commit_update", "a")
    table.ok("merge", "a")
    for op in ("merge", "discard"):
        table.refused(op, "a")


def test_a_message_that_came_before_the_merge_cannot_come_again(table: Table) -> None:
    table.found("a", "b")
    table.ok("commit_update", "a")
    message = table.send("b", "0b")
    assert table.process("a", message)["plaintext"] == "0b"
    table.ok("merge", "a")
    table.refused("process", "a", message=message)


# Proposals


def test_a_proposer_keeps_its_own_proposal(table: Table) -> None:
    table.found("a", "b", "c")
    proposal = table.ok("propose_remove", "a", identity=b"c".hex())["proposal"]
    for name in "bc":
        assert table.process(name, proposal)["kind"] == "proposal"
    made = table.ok("commit_pending", "a")
    table.settle("a", made, "b")
    assert table.process("c", made["commit"])["kind"] == "removed"
    table.agree("a", "b")


def test_another_commits_the_proposals_of_many(table: Table) -> None:
    table.found(*"abcd")
    table.client("e")
    proposals = [
        ("a", table.ok("propose_add", "a", key_package=table.package("e"))["proposal"]),
        ("d", table.ok("propose_remove", "d", identity=b"b".hex())["proposal"]),
        ("b", table.ok("propose_remove", "b", identity=b"d".hex())["proposal"]),
    ]
    for proposer, proposal in reversed(proposals):
        for name in "abcd":
            if name != proposer:
                table.process(name, proposal)
    made = table.ok("commit_pending", "c", tree_ext=False)
    assert {"welcome", "tree"} <= set(made)
    table.settle("c", made, "a")
    for name in "bd":
        assert table.process(name, made["commit"])["kind"] == "removed"
    table.join("e", made)
    table.agree("a", "c", "e")


def test_a_commit_by_value_leaves_out_what_was_proposed(table: Table) -> None:
    table.found("a", "b")
    table.client("c")
    proposal = table.ok("propose_add", "b", key_package=table.package("c"))["proposal"]
    table.process("a", proposal)
    table.update("a", "b")
    assert len(table.ok("members", "b")["members"]) == 2
    table.refused("process", "a", message=proposal)


def test_a_member_that_holds_a_proposal_may_send(table: Table) -> None:
    table.found("a", "b")
    table.client("c")
    proposal = table.ok("propose_add", "b", key_package=table.package("c"))["proposal"]
    table.process("a", proposal)
    for name, other in (("a", "b"), ("b", "a")):
        assert table.process(other, table.send(name, "0a"))["plaintext"] == "0a"


# Pre-shared keys


def test_a_pre_shared_key_is_mixed_in_by_those_who_have_it(table: Table) -> None:
    table.found("a", "b", "c")
    psk = {"psk_id": "aabb", "psk": "05" * 32}
    table.ok("psk_register", "b", **psk)
    made = table.ok("commit_psk", "a", **psk)
    table.settle("a", made, "b")
    before = table.ok("epoch", "c")
    table.refused("process", "c", message=made["commit"])
    assert table.ok("epoch", "c")["authenticator"] == before["authenticator"]
    table.ok("psk_register", "c", **psk)
    table.process("c", made["commit"])
    table.agree("a", "b", "c")


def test_a_registered_key_need_not_be_given_again(table: Table) -> None:
    table.found("a", "b")
    for name in "ab":
        table.ok("psk_register", name, psk_id="01", psk="06" * 32)
    table.settle("a", table.ok("commit_psk", "a", psk_id="01"), "b")
    table.agree("a", "b")
    table.refused("commit_psk", "a", psk_id="02")


def test_another_key_of_the_same_name_does_not_fit(table: Table) -> None:
    table.found("a", "b")
    table.ok("psk_register", "b", psk_id="01", psk="07" * 32)
    made = table.ok("commit_psk", "a", psk_id="01", psk="08" * 32)
    table.refused("process", "b", message=made["commit"])
