"""Random scenarios between drivers: everybody must agree after every epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from .process import DriverProcess

KEPT_EPOCHS = 5


@dataclass
class Peer:
    """A client of one of the drivers."""

    name: str
    driver: DriverProcess
    suite: int

    @property
    def identity(self) -> str:
        return self.name.encode().hex()

    def call(self, op: str, **fields: Any) -> dict[str, Any]:
        return self.driver.call(op, client=self.name, **fields)


@dataclass
class Scenario:
    """A group whose members do random things; `run` plays them."""

    drivers: list[DriverProcess]
    suite: int
    seed: int
    size: int = 5
    group: str = field(init=False)
    random: Random = field(init=False)
    members: list[Peer] = field(default_factory=list)
    outside: list[Peer] = field(default_factory=list)
    late: list[tuple[str, str, str, list[str]]] = field(default_factory=list)
    epochs: int = 0
    opened: int = 0

    def __post_init__(self) -> None:
        self.random = Random(f"{self.seed} {self.suite}")
        self.group = self.random.randbytes(8).hex()
        for n in range(self.size + 1):
            name = f"s{self.seed}-{self.suite}-{n}"
            peer = Peer(name, self.drivers[n % len(self.drivers)], self.suite)
            peer.call("new_client", identity=peer.identity, suite=self.suite)
            self.outside.append(peer)
        founder = self.outside.pop(0)
        founder.call("create_group", group=self.group)
        self.members.append(founder)

    def run(self, steps: int) -> None:
        """Play so many random steps."""
        for _ in range(steps):
            self.step()
        self.open_late()
        self.agree()

    def step(self) -> None:
        moves = [self.send, self.send_late, self.open_late, self.update, self.race, self.psk]
        if self.outside:
            moves += [self.add, self.add, self.propose_add, self.external_join]
        if len(self.members) > 2:
            moves += [self.remove, self.propose_remove, self.resync]
        self.random.choice(moves)()

    # One step each

    def pick(self, but: Peer | None = None) -> Peer:
        return self.random.choice([member for member in self.members if member is not but])

    @property
    def wire(self) -> str:
        return self.random.choice(["public", "private"])

    def send(self) -> None:
        sender, text = self.pick(), self.random.randbytes(self.random.randrange(40)).hex()
        message = sender.call("send", group=self.group, plaintext=text)["message"]
        for member in self.members:
            if member is not sender:
                self.open(member, message, text, sender.identity)

    def open(self, member: Peer, message: str, text: str, identity: str) -> None:
        got = member.call("process", group=self.group, message=message)
        assert (got["kind"], got["plaintext"], got["sender"]) == ("application", text, identity)

    def send_late(self) -> None:
        """Messages that arrive later, in any order, maybe epochs later."""
        sender = self.pick()
        to = [member.name for member in self.members if member is not sender]
        for _ in range(self.random.randint(1, 3)):
            text = self.random.randbytes(8).hex()
            message = sender.call("send", group=self.group, plaintext=text)["message"]
            self.late.append((message, text, sender.identity, to))

    def open_late(self) -> None:
        self.random.shuffle(self.late)
        for message, text, identity, to in self.late:
            for member in self.members:
                if member.name in to:
                    self.open(member, message, text, identity)
        self.late.clear()
        self.opened = self.epochs

    def add(self) -> None:
        committer = self.pick()
        new = self.random.sample(self.outside, self.random.randint(1, min(2, len(self.outside))))
        packages = [
            peer.call("key_package", grease=self.random.random() < 0.5)["key_package"]
            for peer in new
        ]
        tree_ext = self.random.random() < 0.5
        made = committer.call(
            "add", group=self.group, key_packages=packages, wire=self.wire, tree_ext=tree_ext
        )
        self.settle(committer, made, joining=new)

    def remove(self) -> None:
        committer = self.pick()
        count = self.random.randint(1, min(2, len(self.members) - 1))
        gone = self.random.sample([m for m in self.members if m is not committer], count)
        identities = [peer.identity for peer in gone]
        made = committer.call("remove", group=self.group, identities=identities, wire=self.wire)
        self.settle(committer, made, leaving=gone)

    def update(self) -> None:
        committer = self.pick()
        made = committer.call("commit_update", group=self.group, wire=self.wire)
        self.settle(committer, made)

    def psk(self) -> None:
        psk_id, psk = self.random.randbytes(4).hex(), self.random.randbytes(32).hex()
        committer = self.pick()
        for member in self.members:
            member.call("psk_register", psk_id=psk_id, psk=psk)
        made = committer.call("commit_psk", group=self.group, psk_id=psk_id, psk=psk)
        self.settle(committer, made)

    def race(self) -> None:
        """Two commits at once: one is dropped by its maker."""
        if len(self.members) < 2:
            return
        winner = self.pick()
        loser = self.pick(but=winner)
        won = winner.call("commit_update", group=self.group, wire=self.wire)
        loser.call("commit_update", group=self.group, wire=self.wire)
        loser.call("discard", group=self.group)
        self.settle(winner, won)

    def propose_add(self) -> None:
        new = self.random.choice(self.outside)
        package = new.call("key_package")["key_package"]
        proposer = self.pick()
        made = proposer.call("propose_add", group=self.group, key_package=package, wire=self.wire)
        self.hear_proposal(proposer, made["proposal"])
        committer = self.pick()
        commit = committer.call("commit_pending", group=self.group, wire=self.wire)
        self.settle(committer, commit, joining=[new])

    def propose_remove(self) -> None:
        gone, proposer = self.pick(), self.pick()
        made = proposer.call(
            "propose_remove", group=self.group, identity=gone.identity, wire=self.wire
        )
        self.hear_proposal(proposer, made["proposal"])
        committer = self.pick(but=gone)
        commit = committer.call("commit_pending", group=self.group, wire=self.wire)
        self.settle(committer, commit, leaving=[gone])

    def hear_proposal(self, proposer: Peer, proposal: str) -> None:
        for member in self.members:
            if member is not proposer:
                got = member.call("process", group=self.group, message=proposal)
                assert got["kind"] == "proposal"

    def external_join(self) -> None:
        new = self.random.choice(self.outside)
        self.enter_by_commit(new, resync=False)
        self.outside.remove(new)
        self.members.append(new)
        self.compare()

    def resync(self) -> None:
        """A member lost its state: messages from before are lost to it."""
        lost = self.pick()
        self.late = [
            (message, text, identity, [name for name in to if name != lost.name])
            for message, text, identity, to in self.late
        ]
        self.enter_by_commit(lost, resync=True)
        self.compare()

    def enter_by_commit(self, new: Peer, *, resync: bool) -> None:
        tree_ext = self.random.random() < 0.5
        info = self.pick(but=new).call("group_info", group=self.group, tree_ext=tree_ext)
        more = {} if tree_ext else {"tree": info["tree"]}
        joined = new.call("external_join", group_info=info["group_info"], resync=resync, **more)
        assert joined["group"] == self.group
        for member in self.members:
            if member is not new:
                got = member.call("process", group=self.group, message=joined["commit"])
                assert got["kind"] == "commit"

    # After a commit

    def settle(
        self,
        committer: Peer,
        made: dict[str, Any],
        joining: list[Peer] | None = None,
        leaving: list[Peer] | None = None,
    ) -> None:
        committer.call("merge", group=self.group)
        for member in list(self.members):
            if member is committer:
                continue
            got = member.call("process", group=self.group, message=made["commit"])
            if member in (leaving or []):
                assert got["kind"] == "removed"
                self.members.remove(member)
                self.outside.append(member)
            else:
                assert got["kind"] == "commit"
        for new in joining or []:
            more = {"tree": made["tree"]} if "tree" in made else {}
            joined = new.call("join", welcome=made["welcome"], **more)
            assert joined["group"] == self.group
            self.outside.remove(new)
            self.members.append(new)
        # Whoever left and may come back is not asked for what was sent before.
        gone = {peer.name for peer in leaving or []}
        self.late = [
            (message, text, identity, [name for name in to if name not in gone])
            for message, text, identity, to in self.late
        ]
        self.compare()

    def compare(self) -> None:
        """After each commit: who is late is heard in time, and all agree."""
        self.epochs += 1
        if self.epochs - self.opened >= KEPT_EPOCHS - 1:
            self.open_late()
        self.agree()

    def agree(self) -> None:
        """Epoch, context, authenticator, exported secret and members are equal everywhere."""
        views = []
        for member in self.members:
            epoch = member.call("epoch", group=self.group)
            secret = member.call(
                "export_secret", group=self.group, label="6c6162656c", context="00", length=24
            )
            members = member.call("members", group=self.group)["members"]
            views.append(
                (
                    epoch["epoch"],
                    epoch["group_context"],
                    epoch["authenticator"],
                    secret["secret"],
                    members,
                    member.call("tree", group=self.group)["tree"],
                )
            )
        assert all(view == views[0] for view in views)
        assert {one["identity"] for one in views[0][4]} == {m.identity for m in self.members}
