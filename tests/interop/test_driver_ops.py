"""Each op of the driver and each field it may have, over a real process, in every suite where it matters."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
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
    decode,
    encode,
    generate_key_package,
    suite,
)
from pli_protocol.mls.extension import ExtensionType, find_extension

from .process import DriverProcess
from .table import Table

pytestmark = pytest.mark.processes
DAY = 86400
GREASE = {0x0A0A + 0x1010 * n for n in range(15)}


@pytest.fixture(scope="module")
def driver() -> Iterator[DriverProcess]:
    with DriverProcess() as process:
        yield process


@pytest.fixture
def table(driver: DriverProcess) -> Table:
    return Table(driver)


def body(data: str) -> Any:
    return decode(MLSMessage, bytes.fromhex(data)).body


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


# The tree


def test_the_tree_lies_beside_the_welcome_when_the_request_says_so(table: Table) -> None:
    table.found("a", "b")
    table.client("c")
    made = table.ok("add", "a", key_packages=[table.package("c")], tree_ext=False)
    table.settle("a", made, "b")
    assert made["tree"] == table.ok("tree", "a")["tree"]
    table.refused("join", "c", welcome=made["welcome"])
    table.join("c", made)
    table.agree(*"abc")


def test_the_tree_is_in_the_welcome_otherwise(table: Table) -> None:
    table.found("a")
    table.client("b")
    made = table.ok("add", "a", key_packages=[table.package("b")])
    assert "tree" not in made
    assert find_extension(body(made["group_info"]).extensions, ExtensionType.RATCHET_TREE)


@pytest.mark.parametrize(("asked", "beside"), [(None, True), (False, True), (True, False)])
def test_a_client_has_a_habit_that_a_request_overrules(
    table: Table, asked: bool | None, beside: bool
) -> None:
    table.client("a", tree_ext=False)
    table.client("b")
    table.ok("create_group", "a")
    info = table.ok("group_info", "a", tree_ext=asked)
    assert ("tree" in info) is beside
    made = table.ok("add", "a", key_packages=[table.package("b")], tree_ext=asked)
    assert ("tree" in made) is beside
    table.settle("a", made)
    table.join("b", made)


@pytest.mark.parametrize("tree_ext", [True, False])
def test_a_group_info_serves_an_external_join(table: Table, tree_ext: bool) -> None:
    table.found("a", "b")
    table.client("c")
    info = table.ok("group_info", "b", tree_ext=tree_ext)
    extensions = body(info["group_info"]).extensions
    assert (find_extension(extensions, ExtensionType.RATCHET_TREE) is None) is not tree_ext
    assert find_extension(extensions, ExtensionType.EXTERNAL_PUB)
    tree = {} if tree_ext else {"tree": info["tree"]}
    if tree:
        table.refused("external_join", "c", group_info=info["group_info"])
    joined = table.ok("external_join", "c", group_info=info["group_info"], **tree)
    assert joined["group"] == table.group
    assert isinstance(body(joined["commit"]), PublicMessage)
    for name in "ab":
        assert table.process(name, joined["commit"])["kind"] == "commit"
    table.agree(*"abc")


# Coming back


def removed(table: Table) -> None:
    """a, b and c; then c is removed, and two epochs pass."""
    table.found("a", "b", "c")
    made = table.ok("remove", "a", identities=[b"c".hex()])
    table.settle("a", made, "b")
    assert table.process("c", made["commit"])["kind"] == "removed"
    table.update("b", "a")


def test_who_was_removed_joins_the_same_group_again(table: Table) -> None:
    removed(table)
    table.add("b", "c", others=("a",))
    table.agree(*"abc")
    table.update("c", "a", "b")


def test_who_was_removed_enters_the_same_group_by_a_commit(table: Table) -> None:
    removed(table)
    info = table.ok("group_info", "a")["group_info"]
    joined = table.ok("external_join", "c", group_info=info)
    for name in "ab":
        table.process(name, joined["commit"])
    table.agree(*"abc")


def test_a_member_that_lost_its_state_takes_its_former_place(table: Table) -> None:
    table.found("a", "b", "c")
    info = table.ok("group_info", "a")["group_info"]
    # With the keys it had, and once more with none but its identity.
    for fresh in (False, True):
        if fresh:
            table.client("b")
            info = table.ok("group_info", "c")["group_info"]
        joined = table.ok("external_join", "b", group_info=info, resync=True)
        for name in "ac":
            assert table.process(name, joined["commit"])["kind"] == "commit"
        table.agree(*"abc")
        assert len(table.ok("members", "a")["members"]) == 3


def test_a_key_package_serves_once(table: Table) -> None:
    removed(table)
    package = table.package("c")
    made = table.settle("a", table.ok("add", "a", key_packages=[package]), "b")
    table.join("c", made)
    assert "key packages" in table.refused("join", "c", welcome=made["welcome"])


# Messages


def test_every_kind_of_message_is_named(table: Table) -> None:
    table.found("a", "b", "c")
    got = table.process("b", table.send("a", "c0ffee"))
    assert (got["kind"], got["plaintext"], got["sender"]) == ("application", "c0ffee", b"a".hex())
    assert table.process("c", table.send("a", ""))["plaintext"] == ""
    assert table.ok("receive", "c", message=table.send("b", "01"))["plaintext"] == "01"
    proposal = table.ok("propose_remove", "b", identity=b"c".hex())["proposal"]
    assert table.process("a", proposal)["kind"] == "proposal"
    made = table.ok("commit_update", "a")
    table.ok("merge", "a")
    assert table.process("b", made["commit"])["kind"] == "commit"


def test_a_message_is_opened_once_and_never_by_its_sender(table: Table) -> None:
    table.found("a", "b")
    message = table.send("a")
    table.process("b", message)
    table.refused("process", "b", message=message)
    table.refused("process", "a", message=message)
    damaged = message[:-2] + f"{int(message[-2:], 16) ^ 1:02x}"
    table.refused("process", "b", message=damaged)
    table.refused("process", "b", message=table.package("a"))
    table.agree("a", "b")


def test_an_older_message_is_opened_after_sixty_four_later_ones(table: Table) -> None:
    table.found("a", "b")
    messages = [table.send("a", f"{n:02x}") for n in range(65)]
    for n in (*range(1, 65), 0):
        assert table.process("b", messages[n])["plaintext"] == f"{n:02x}"


def test_messages_of_the_last_five_epochs_are_opened(table: Table) -> None:
    table.found("a", "b", "c")
    lost = table.send("a", "00")
    table.update("c", "a", "b")
    kept = [table.send("a", "01"), table.send("a", "02")]
    for order in ("abc", "bac", "cab", "abc", "bca"):
        table.update(*order)
    assert table.process("b", kept[1])["plaintext"] == "02"
    assert table.process("c", kept[0])["sender"] == b"a".hex()
    assert table.process("b", kept[0])["plaintext"] == "01"
    table.refused("process", "b", message=lost)


@pytest.mark.parametrize("seat", ["b", "c"])
def test_messages_of_a_sender_removed_since_are_opened(table: Table, seat: str) -> None:
    table.found("a", "b", "c")
    other = {"b": "c", "c": "b"}[seat]
    messages = [table.send(seat, "01"), table.send(seat, "02")]
    made = table.ok("remove", "a", identities=[seat.encode().hex()])
    table.settle("a", made, other)
    got = table.process("a", messages[1])
    assert (got["plaintext"], got["sender"]) == ("02", seat.encode().hex())
    # Somebody else takes the leaf.
    table.client("d")
    table.add(other, "d", others=("a",))
    for name in ("a", other):
        assert table.process(name, messages[0])["sender"] == seat.encode().hex()


# Looking


def test_secrets_of_any_label_context_and_length_are_exported(table: Table) -> None:
    table.found("a", "b")
    requests = [
        {"label": "6c6162656c", "context": "00", "length": 32},
        {"label": "", "context": "", "length": 1},
        {"label": "ff80fe", "context": "ff" * 300, "length": 255},
        {"label": b"exporter".hex(), "context": "", "length": 8160},
    ]
    for request in requests:
        secret = table.ok("export_secret", "a", **request)["secret"]
        assert len(secret) == 2 * int(str(request["length"]))
        assert table.ok("export_secret", "b", **request)["secret"] == secret
    table.refused("export_secret", "a", label="", context="", length=10**9)
    table.refused("export_secret", "a", label="", context="", length=-1)


def test_members_are_told_with_their_leaves(table: Table) -> None:
    table.found("a", "b", "c")
    made = table.ok("remove", "c", identities=[b"b".hex()])
    table.settle("c", made, "a")
    members = table.ok("members", "a")["members"]
    assert members == [{"identity": b"a".hex(), "leaf": 0}, {"identity": b"c".hex(), "leaf": 2}]


def test_the_epoch_tells_the_group_context(table: Table) -> None:
    table.found("a", "b")
    reply = table.ok("epoch", "a")
    assert reply["epoch"] == 1
    assert reply["group_context"].startswith("00010001" + "04" + table.group + "0000000000000001")
    assert len(reply["authenticator"]) == 64
    assert reply["group_context"] == reply["group_context"].lower()


def test_the_tree_is_a_bare_ratchet_tree(table: Table) -> None:
    from pli_protocol.mls import RatchetTree

    table.found("a", "b")
    tree = bytes.fromhex(table.ok("tree", "a")["tree"])
    assert encode(decode(RatchetTree, tree)) == tree


def test_what_everybody_supports_may_be_listed_and_required(table: Table) -> None:
    for name in "ab":
        table.client(name, extension_types=[1, 2, 3, 4, 5])
    required = {"extensions": [1, 2, 3, 4, 5], "proposals": [1, 2, 3, 4, 5, 6, 7]}
    table.ok("create_group", "a", required_capabilities=required)
    table.add("a", "b")
    table.agree("a", "b")
