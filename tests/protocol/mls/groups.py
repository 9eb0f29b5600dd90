"""Small groups for tests: seeded randomness, one clock, members by name."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    Add,
    ApplicationReceived,
    BasicCredential,
    CipherSuite,
    CommitReceived,
    Committed,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    Lifetime,
    MLSError,
    Proposal,
    Removed,
    SignatureKeyPair,
    generate_key_package,
    suite,
)

NOW = 1_800_000_000
DAY = 86400
LIFETIME = Lifetime(NOW - 3600, NOW + 60 * DAY)
SUITES_TRIED = (1, 3, 0x004E)


def seeded(seed: int | str) -> Callable[[int], bytes]:
    """A source of bytes that is the same in every run."""
    return random_module.Random(seed).randbytes


class Member:
    """One client in one group: its keys, its latest value, what is stored of it."""

    def __init__(self, name: str, number: int = 3, seed: int | str = 0) -> None:
        self.name = name
        self.suite: CipherSuite = suite(number)
        self.random = seeded(f"{seed} {name}")
        self.signer: SignatureKeyPair = self.suite.generate_signature_key(self.random)
        self.credential = BasicCredential(name.encode())
        self.stored: dict[str, bytes] = {}
        self._group: Group | None = None
        self.psks: dict[bytes, bytes] = {}

    @property
    def group(self) -> Group:
        assert self._group is not None, f"{self.name} is in no group"
        return self._group

    @property
    def is_member(self) -> bool:
        return self._group is not None

    def keep(self, group: Group | None, changes: Mapping[str, bytes | None]) -> None:
        """Take a new value, and store what it says must be stored."""
        self._group = group
        for name, value in changes.items():
            if value is None:
                self.stored.pop(name, None)
            else:
                self.stored[name] = value
        if group is None:
            self.stored.clear()

    def check_store(self) -> None:
        """What is stored by changes alone is the whole group, and reads back as it."""
        assert self.stored == self.group.entries()
        assert Group.from_entries(self.stored, self.signer) == self.group

    def key_package(self) -> tuple[KeyPackage, KeyPackageSecrets]:
        return generate_key_package(
            self.suite, self.credential, self.signer, lifetime=LIFETIME, random=self.random
        )

    def create(self, group_id: bytes = b"group", **more: Any) -> None:
        made = Group.create(
            self.suite,
            group_id,
            self.credential,
            self.signer,
            lifetime=LIFETIME,
            random=self.random,
            **more,
        )
        self.keep(made.group, made.changes)

    def commit(self, *proposals: Proposal, **more: Any) -> Committed:
        """Make a commit; it stays pending."""
        more = {"psks": self.psks, "identity": ACCEPT_BASIC, "now": NOW} | more
        made = self.group.commit(proposals, random=self.random, **more)
        self.keep(made.sent, made.changes_sent)
        return made

    def merge(self, made: Committed) -> None:
        merged = made.group.merged(self.group)
        self.keep(merged.group, merged.changes)

    def seal(self, data: bytes, **more: Any) -> bytes:
        more = {"ahead_of_proposals": True} | more
        sealed = self.group.seal(data, random=self.random, **more)
        self.keep(sealed.group, sealed.changes)
        return sealed.message

    def process(self, message: bytes, **more: Any) -> Any:
        """Process a message; a removed member loses its group."""
        more = {"identity": ACCEPT_BASIC, "now": NOW, "psks": self.psks} | more
        outcome = self.group.process(message, **more)
        if isinstance(outcome, Removed):
            self.keep(None, {})
        else:
            self.keep(outcome.group, outcome.changes)
        return outcome

    def open(self, message: bytes) -> bytes:
        outcome = self.process(message)
        assert isinstance(outcome, ApplicationReceived)
        return outcome.data

    def join(
        self, welcome: bytes, package: tuple[KeyPackage, KeyPackageSecrets], **more: Any
    ) -> None:
        more = {"psks": self.psks, "identity": ACCEPT_BASIC, "now": NOW} | more
        joined = Group.join(welcome, *package, self.signer, **more)
        self.stored.clear()
        self.keep(joined.group, joined.changes)

    def join_external(self, group_info: bytes, **more: Any) -> bytes:
        more = {"psks": self.psks, "identity": ACCEPT_BASIC, "now": NOW} | more
        joined = Group.join_external(
            group_info, self.credential, self.signer, random=self.random, **more
        )
        self.stored.clear()
        self.keep(joined.group, joined.changes)
        return joined.message


def deliver(made: Committed, committer: Member, *others: Member) -> None:
    """A commit won: the committer merges it, the others process it."""
    committer.merge(made)
    for member in others:
        outcome = member.process(made.message)
        assert isinstance(outcome, CommitReceived | Removed)


def add(committer: Member, new: Member, *others: Member, **more: Any) -> Committed:
    """`committer` adds `new`; the others see it."""
    package = new.key_package()
    made = committer.commit(Add(package[0]), **more)
    deliver(made, committer, *others)
    assert made.welcome is not None
    tree = None if made.tree_in_welcome else made.ratchet_tree
    new.join(made.welcome, package, tree=tree)
    return made


def party(*names: str, number: int = 3, seed: int | str = 0, **more: Any) -> list[Member]:
    """A group of members, the first of whom made it and added the others at once."""
    members = [Member(name, number, seed) for name in names]
    first, rest = members[0], members[1:]
    first.create(**more)
    if rest:
        packages = [member.key_package() for member in rest]
        made = first.commit(*(Add(package[0]) for package in packages))
        first.merge(made)
        assert made.welcome is not None
        for member, package in zip(rest, packages, strict=True):
            member.join(made.welcome, package)
    everyone_agrees(*members)
    return members


def everyone_agrees(*members: Member) -> None:
    """Same epoch, context, authenticator, members and exported secrets everywhere."""
    first = members[0].group
    for member in members:
        group = member.group
        assert group.context == first.context
        assert group.epoch_authenticator == first.epoch_authenticator
        assert group.members() == first.members()
        assert group.export_secret("test", b"context", 32) == first.export_secret(
            "test", b"context", 32
        )
        assert group.tree.tree_hash(group.suite) == group.context.tree_hash
        member.check_store()


def everyone_can_message_everyone(*members: Member) -> None:
    """Each member writes, all the others read."""
    everyone_agrees(*members)
    for sender in members:
        text = f"from {sender.name}".encode()
        message = sender.seal(text)
        for member in members:
            if member is not sender:
                assert member.open(message) == text
    for member in members:
        member.check_store()


@contextmanager
def refused(member: Member, rule: str | None = None) -> Iterator[None]:
    """What stands inside must fail, by this rule, and leave the member's value and store alone."""
    before, entries, stored = member.group, member.group.entries(), dict(member.stored)
    with pytest.raises(MLSError) as failed:
        yield
    if rule is not None:
        found = getattr(failed.value, "rule", type(failed.value).__name__)
        assert found == rule, failed.value
    assert member.group is before
    assert member.group.entries() == entries, "a failed operation changed the value"
    assert member.stored == stored
