"""What is measured, and how: ours and the peer's in turns, each round on a state of its own."""

from __future__ import annotations

import gc
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any, TypeVar

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    BasicCredential,
    CipherSuite,
    Group,
    Remove,
)

from .floor import floor
from .people import NOW, Newcomer, People, fresh_group, key_package, pairs, received, warm_group
from .peer import Peer

T = TypeVar("T")
Row = dict[str, Any]

SIZE = 1024
MESSAGES = 100
MESSAGE_OPS = ("seal", "open")
FRESH_OPS = ("update_fresh_commit", "update_fresh_receive", "join_fresh")
WARM_OPS = (
    "update_warm_commit",
    "update_warm_receive",
    "add_commit",
    "add_receive",
    "join",
    "remove_commit",
    "remove_receive",
    "add_path_commit",
    "add_path_receive",
    "external_commit",
    "external_receive",
)


@dataclass
class Samples:
    """Microseconds by operation, ours and the peer's, and the sizes of what was sent."""

    ours: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    turns: int = 0

    def both(
        self, op: str, ours: Callable[[], T], peer: Callable[[], Any] | None
    ) -> tuple[T, Any]:
        """Time both, in turns which one first; the two results."""
        self.turns += 1
        theirs = None
        if peer is not None and self.turns % 2:
            theirs = _timed(self.peers[op], peer)
        result = _timed(self.ours[op], ours)
        if peer is not None and not self.turns % 2:
            theirs = _timed(self.peers[op], peer)
        return result, theirs

    def rows(self, suite: CipherSuite, members: int) -> Iterator[Row]:
        """The medians of the operations, then the sizes."""
        for op, values in self.ours.items():
            row: Row = {"op": op, "suite": suite.number, "members": members}
            row["pli_us"] = round(median(values), 1)
            if op in self.peers:
                row["mls_rs_us"] = round(median(self.peers[op]), 1)
            yield row
        for what, sizes in self.sizes.items():
            yield {"op": f"{what}_bytes", "suite": suite.number, "members": members, **sizes}


def _timed(into: list[float], call: Callable[[], T]) -> T:
    begun = time.perf_counter_ns()
    result = call()
    into.append((time.perf_counter_ns() - begun) / 1000)
    return result


@contextmanager
def _collected() -> Iterator[None]:
    """Like timeit: what another round left for the collector is not this one's cost."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def others(suite: CipherSuite, members: int, with_peer: bool) -> list[Newcomer]:
    """All of a group but the two or four members who are measured."""
    count = members - (4 if with_peer else 2)
    return [Newcomer.make(suite, f"member {n}") for n in range(count)]


# --- sealing and opening ------------------------------------------------------------------------


def measure_messages(
    suite: CipherSuite, members: int, with_peer: bool, rounds: int, messages: int = MESSAGES
) -> Iterator[Row]:
    """1 KiB sealed and opened, medians over rounds of medians over messages."""
    people = (
        pairs(suite)
        if members == 2
        else fresh_group(suite, others(suite, members, with_peer))
    )
    samples, floors = Samples(), defaultdict(list)
    for _ in range(rounds):
        with _collected():
            once = _one_round(people, messages)
        for op in MESSAGE_OPS:
            samples.ours[op].append(median(once.ours[op]))
            if op in once.peers:
                samples.peers[op].append(median(once.peers[op]))
        for op, value in floor(suite, SIZE, 3 * messages).items():
            floors[op].append(value)
        samples.sizes.update(once.sizes)
    for row in samples.rows(suite, members):
        if row["op"] in floors:
            row["floor_us"] = round(median(floors[row["op"]]), 1)
        yield row


def _one_round(people: People, messages: int) -> Samples:
    """So many messages of ours in a row, then of the peer's."""
    samples = Samples()
    data = bytes(range(256)) * (SIZE // 256)
    sent = []
    for _ in range(messages):
        sealed = _timed(samples.ours["seal"], lambda: people.alice.seal(data))
        people.alice = sealed.group
        sent.append(sealed.message)
    samples.sizes["seal"]["pli_bytes"] = len(sent[-1])
    for message in sent:
        opened = _timed(samples.ours["open"], partial(_opened, people.bob, message))
        assert opened.data == data
        people.bob = opened.group
    sealing, opening = people.peer_alice, people.peer_bob
    if sealing is None or opening is None:
        return samples
    sent = [_timed(samples.peers["seal"], lambda: sealing.seal(data)) for _ in range(messages)]
    samples.sizes["seal"]["mls_rs_bytes"] = len(sent[-1])
    for message in sent:
        assert _timed(samples.peers["open"], partial(opening.open, message)) == data
    return samples


def _opened(group: Group, message: bytes) -> ApplicationReceived:
    outcome = group.process(message, identity=ACCEPT_BASIC, now=NOW)
    assert isinstance(outcome, ApplicationReceived)
    return outcome


# --- commits ------------------------------------------------------------------------------------


def measure_fresh(
    suite: CipherSuite, members: int, with_peer: bool, rounds: int
) -> Iterator[Row]:
    """An update where all members were added by one commit; each round in a group of its own."""
    crowd, samples = others(suite, members, with_peer), Samples()
    for _ in range(rounds):
        people = fresh_group(suite, crowd)
        samples.ours["join_fresh"].append(people.join_us)
        if people.peer_join_us is not None:
            samples.peers["join_fresh"].append(people.peer_join_us)
        with _collected():
            _update(people, samples, "update_fresh")
    return samples.rows(suite, members)


def measure_warm(suite: CipherSuite, members: int, with_peer: bool, rounds: int) -> Iterator[Row]:
    """All operations in a group whose members have committed since they came."""
    people, samples = warm_group(suite, others(suite, members, with_peer)), Samples()
    _warm_round(people, Samples(), "warm-up")
    for number in range(rounds):
        with _collected():
            _warm_round(people, samples, f"newcomer {number}")
    return samples.rows(suite, members)


def _warm_round(people: People, samples: Samples, name: str) -> None:
    _update(people, samples, "update_warm")
    _external(people, samples)
    _join(people, samples)
    leaf = _add(people, samples, "add", name, path=False)
    _remove(people, samples, "remove", name.encode(), leaf)
    leaf = _add(people, samples, "add_path", name, path=True)
    _remove(people, Samples(), "remove", name.encode(), leaf)


def _take_over(people: People, samples: Samples, op: str, made: Any) -> None:
    """Our alice's commit wins; receiving it is measured, at the peer with the same bytes."""
    sizes = samples.sizes[f"{op}_commit"]
    sizes["pli_bytes"] = len(made.message)
    bob, peer_bob = people.bob, people.peer_bob
    people.bob, _ = samples.both(
        f"{op}_receive",
        lambda: received(bob, made.message),
        peer_bob and (lambda: peer_bob.process(made.message)),
    )
    if people.peer_alice is not None:
        people.peer_alice.process(made.message)
    people.alice = made.group.merged(made.sent).group


def _update(people: People, samples: Samples, op: str) -> None:
    alice, other = people.alice, people.peer_alice
    made, theirs = samples.both(
        f"{op}_commit",
        lambda: alice.commit(identity=ACCEPT_BASIC, now=NOW),
        other and other.update,
    )
    if theirs is not None:
        samples.sizes[f"{op}_commit"]["mls_rs_bytes"] = len(theirs)
    _take_over(people, samples, op, made)


def _join(people: People, samples: Samples) -> None:
    """Join the group, one of ours and one of the peer's, as if alice had added each of them."""
    suite = people.alice.suite
    newcomer, peer = Newcomer.make(suite, "joiner"), None
    welcome = _welcome(people.alice, newcomer.encoded)
    samples.sizes["welcome"]["pli_bytes"] = len(welcome)
    if people.peer_alice is not None:
        peer = Peer(b"joiner")
        for_peer = _welcome(people.alice, peer.key_package())
    samples.both("join", lambda: newcomer.join(welcome), peer and (lambda: peer.join(for_peer)))


def _welcome(group: Group, package: bytes) -> bytes:
    made = group.commit([Add(key_package(package))], identity=ACCEPT_BASIC, now=NOW)
    assert made.welcome is not None
    return made.welcome


def _add(people: People, samples: Samples, op: str, name: str, path: bool) -> int:
    """One is added; the peer's commit of an Add has no path, so only that is compared."""
    alice, peer = people.alice, None if path else people.peer_alice
    newcomer = Newcomer.make(alice.suite, name)
    package = newcomer.encoded
    made, theirs = samples.both(
        f"{op}_commit",
        lambda: alice.commit(
            [Add(key_package(package))], path=path, identity=ACCEPT_BASIC, now=NOW
        ),
        peer and (lambda: peer.add(package)),
    )
    if theirs is not None:
        samples.sizes[f"{op}_commit"]["mls_rs_bytes"] = len(theirs)
    _take_over(people, samples, op, made)
    return int(made.plan.added[0].leaf)


def _remove(people: People, samples: Samples, op: str, name: bytes, leaf: int) -> None:
    alice, peer = people.alice, people.peer_alice
    made, theirs = samples.both(
        f"{op}_commit",
        lambda: alice.commit([Remove(leaf)], identity=ACCEPT_BASIC, now=NOW),
        peer and (lambda: peer.remove(name)),
    )
    if theirs is not None:
        samples.sizes[f"{op}_commit"]["mls_rs_bytes"] = len(theirs)
    _take_over(people, samples, op, made)


def _external(people: People, samples: Samples) -> None:
    """Somebody joins by an external commit, which is then dropped. The bindings have none."""
    suite, info = people.alice.suite, people.alice.group_info()
    signer, bob = suite.generate_signature_key(), people.bob
    joined, _ = samples.both(
        "external_commit",
        lambda: Group.join_external(
            info, BasicCredential(b"external"), signer, identity=ACCEPT_BASIC, now=NOW
        ),
        None,
    )
    samples.both("external_receive", lambda: received(bob, joined.message), None)
    samples.sizes["external_commit"]["pli_bytes"] = len(joined.message)
    samples.sizes["group_info"]["pli_bytes"] = len(info)
