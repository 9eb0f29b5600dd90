"""`python -m tests.fuzz --seconds N [--target NAME] [--corpus DIR] [--repeat HEX]`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path


def main() -> int:
    """Fuzz, say what was found; 1 if anything was."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--target", action="append", metavar="NAME", help="only this; repeatable")
    parser.add_argument("--corpus", type=Path, metavar="DIR", help="keep what was learnt here")
    parser.add_argument("--seed", type=int, default=0, help="0, as by default: another each time")
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--repeat", metavar="HEX", help="run one input through --target")
    parser.add_argument("--list", action="store_true", help="names of the targets")
    options = parser.parse_args()
    from .targets import TARGETS

    if options.list:
        print(*TARGETS, sep="\n")
        return 0
    names = options.target or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no such target: {', '.join(unknown)}; see --list")
    if options.repeat is not None:
        try:
            repeated = bytes.fromhex(options.repeat)
        except ValueError:
            parser.error(f"--repeat takes hexadecimal digits, not {options.repeat[:40]!r}")
        for name in names:
            TARGETS[name]().run(repeated)
        print("nothing raised but the library's own errors")
        return 0
    if importlib.util.find_spec("atheris") is None:
        parser.error("atheris is not installed (has it a wheel for this Python and platform?)")
    from .campaign import campaign

    found = 0
    for outcome in campaign(
        names,
        options.seconds,
        at_once=options.at_once,
        seed=options.seed,
        corpus=options.corpus,
        progress=lambda line: print(line, file=sys.stderr),
    ):
        print(outcome, flush=True)
        found += len(outcome.findings)
    print(f"{len(names)} targets, {options.seconds} s each: {found or 'no'} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
