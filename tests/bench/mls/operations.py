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
from typing import TypeVar

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    BasicCredential,
    CipherSuite,
    Committed,
    Group,
    Remove,
    WireFormat,
)

from .floor import floor
from .footprint import footprint
from .peer import Peer
from .people import NOW, Newcomer, People, fresh_group, key_package, pairs, received, warm_group
from .row import Row

T = TypeVar("T")

PUBLIC, PRIVATE = WireFormat.PUBLIC_MESSAGE, WireFormat.PRIVATE_MESSAGE
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
    "update_warm_private_commit",
    "update_warm_private_receive",
    "external_commit",
    "external_receive",
    "state",
    "memory",
)


@dataclass
class Samples:
    """Microseconds by operation, ours and the peer's, and the sizes of what was sent."""

    ours: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    peers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    sizes: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

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
    people = pairs(suite) if members == 2 else fresh_group(suite, others(suite, members, with_peer))
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


@dataclass(frozen=True)
class Step:
    """One of our commits, as the peer hears of it."""

    op: str
    message: bytes
    alternative: Callable[[Peer], bytes] | None
    """How the peer makes the same commit, if it can."""


def _repeats(members: int) -> int:
    """How often an operation is done in a row, so that small ones are measured warmed up."""
    return 8 if members <= 100 else 2


def measure_fresh(suite: CipherSuite, members: int, with_peer: bool, rounds: int) -> Iterator[Row]:
    """An update where all members were added by one commit; each time in a group of its own."""
    crowd, samples = others(suite, members, with_peer), Samples()
    for _ in range(rounds):
        with _collected():
            groups = [fresh_group(suite, crowd) for _ in range(_repeats(members))]
        for people in groups:
            samples.ours["join_fresh"].append(people.join_us)
            if people.peer_join_us is not None:
                samples.peers["join_fresh"].append(people.peer_join_us)
        with _collected():
            steps = [_update(people, samples, "update_fresh") for people in groups]
            for receive in (_receive, _peer_commit, _peer_receive):
                for people, step in zip(groups, steps, strict=True):
                    receive(people, samples, step)
    return samples.rows(suite, members)


def measure_warm(suite: CipherSuite, members: int, with_peer: bool, rounds: int) -> Iterator[Row]:
    """All operations in a group whose members have committed since they came."""
    people, samples = warm_group(suite, others(suite, members, with_peer)), Samples()
    _warm_round(people, Samples(), 1)
    for _ in range(rounds):
        with _collected():
            _warm_round(people, samples, _repeats(members))
    yield from samples.rows(suite, members)
    yield from footprint(people, suite, members)


def _warm_round(people: People, samples: Samples, repeats: int) -> None:
    """Our commits in a row, then their receiving; then the peer's commits, and its receiving of ours."""
    steps = []
    for _ in range(repeats):
        steps.append(_update(people, samples, "update_warm"))
        steps.append(_update(people, samples, "update_warm_private", PRIVATE))
        for op, path in (("add", False), ("add_path", True)):
            newcomer = Newcomer.make(people.alice.suite, "newcomer")
            step, leaf = _add(people, samples, op, newcomer.encoded, path)
            steps += [step, _remove(people, samples, "remove", b"newcomer", leaf)]
    for receive in (_receive, _peer_commit, _peer_receive):
        for step in steps:
            receive(people, samples, step)
    for _ in range(repeats):
        _external(people, samples)
    _joins(people, samples, repeats)


def _receive(people: People, samples: Samples, step: Step) -> None:
    people.bob = _timed(
        samples.ours[f"{step.op}_receive"], partial(received, people.bob, step.message)
    )


def _peer_commit(people: People, samples: Samples, step: Step) -> None:
    """The peer makes the same commit, which then loses to ours."""
    alice = people.peer_alice
    if alice is None:
        return
    if step.alternative is not None:
        message = _timed(samples.peers[f"{step.op}_commit"], partial(step.alternative, alice))
        samples.sizes[f"{step.op}_commit"]["mls_rs_bytes"] = len(message)
    alice.process(step.message)


def _peer_receive(people: People, samples: Samples, step: Step) -> None:
    """Our commit, byte for byte, at the peer."""
    if people.peer_bob is not None:
        receive = partial(people.peer_bob.process, step.message)
        _timed(samples.peers[f"{step.op}_receive"], receive)


def _take_over(
    people: People,
    samples: Samples,
    op: str,
    commit: Callable[[], Committed],
    alternative: Callable[[Peer], bytes] | None,
) -> tuple[Step, Committed]:
    """Our alice commits."""
    made = _timed(samples.ours[f"{op}_commit"], commit)
    samples.sizes[f"{op}_commit"]["pli_bytes"] = len(made.message)
    people.alice = made.group.merged(made.sent).group
    return Step(op, made.message, alternative), made


def _update(people: People, samples: Samples, op: str, wire_format: WireFormat = PUBLIC) -> Step:
    """A path and nothing else. The bindings make PublicMessages only, but open both kinds."""
    commit = partial(people.alice.commit, wire_format=wire_format, identity=ACCEPT_BASIC, now=NOW)
    alternative = Peer.update if wire_format is PUBLIC else None
    return _take_over(people, samples, op, commit, alternative)[0]


def _add(people: People, samples: Samples, op: str, package: bytes, path: bool) -> tuple[Step, int]:
    """One is added; the peer's commit of an Add has no path, so only that is compared."""
    alice = people.alice

    def commit() -> Committed:
        return alice.commit([Add(key_package(package))], path=path, identity=ACCEPT_BASIC, now=NOW)

    def add(peer: Peer) -> bytes:
        return peer.add(package)

    step, made = _take_over(people, samples, op, commit, None if path else add)
    return step, int(made.plan.added[0].leaf)


def _remove(people: People, samples: Samples, op: str, name: bytes, leaf: int) -> Step:
    commit = partial(
        people.alice.commit,
        [Remove(leaf)],
        wire_format=PUBLIC,
        identity=ACCEPT_BASIC,
        now=NOW,
    )

    def remove(peer: Peer) -> bytes:
        return peer.remove(name)

    return _take_over(people, samples, op, commit, remove)[0]


def _joins(people: People, samples: Samples, repeats: int) -> None:
    """Join the group, ours and the peer's, as if alice had added each of them."""
    welcomes = []
    for _ in range(repeats):
        newcomer = Newcomer.make(people.alice.suite, "joiner")
        welcomes.append((newcomer, _welcome(people.alice, newcomer.encoded)))
    for newcomer, welcome in welcomes:
        _timed(samples.ours["join"], partial(newcomer.join, welcome))
        samples.sizes["welcome"]["pli_bytes"] = len(welcome)
    if people.peer_alice is None:
        return
    peers = [Peer(b"joiner") for _ in range(repeats)]
    for peer, welcome in [(one, _welcome(people.alice, one.key_package())) for one in peers]:
        _timed(samples.peers["join"], partial(peer.join, welcome))


def _welcome(group: Group, package: bytes) -> bytes:
    made = group.commit([Add(key_package(package))], identity=ACCEPT_BASIC, now=NOW)
    assert made.welcome is not None
    return made.welcome


def _external(people: People, samples: Samples) -> None:
    """Somebody joins by an external commit, which is then dropped. The bindings have none."""
    suite, info = people.alice.suite, people.alice.group_info()
    join = partial(
        Group.join_external,
        info,
        BasicCredential(b"external"),
        suite.generate_signature_key(),
        identity=ACCEPT_BASIC,
        now=NOW,
    )
    joined = _timed(samples.ours["external_commit"], join)
    _timed(samples.ours["external_receive"], partial(received, people.bob, joined.message))
    samples.sizes["external_commit"]["pli_bytes"] = len(joined.message)
    samples.sizes["group_info"]["pli_bytes"] = len(info)
