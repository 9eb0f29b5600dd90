"""What a group takes in memory and in storage."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator

import psutil

from pli_protocol.mls import CipherSuite, Group

from .people import People
from .row import Row

COPIES = 20
MANY = 1000
"""Members from which memory is worth a look."""


def footprint(people: People, suite: CipherSuite, members: int) -> Iterator[Row]:
    """State: names and contents stored. Memory: of a group read from storage.

    Ours is what Python allocates for it; of the peer, how much the process grows.
    """
    alice = people.alice
    entries = alice.entries()
    state: Row = {"op": "state", "suite": suite.number, "members": members}
    state["pli_bytes"] = sum(len(name) + len(data) for name, data in entries.items())
    yield state
    if members < MANY:
        return
    memory: Row = {"op": "memory", "suite": suite.number, "members": members}
    memory["pli_bytes"] = _allocated(lambda: _read(alice, entries))
    if people.peer_alice is not None:
        people.peer_alice.store()
        memory["mls_rs_bytes"] = _grown(people.peer_alice.load)
    yield memory


def _read(group: Group, entries: dict[str, bytes]) -> Group:
    copy = Group.from_entries(
        dict(zip(entries, map(bytes, entries.values()), strict=True)), group.signer
    )
    # As one that is in use: with its tree hashes and its index.
    copy.tree.tree_hash(group.suite)
    assert copy.tree.index.leaves
    return copy


def _allocated(make: Callable[[], object]) -> int:
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = make()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return after - before


def _grown(make: Callable[[], object]) -> int:
    """Bytes of resident memory for each of COPIES."""
    process = psutil.Process()
    gc.collect()
    kept = [make()]
    before = process.memory_info().rss
    kept += [make() for _ in range(COPIES)]
    grown: int = process.memory_info().rss - before
    return grown // COPIES
