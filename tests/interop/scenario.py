"""Random scenarios between drivers: everybody must agree after every epoch.

A seed chooses who does what; keys are fresh each time, and decide nothing. To replay one:
`python -m tests.interop.scenario --seed N` (`--ours` without mls-rs, `--suite 78`).
"""

from __future__ import annotations

import argparse
from typing import Any

from .member import Disagreement, Letter, Member
from .play import SIZE, Play, named
from .process import two_drivers

STEPS = 40
MOVES = {
    "send": 3,
    "send_late": 4,
    "send_burst": 1,
    "open_late": 3,
    "open_twice": 1,
    "add": 6,
    "remove": 3,
    "update": 3,
    "psk": 2,
    "race": 4,
    "proposals": 5,
    "lost_proposal": 2,
    "external_join": 3,
    "resync": 2,
    "sleep": 2,
    "wake": 2,
}
"""What may happen in a step, and how often beside the others."""


class Scenario(Play):
    """A play of random moves; each returns whether it can be made now."""

    # Playing

    def run(self, steps: int = STEPS) -> None:
        """Play. What goes wrong carries the steps until then, and how to replay them."""
        try:
            for _ in range(steps):
                self.step()
            self._end()
        except Exception as error:
            error.add_note(self.tell())
            raise

    def step(self) -> None:
        """One move that can be made now."""
        while True:
            name = self.random.choices(list(MOVES), list(MOVES.values()))[0]
            if getattr(self, name)():
                return

    def _end(self) -> None:
        while self.wake():
            pass
        self.late.deliver_all(self.epoch)
        self.agree()

    # Application messages

    def send(self) -> bool:
        sender = self.pick()
        assert sender is not None
        self.did("send", sender)
        self.deliver(self.sealed(sender), sender)
        return True

    def send_late(self) -> bool:
        """A few messages that arrive later, in any order, maybe epochs later."""
        sender = self.pick()
        assert sender is not None
        self.did("send late", sender)
        to = [m for m in self.members if m is not sender and not m.asleep]
        for _ in range(self.random.randint(1, 4)):
            self.late.post(self.sealed(sender), sender, to, self.epoch)
        return True

    def send_burst(self) -> bool:
        """Messages in a row, which each member gets in another order."""
        sender = self.pick()
        assert sender is not None
        number = self.random.choice([5, 10, 65])
        self.did("send many, reordered", sender, str(number))
        letters = [self.sealed(sender) for _ in range(number)]
        for member in self.awake:
            if member is not sender:
                for letter in self.random.sample(letters, number):
                    member.take(letter)
        return True

    def open_late(self) -> bool:
        return self.late.deliver_some(self.epoch)

    def open_twice(self) -> bool:
        """A message that comes again is refused, and harms nobody."""
        sender = self.pick()
        assert sender is not None
        letter = self.sealed(sender)
        self.did("send, and it comes twice", sender)
        self.deliver(letter, sender)
        self.deliver(Letter(letter.message, "refused"), sender)
        return True

    # Commits

    def add(self) -> bool:
        committer, room = self.pick(), self.size - len(self.members)
        if committer is None or not self.outside or room < 1:
            return False
        self.add_all(committer, self.pick_some(self.outside, min(max(3, self.size // 2), room)))
        return True

    def add_all(self, committer: Member, new: list[Member]) -> None:
        made = self._commit_add(committer, new)
        self.settle(committer, made, joining=new)

    def _commit_add(self, committer: Member, new: list[Member]) -> dict[str, Any]:
        tree_ext = self.random.choice(committer.features["tree_ext"])
        packages = [self._key_package(one) for one in new]
        self.did("add", committer, named(new) + ("" if tree_ext else ", the tree beside"))
        wire = self.wire(committer, "commit")
        return committer.do("add", key_packages=packages, wire=wire, tree_ext=tree_ext)

    def _key_package(self, member: Member) -> str:
        package: str = member.call("key_package", grease=self.random.random() < 0.5)["key_package"]
        return package

    def remove(self) -> bool:
        committer = self.pick()
        if committer is None or len(self.members) < 3:
            return False
        most = 2 if committer.can("multi_remove") else 1
        gone = self.pick_some([m for m in self.members if m is not committer], most)
        self.remove_all(committer, gone)
        return True

    def remove_all(self, committer: Member, gone: list[Member]) -> None:
        self.settle(committer, self._commit_remove(committer, gone), leaving=gone)

    def _commit_remove(self, committer: Member, gone: list[Member]) -> dict[str, Any]:
        self.did("remove", committer, named(gone))
        identities = [member.identity for member in gone]
        return committer.do("remove", identities=identities, wire=self.wire(committer, "commit"))

    def update(self) -> bool:
        committer = self.pick(able="update")
        if committer is None:
            return False
        self.update_by(committer)
        return True

    def update_by(self, committer: Member) -> None:
        self.settle(committer, self._commit_update(committer))

    def _commit_update(self, committer: Member) -> dict[str, Any]:
        self.did("update", committer)
        return committer.do("commit_update", wire=self.wire(committer, "commit"))

    def psk(self) -> bool:
        """A key that all members were given otherwise is mixed in."""
        if not all(member.can("psk") for member in self.members):
            return False
        committer = self.pick()
        assert committer is not None
        self.did("mix in a pre-shared key", committer)
        psk_id, psk = self.random.randbytes(4).hex(), self.random.randbytes(32).hex()
        for member in self.members:
            if member is not committer or self.random.random() < 0.5:
                member.call("psk_register", psk_id=psk_id, psk=psk)
        wire = self.wire(committer, "commit")
        self.settle(committer, committer.do("commit_psk", psk_id=psk_id, psk=psk, wire=wire))
        return True

    def race(self) -> bool:
        """Two or three commits at once, of any kind: one wins, the others are dropped."""
        able = [member for member in self.awake if member.can("discard")]
        if len(able) < 2:
            return False
        racers = self.random.sample(able, self.random.randint(2, min(3, len(able))))
        self.story.append("a race:")
        tried = [self._try_commit(racer) for racer in racers]
        which = self.random.randrange(len(racers))
        winner, (made, new, gone) = racers[which], tried[which]
        for racer in racers:
            if racer is not winner:
                racer.do("discard")
                self.count["lose a race", racer.side] += 1
        self.did("win the race", winner)
        self.settle(winner, made, joining=new, leaving=gone)
        # A commit that came too late is refused by whoever still gets it.
        lost = [(racer, made["commit"]) for racer, (made, _, _) in zip(racers, tried, strict=True)]
        for racer, commit in lost:
            if racer is not winner:
                self.deliver(Letter(commit, "refused"), racer, *new)
        return True

    def _try_commit(self, racer: Member) -> tuple[dict[str, Any], list[Member], list[Member]]:
        others = [member for member in self.members if member is not racer]
        kind = self.random.choice(["add", "remove", "update", "update"])
        if kind == "add" and self.outside and len(self.members) < self.size:
            new = [self.random.choice(self.outside)]
            return self._commit_add(racer, new), new, []
        if kind == "remove" and len(others) > 1:
            gone = [self.random.choice(others)]
            return self._commit_remove(racer, gone), [], gone
        return self._commit_update(racer), [], []

    # Proposals by reference

    def proposals(self) -> bool:
        """Up to three proposals of anybody, also to leave oneself; then somebody commits them."""
        joining, leaving, letters = self._propose(self.random.randint(1, 3))
        if not letters:
            return False
        for member in self.members:
            for proposer, letter in self.random.sample(letters, len(letters)):
                if member is not proposer:
                    member.take(letter)
        committer = self.pick(*leaving)
        assert committer is not None
        self.did("commit what was proposed", committer)
        tree_ext = self.random.choice(committer.features["tree_ext"])
        wire = self.wire(committer, "commit")
        made = committer.do("commit_pending", wire=wire, tree_ext=tree_ext)
        self.settle(committer, made, joining=joining, leaving=leaving)
        return True

    def _propose(
        self, number: int
    ) -> tuple[list[Member], list[Member], list[tuple[Member, Letter]]]:
        joining: list[Member] = []
        leaving: list[Member] = []
        letters: list[tuple[Member, Letter]] = []
        for _ in range(number):
            proposer = self.pick()
            assert proposer is not None
            kind = self.random.choice(proposer.features["proposals"])
            if kind == "add":
                free = [one for one in self.outside if one not in joining]
                if not free or len(self.members) + len(joining) >= self.size:
                    continue
                joining.append(self.random.choice(free))
                message = self._propose_add(proposer, joining[-1])
            else:
                # Somebody awake must be left to commit.
                free = [one for one in self.members if one not in leaving]
                gone = self.random.choice(free)
                if self.pick(*leaving, gone) is None:
                    continue
                leaving.append(gone)
                message = self._propose_remove(proposer, gone)
            letters.append((proposer, Letter(message, "proposal")))
        return joining, leaving, letters

    def _propose_add(self, proposer: Member, new: Member) -> str:
        self.did("propose to add", proposer, str(new))
        package, wire = self._key_package(new), self.wire(proposer, "proposal")
        message: str = proposer.do("propose_add", key_package=package, wire=wire)["proposal"]
        return message

    def _propose_remove(self, proposer: Member, gone: Member) -> str:
        self.did(
            "propose to leave" if gone is proposer else "propose to remove", proposer, str(gone)
        )
        wire = self.wire(proposer, "proposal")
        message: str = proposer.do("propose_remove", identity=gone.identity, wire=wire)["proposal"]
        return message

    def lost_proposal(self) -> bool:
        """A proposal that a commit overtakes: it falls away, and is refused when it comes."""
        proposer = self.pick()
        assert proposer is not None
        committer = self.pick(proposer, able="update")
        if committer is None:
            return False
        gone = self.random.choice(self.members)
        letter = Letter(self._propose_remove(proposer, gone), "proposal")
        heard = [m for m in self.members if m not in (proposer, committer)]
        heard = self.random.sample(heard, self.random.randint(0, len(heard)))
        for member in heard:
            member.take(letter)
        self.settle(committer, self._commit_update(committer))
        self.deliver(Letter(letter.message, "refused"), proposer, *heard)
        return True

    # Entering by a commit

    def external_join(self) -> bool:
        able = [member for member in self.outside if member.can("external_commit")]
        if not able or len(self.members) >= self.size or self.pick(able="group_info") is None:
            return False
        new = self.random.choice(able)
        commit = self._enter(new, resync=False)
        self.outside.remove(new)
        self.next_epoch(commit, new)
        self.entered(new)
        self.agree()
        return True

    def resync(self) -> bool:
        """A member lost its state: what was sent to it before is lost to it."""
        lost = self.pick(able="external_commit")
        if lost is None or self.pick(lost, able="group_info") is None:
            return False
        commit = self._enter(lost, resync=True)
        self.late.removed(lost)
        self.next_epoch(commit, lost)
        self.agree()
        return True

    def _enter(self, new: Member, *, resync: bool) -> Letter:
        teller = self.pick(new, able="group_info")
        assert teller is not None
        tree_ext = self.random.choice(teller.features["tree_ext"])
        self.did("resync" if resync else "join by a commit", new, f"told by {teller}")
        info = teller.do("group_info", tree_ext=tree_ext)
        tree = {} if tree_ext else {"tree": info["tree"]}
        joined = new.call("external_join", group_info=info["group_info"], resync=resync, **tree)
        if joined["group"] != self.group:
            raise Disagreement(f"{new} joined {joined['group']}")
        return Letter(joined["commit"], "commit")

    # Being away

    def sleep(self) -> bool:
        """Somebody hears nothing for a while."""
        if len(self.awake) < 3 or len(self.awake) < len(self.members) - 1:
            return False
        sleeper = self.pick()
        assert sleeper is not None
        self.did("fall asleep", sleeper)
        sleeper.asleep = True
        return True

    def wake(self) -> bool:
        """Everything in the order in which it was sent, maybe one's own removal."""
        asleep = [member for member in [*self.members, *self.away] if member.asleep]
        if not asleep:
            return False
        sleeper = self.random.choice(asleep)
        self.did("wake", sleeper, f"to {len(sleeper.inbox)} letters")
        sleeper.wake()
        if sleeper in self.away:
            self.away.remove(sleeper)
            self.outside.append(sleeper)
        self.agree()
        return True


def main() -> None:
    """Replay one scenario, and tell its steps."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.scenario", description=main.__doc__
    )
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--suite", type=lambda text: int(text, 0), default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--ours", action="store_true", help="two of ours, without mls-rs")
    asked = parser.parse_args()
    with two_drivers(live=not asked.ours) as drivers:
        scenario = Scenario(drivers, asked.suite, asked.seed, asked.size)
        scenario.run(asked.steps)
    print(scenario.tell())


if __name__ == "__main__":
    main()
