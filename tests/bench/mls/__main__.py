"""What MLS costs, beside mls-rs and the primitives: `python -m tests.bench.mls [--json]`.

Medians in microseconds, sizes in bytes; what each row means and how it is measured stands in
docs/benchmarks.md. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence

from pli_protocol.mls import CipherSuite, suite
from pli_protocol.mls.ciphersuite import SUITES

from . import peer
from .operations import (
    FRESH_OPS,
    MESSAGE_OPS,
    WARM_OPS,
    measure_fresh,
    measure_messages,
    measure_warm,
)
from .row import Row

MESSAGE_SIZES = (2, 50, 500)
GROUP_SIZES = (10, 100, 500, 1000)
QUICK = {2, 10, 50, 100}
ROUNDS = 5

Measure = Callable[[CipherSuite, int, bool, int], Iterator[Row]]
PARTS: tuple[tuple[Measure, Sequence[str], Sequence[int]], ...] = (
    (measure_messages, MESSAGE_OPS, MESSAGE_SIZES),
    (measure_fresh, FRESH_OPS, GROUP_SIZES),
    (measure_warm, WARM_OPS, GROUP_SIZES),
)


OPS = tuple(op for _measure, ops, _sizes in PARTS for op in ops)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """All rows that the options ask for, as they are measured."""
    numbers = options.suite or sorted(SUITES)
    for number in numbers:
        for measure, ops, sizes in PARTS:
            for members in options.members or sizes:
                if (
                    members < min(sizes)
                    or options.quick
                    and not options.members
                    and members not in QUICK
                ):
                    continue
                if options.op and not any(_wanted(op, options.op) for op in ops):
                    continue
                _progress(f"suite 0x{number:04x}, {members} members: {ops[0]} …")
                with_peer = peer.available(number)
                for row in measure(suite(number), members, with_peer, options.rounds):
                    if not options.op or _wanted(row["op"], options.op):
                        yield row


def _wanted(op: str, asked: Sequence[str]) -> bool:
    return any(op == name or op.startswith(f"{name}_") for name in asked)


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line(row: Row) -> str:
    begin = f"0x{row['suite']:04x}{row['members']:>6} {row['op']:<24}"
    if "pli_bytes" in row:
        theirs = row.get("mls_rs_bytes")
        return f"{begin}{row['pli_bytes']:>12,} B{'' if theirs is None else f'{theirs:>12,} B'}"
    ours, theirs, least = row["pli_us"], row.get("mls_rs_us"), row.get("floor_us")
    line = f"{begin}{ours:>12,.1f} µs"
    if theirs is not None:
        line += f"{theirs:>12,.1f} µs ×{ours / theirs:.2f}"
    if least is not None:
        line += f"   floor {least:.1f} µs ×{ours / least:.2f}"
    return line


def _number(text: str) -> int:
    return int(text, 0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.mls", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument("--quick", action="store_true", help="groups of up to 100 only")
    parser.add_argument("--suite", type=_number, action="append", metavar="0x0001")
    parser.add_argument("--members", type=int, action="append", metavar="N")
    parser.add_argument("--op", action="append", help="such rows only: seal, join, update_warm …")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    if unknown := [f"0x{number:04x}" for number in options.suite or () if number not in SUITES]:
        known = ", ".join(f"0x{number:04x}" for number in sorted(SUITES))
        parser.error(f"no such suite: {', '.join(unknown)}; there are {known}")
    if unknown := [op for op in options.op or () if not any(_wanted(name, [op]) for name in OPS)]:
        parser.error(f"no such op: {', '.join(unknown)}; there are {', '.join(OPS)}")
    if peer.mls_rs is None:
        _progress("mls-rs is left out: agentvault-mls-rs-uniffi is not installed")
    measured = False
    for row in rows(options):
        measured = True
        print(json.dumps(row) if options.json else _line(row), flush=True)
    if not measured:
        parser.error("nothing of this is measured in groups of that size")
    return 0


if __name__ == "__main__":
    sys.exit(main())
