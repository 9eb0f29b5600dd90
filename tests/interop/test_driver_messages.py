"""The driver's ops about the tree, joining, coming back, messages and looking, over a real process."""

from __future__ import annotations

import pytest

from pli_protocol.mls import PublicMessage, RatchetTree, decode, encode
from pli_protocol.mls.extension import ExtensionType, find_extension

from .process import DriverProcess
from .table import Table, body

pytestmark = pytest.mark.processes


@pytest.fixture
def table(driver: DriverProcess) -> Table:
    return Table(driver)


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
    table.found("a", "b")
    tree = bytes.fromhex(table.ok("tree", "a")["tree"])
    assert encode(decode(RatchetTree, tree)) == tree
