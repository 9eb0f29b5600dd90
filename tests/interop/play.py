"""A play: one group, the clients in and around it, and what a commit does to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

from .agreement import check_agreement
from .late_mail import LateMail
from .member import Count, Disagreement, Letter, Member
from .process import Caller, Failed

SIZE = 6
"""Most members at a time, unless more are asked for."""
OUTSIDE = 2
"""Clients more than that: some are always outside, or were removed."""


EXTENSION = 0xF7A1
"""A type of GroupContext extension, where all drivers can have one."""


class Play:
    """One group, and clients of all drivers in and around it.

    Attributes:
        members: who is in the group, asleep or not.
        outside: who is not; `former` were once.
        away: who was removed while asleep, and does not know yet.
        count: what happened, by the side that did it.
        story: a line for each step, for whoever must find out what went wrong.

    """

    def __init__(self, drivers: Sequence[Caller], suite: int, seed: int, size: int = SIZE) -> None:
        self.random = Random(f"{seed} {suite} {size}")
        self.suite = suite
        self.seed = seed
        self.size = size
        self.group = self.random.randbytes(8).hex()
        self.count: Count = Counter()
        self.story: list[str] = []
        self.members: list[Member] = []
        self.outside: list[Member] = []
        self.former: set[Member] = set()
        self.away: list[Member] = []
        self.late = LateMail(self.random, self.count)
        self.epoch = 0
        self._engage(drivers)
        self._found()

    def _engage(self, drivers: Sequence[Caller]) -> None:
        self.infos = [driver.call("info") for driver in drivers]
        first = self.random.randrange(len(drivers))
        for n in range(self.size + OUTSIDE):
            which = (first + n) % len(drivers)
            info = self.infos[which]
            name = f"{self.seed}-{self.suite}-{n}"
            member = Member(name, drivers[which], info["name"], info["features"], self.group)
            member.call(
                "new_client",
                identity=member.identity,
                suite=self.suite,
                tree_ext=self.random.choice([True, False]),
                **({"extension_types": [EXTENSION]} if self._all_can("extensions") else {}),
            )
            self.outside.append(member)

    def _all_can(self, feature: str) -> bool:
        return all(info["features"].get(feature) for info in self.infos)

    def _found(self) -> None:
        founder = self.outside.pop(0)
        more: dict[str, Any] = {}
        if founder.can("extensions") and self._all_can("extensions") and self.random.random() < 0.5:
            more["extensions"] = [[EXTENSION, self.random.randbytes(9).hex()]]
        if founder.can("required_capabilities") and self.random.random() < 0.5:
            listed = [EXTENSION] if self._all_can("extensions") else []
            more["required_capabilities"] = {"extensions": listed, "proposals": []}
            if self._all_can("x509_capable"):
                more["required_capabilities"]["credentials"] = [2]
        founder.do("create_group", **more)
        self.members.append(founder)
        self.did("found a group", founder, ", ".join(more))
        for one in more:
            self.count[f"found a group with {one}", founder.side] += 1

    # The story

    def tell(self) -> str:
        sides = {member.side for member in [*self.members, *self.outside, *self.away]}
        more = "" if "mls-rs" in sides else " --ours"
        more += "" if self.size == SIZE else f" --size {self.size}"
        steps = "\n".join(f"{n:4} {line}" for n, line in enumerate(self.story))
        return (
            f"python -m tests.interop.scenario --seed {self.seed} --suite {self.suite}{more}\n"
            f"epoch {self.epoch}; the steps until then:\n{steps}"
        )

    def did(self, what: str, who: Member, more: str = "") -> None:
        self.count[what, who.side] += 1
        self.story.append(f"{who}: {what}{more and ' '}{more}")

    # Who may

    @property
    def awake(self) -> list[Member]:
        return [member for member in self.members if not member.asleep]

    def pick(self, *but: Member, able: str | None = None) -> Member | None:
        """Somebody awake in the group, who can do something; None when there is nobody."""
        able_ones = [m for m in self.awake if m not in but and (able is None or m.can(able))]
        return self.random.choice(able_ones) if able_ones else None

    def pick_some(self, pool: Sequence[Member], most: int) -> list[Member]:
        return self.random.sample(pool, self.random.randint(1, min(most, len(pool))))

    def wire(self, member: Member, what: str) -> str:
        chosen: str = self.random.choice(member.features["wire"])
        self.count[f"{what} as {chosen} message", member.side] += 1
        return chosen

    # Messages

    def sealed(self, sender: Member) -> Letter:
        text = self.random.randbytes(self.random.randrange(60)).hex()
        message = sender.do("send", plaintext=text)["message"]
        return Letter(message, "application", text, sender.identity)

    def deliver(self, letter: Letter, *but: Member) -> None:
        for member in self.random.sample(self.members, len(self.members)):
            if member not in but:
                member.take(letter)

    # After a commit

    def settle(
        self,
        committer: Member,
        made: dict[str, Any],
        joining: Sequence[Member] = (),
        leaving: Sequence[Member] = (),
    ) -> None:
        """The commit won: everybody takes it over, some come, some go; then all agree."""
        committer.do("merge")
        for gone in leaving:
            self._left(gone, made["commit"])
        self.next_epoch(Letter(made["commit"], "commit"), committer)
        for new in self.random.sample(joining, len(joining)):
            self._welcome(new, made)
        self.agree()

    def _left(self, gone: Member, commit: str) -> None:
        self.count["be removed", gone.side] += 1
        gone.take(Letter(commit, "removed"))
        self.members.remove(gone)
        (self.away if gone.asleep else self.outside).append(gone)
        self.former.add(gone)
        self.late.removed(gone)

    def next_epoch(self, letter: Letter, committer: Member) -> None:
        self.deliver(letter, committer)
        self.epoch += 1
        for member in self.members:
            if member is not committer:
                self.count["take over a commit", member.side] += 1
        self.late.deliver_due(self.epoch)

    def _welcome(self, new: Member, made: dict[str, Any]) -> None:
        tree = {"tree": made["tree"]} if "tree" in made else {}
        for welcome in made.get("welcomes", [made.get("welcome")]):
            try:
                joined = new.call("join", welcome=welcome, **tree)
                break
            except Failed as failed:
                refusal = failed
        else:
            raise Disagreement(f"{new} cannot join: {refusal}")
        if joined["group"] != self.group:
            raise Disagreement(f"{new} joined {joined['group']}")
        beside = ", the tree beside" if tree else ""
        self.count["join by a Welcome" + beside, new.side] += 1
        self.outside.remove(new)
        self.entered(new)

    def entered(self, new: Member) -> None:
        self.members.append(new)
        if new in self.former:
            self.count["come back", new.side] += 1

    def agree(self) -> None:
        """All see the same epoch, and read what one of them says in it."""
        identities = {member.identity for member in self.members}
        check_agreement(self.awake, identities, self.random)
        self.count["epochs compared", "all"] += 1
        sender = self.random.choice(self.awake)
        self.deliver(self.sealed(sender), sender)


def named(members: Sequence[Member]) -> str:
    return ", ".join(map(str, members))
