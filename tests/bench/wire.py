"""What Pli's own groups weigh: `python -m tests.bench.wire [--json] [--members N …]`.

Sizes in bytes, of groups as Pli's clients make them: an X.509 chain in every leaf, a person for every four
devices, Pli's extensions, capabilities and padding. And what joining such a group costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pli_client.engine import profile
from pli_client.engine.trust_check import TrustCheck
from pli_protocol.identity import (
    SigningKey,
    Trust,
    make_authority,
    make_device,
    make_issuer,
    make_person,
)
from pli_protocol.mls import (
    Add,
    CipherSuite,
    Committed,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    SignatureKeyPair,
    X509Credential,
    encode,
    generate_key_package,
    suite,
)
from pli_protocol.mls.private_tree import PrivateTree
from pli_protocol.relay.log import RosterChange, device_id

SIZES = (10, 100, 500, 1000)
SUITES = (0x0001, 0x0003, 0x004E)
DEVICES = 4
"""Of each person."""
ROUNDS = 5
NOW = int(time.time())
TEXT = bytes(1024)

Row = dict[str, Any]


@dataclass(frozen=True)
class Device:
    """Somebody's device that offers a key package."""

    signer: SignatureKeyPair
    credential: X509Credential
    package: KeyPackage
    secrets: KeyPackageSecrets


class Establishment:
    """Who certifies people and devices."""

    def __init__(self) -> None:
        authority, self._issuer = SigningKey.generate(), SigningKey.generate()
        self.authority = make_authority("EHPAD Les Tilleuls", authority, NOW - 60)
        self._certificate = make_issuer(
            authority, self.authority, self._issuer.public, now=NOW - 60
        )

    def check(self) -> TrustCheck:
        """What a device that has seen no chain yet checks with."""
        return TrustCheck(Trust(self.authority))

    def devices(self, used: CipherSuite, count: int) -> list[Device]:
        return [self._device(used, number) for number in range(count)]

    def _device(self, used: CipherSuite, number: int) -> Device:
        if number % DEVICES == 0:
            self._identity = SigningKey.generate()
            self._person = make_person(
                self._issuer,
                self._certificate,
                account=number.to_bytes(16, "big"),
                name=f"Amélie Dupont {number}",
                profession="Infirmière",
                identity_key=self._identity.public,
                now=NOW - 60,
            )
        signer = used.generate_signature_key()
        device = make_device(self._identity, self._person, signer.public, now=NOW - 60)
        credential = X509Credential((device, self._person, self._certificate))
        package, secrets = generate_key_package(
            used,
            credential,
            signer,
            lifetime=profile.lifetime(NOW),
            capabilities=profile.capabilities(used),
        )
        return Device(signer, credential, package, secrets)


def roster(plan: Any) -> bytes:
    """The AAD of a commit, as the client writes it."""
    added, removed = (
        tuple(sorted(device_id(member.signature_key) for member in members))
        for members in (plan.added, plan.removed)
    )
    return RosterChange(added, removed).encode()


def measure(number: int, members: int) -> Iterator[Row]:
    """All rows of one suite and size."""
    used, home = suite(number), Establishment()
    check = home.check()
    creator, *others, newcomer = home.devices(used, members + 1)

    def row(what: str, **values: Any) -> Row:
        return {"what": what, "suite": number, "members": members, **values}

    def commit(group: Group, *adds: Add) -> Committed:
        return group.commit(
            adds, authenticated_data=roster, padding=profile.padding, identity=check, now=NOW
        )

    group = Group.create(
        used,
        bytes(32),
        creator.credential,
        creator.signer,
        lifetime=profile.lifetime(NOW),
        capabilities=profile.capabilities(used),
        extensions=profile.group_extensions(bytes(16)),
    ).group
    yield row("key package", bytes=len(encode(creator.package)))
    founding = commit(group, *(Add(other.package) for other in others))
    assert founding.welcome is not None
    yield row("founding commit", bytes=len(founding.message))
    yield row("founding Welcome", bytes=len(founding.welcome))
    group = founding.group.merged(founding.sent).group
    yield from _joining(row, home, others[-1], founding.welcome)
    yield row("update, fresh", bytes=len(commit(group).message))
    group = _warmed(group, [creator, *others], commit)
    yield row("update, warm", bytes=len(commit(group).message))
    added = commit(group, Add(newcomer.package))
    assert added.welcome is not None
    yield row("add, warm", bytes=len(added.message))
    yield row("Welcome of the added", bytes=len(added.welcome))
    yield row("state", bytes=sum(len(n) + len(v) for n, v in group.entries().items()))
    sealed = group.seal(TEXT, padding=profile.padding)
    yield row("message of 1 KiB", bytes=len(sealed.message))
    bare = group.seal(TEXT, padding=0)
    yield row("message of 1 KiB, not padded", bytes=len(bare.message))


def _joining(row: Any, home: Establishment, who: Device, welcome: bytes) -> Iterator[Row]:
    times = []
    for _ in range(ROUNDS):
        check = home.check()
        begun = time.perf_counter_ns()
        Group.join(welcome, who.package, who.secrets, who.signer, identity=check, now=NOW)
        times.append((time.perf_counter_ns() - begun) / 1e6)
    yield row("join, chains unknown", ms=statistics.median(times))
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter_ns()
        Group.join(welcome, who.package, who.secrets, who.signer, identity=check, now=NOW)
        times.append((time.perf_counter_ns() - begun) / 1e6)
    yield row("join, chains known", ms=statistics.median(times))


def _warmed(group: Group, devices: Sequence[Device], commit: Any) -> Group:
    """After a commit of every member, in an order that fills the tree from its halves; the first last."""
    width = (len(devices) - 1).bit_length()
    order = sorted(range(1 << width), key=lambda n: int(f"{n:0{width}b}"[::-1], 2))
    for leaf in [*(n for n in order if 0 < n < len(devices)), 0]:
        made = commit(_seen_by(group, leaf, devices[leaf]))
        group = replace(made.group, past=())
    return group


def _seen_by(group: Group, leaf: int, device: Device) -> Group:
    """The epoch as a member has it who knows no key above its leaf: enough to commit."""
    private = PrivateTree.of_leaf(leaf, device.secrets.leaf_key)
    return replace(group, own_leaf=leaf, signer=device.signer, private_tree=private)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.wire", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per row")
    parser.add_argument("--members", type=int, action="append", help="default: 10, 100, 500, 1000")
    parser.add_argument("--suite", type=lambda text: int(text, 0), action="append")
    options = parser.parse_args(arguments)
    for number in options.suite or SUITES:
        for members in options.members or SIZES:
            for row in measure(number, members):
                if options.json:
                    print(json.dumps(row), flush=True)
                else:
                    value = f"{row['bytes']:,} B" if "bytes" in row else f"{row['ms']:,.1f} ms"
                    print(f"0x{number:04x} {members:>5}  {row['what']:<30}{value:>16}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
