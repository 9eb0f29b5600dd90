"""What mls-rs's bindings cannot do: each limit that the peer's features name, seen to be there.

A limit that is gone (these tests fail then) can be taken out of `mls_rs_peer.FEATURES`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pli_protocol.mls import KeyPackage, MLSMessage, decode

from .process import DriverProcess, Failed, two_drivers
from .table import Table

pytestmark = [pytest.mark.processes, pytest.mark.needs_mls_rs]


class Pair:
    """a, b of ours and m, n of mls-rs, all in one group that a founded."""

    def __init__(self, drivers: list[DriverProcess]) -> None:
        ours, theirs = (Table(driver) for driver in drivers)
        theirs.number, theirs.group = ours.number, ours.group
        self.at = {"a": ours, "b": ours, "m": theirs, "n": theirs}
        for name, table in self.at.items():
            table.client(name)
        ours.ok("create_group", "a")
        packages = [self.at[name].package(name) for name in "bmn"]
        made = ours.ok("add", "a", key_packages=packages)
        ours.ok("merge", "a")
        for name in "bmn":
            self.at[name].join(name, made)

    def settle(self, by: str, commit: str) -> None:
        self.at[by].ok("merge", by)
        for name, table in self.at.items():
            if name != by:
                table.process(name, commit)


@pytest.fixture(scope="module")
def drivers() -> Iterator[list[DriverProcess]]:
    with two_drivers(live=True) as processes:
        yield processes


@pytest.fixture
def pair(drivers: list[DriverProcess]) -> Pair:
    return Pair(drivers)


def test_all_four_are_in_one_group(pair: Pair) -> None:
    seen = [table.ok("epoch", name)["authenticator"] for name, table in pair.at.items()]
    assert len(set(seen)) == 1


def test_handshakes_leave_as_public_messages_only(pair: Pair) -> None:
    with pytest.raises(Failed) as failed:
        pair.at["m"].ok("commit_update", "m", wire="private")
    assert failed.value.reply["unsupported"] is True


@pytest.mark.parametrize("op", ["external_join", "group_info", "psk_register", "commit_psk"])
def test_what_the_bindings_lack_is_unsupported(pair: Pair, op: str) -> None:
    with pytest.raises(Failed) as failed:
        pair.at["m"].ok(op, "m")
    assert failed.value.reply["unsupported"] is True


def test_a_commit_with_a_pre_shared_key_is_not_understood(pair: Pair) -> None:
    made = pair.at["a"].ok("commit_psk", "a", psk_id="01", psk="02" * 32)
    assert pair.at["m"].refused("process", "m", message=made["commit"])


def test_a_message_of_a_sender_removed_since_is_lost(pair: Pair) -> None:
    message = pair.at["n"].send("n", "0e")
    made = pair.at["a"].ok("remove", "a", identities=[b"n".hex()])
    pair.settle("a", made["commit"])
    assert pair.at["a"].process("a", message)["plaintext"] == "0e"
    assert pair.at["m"].refused("process", "m", message=message)


def test_an_application_message_waits_until_proposals_are_committed(pair: Pair) -> None:
    proposal = pair.at["a"].ok("propose_remove", "a", identity=b"b".hex())["proposal"]
    pair.at["m"].process("m", proposal)
    assert "commit" in pair.at["m"].refused("send", "m", plaintext="00")


def test_key_packages_live_a_year(pair: Pair) -> None:
    features = pair.at["m"].driver.call("info")["features"]
    package = decode(MLSMessage, bytes.fromhex(pair.at["m"].package("m"))).body
    assert isinstance(package, KeyPackage)
    lifetime = package.leaf_node.lifetime
    assert lifetime is not None
    assert (lifetime.not_after - lifetime.not_before) // 86400 == features["kp_days"]
