"""How long sealing and opening a message takes: `python -m tests.bench.mls [--json]`.

Median microseconds for a 1 KiB application message in groups of 2, 50 and 500 members, in cipher
suites 0x0001 and 0x0003, as `pli_protocol.mls` alone needs them: signing, encrypting, verifying,
and telling what must be stored, but no storing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from statistics import median

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    BasicCredential,
    CipherSuite,
    Group,
    Lifetime,
    generate_key_package,
    suite,
)

SUITES = (0x0001, 0x0003)
SIZES = (2, 50, 500)
MESSAGES = 300
SIZE = 1024
NOW = 1_800_000_000
LIFETIME = Lifetime(NOW - 3600, NOW + 86400)


def pair(number: int, members: int) -> tuple[Group, Group]:
    """Two members of a group of so many, all of whom were added by one commit."""
    used: CipherSuite = suite(number)
    signer = used.generate_signature_key()
    group = Group.create(used, b"bench", BasicCredential(b"0"), signer, lifetime=LIFETIME).group
    packages = []
    for n in range(1, members):
        key = used.generate_signature_key()
        credential = BasicCredential(str(n).encode())
        packages.append((*generate_key_package(used, credential, key, lifetime=LIFETIME), key))
    made = group.commit(
        [Add(package) for package, _, _ in packages], identity=ACCEPT_BASIC, now=NOW
    )
    assert made.welcome is not None
    joined = Group.join(made.welcome, *packages[-1], identity=ACCEPT_BASIC, now=NOW)
    return made.group.merged(made.sent).group, joined.group


def measure(number: int, members: int, messages: int = MESSAGES) -> dict[str, float]:
    """Median microseconds of sealing and of opening."""
    alice, bob = pair(number, members)
    data = bytes(range(256)) * (SIZE // 256)
    times: dict[str, list[float]] = {"seal": [], "open": []}
    for _ in range(messages):
        begun = time.perf_counter_ns()
        sealed = alice.seal(data)
        between = time.perf_counter_ns()
        opened = bob.process(sealed.message, identity=ACCEPT_BASIC, now=NOW)
        ended = time.perf_counter_ns()
        assert isinstance(opened, ApplicationReceived)
        assert opened.data == data
        alice, bob = sealed.group, opened.group
        times["seal"].append((between - begun) / 1000)
        times["open"].append((ended - between) / 1000)
    return {op: round(median(values), 1) for op, values in times.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    as_json = parser.parse_args().json
    if not as_json:
        print(f"{'suite':>8}{'members':>9}{'seal µs':>10}{'open µs':>10}", flush=True)
    for number in SUITES:
        for members in SIZES:
            found = measure(number, members)
            if as_json:
                for op, value in found.items():
                    row = {"op": op, "suite": number, "members": members, "pli_us": value}
                    print(json.dumps(row), flush=True)
            else:
                seal, opening = found["seal"], found["open"]
                print(f"  0x{number:04x}{members:>9}{seal:>10}{opening:>10}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
