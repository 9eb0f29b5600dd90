"""A group of many for a state machine: its members, what is on its way, and the log that orders commits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pli_protocol.mls import (
    ACCEPT_BASIC,
    PAST_EPOCHS,
    Add,
    BasicCredential,
    Capabilities,
    CommitReceived,
    Committed,
    Extension,
    ExternalSender,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    MLSError,
    PreSharedKeyID,
    ProposalReceived,
    PSKType,
    Removed,
    RequiredCapabilities,
    SignatureKeyPair,
    ValidationError,
    external_senders_extension,
    generate_key_package,
    required_capabilities_extension,
    suite,
)
from pli_protocol.mls.key_package import own_capabilities

from .groups import LIFETIME, NOW, Member, refused, seeded

SPECIAL = 0xF00D
"""An extension type of our own, which all members know."""


class Participant(Member):
    """A member with a memory of what it may still open."""

    def __init__(self, name: str, number: int, seed: object = 0) -> None:
        super().__init__(name, number, str(seed))
        self.oldest = 0
        """The first epoch of which it opens messages, as far as it was not too long ago."""
        self.changed = True

    @property
    def capabilities(self) -> Capabilities:
        return replace(own_capabilities(self.suite, self.credential), extensions=(SPECIAL,))

    def keep(self, group: Group | None, changes: Any) -> None:
        super().keep(group, changes)
        self.changed = True

    def key_package(self) -> tuple[KeyPackage, KeyPackageSecrets]:
        return generate_key_package(
            self.suite,
            self.credential,
            self.signer,
            lifetime=LIFETIME,
            capabilities=self.capabilities,
            random=self.random,
        )

    def create(self, group_id: bytes = b"group", **more: Any) -> None:
        super().create(group_id, capabilities=self.capabilities, **more)

    def join_external(self, group_info: bytes, **more: Any) -> bytes:
        return super().join_external(group_info, capabilities=self.capabilities, **more)

    def opens(self, epoch: int) -> bool:
        """Whether messages of this epoch can still be opened."""
        return epoch >= max(self.oldest, self.group.epoch - PAST_EPOCHS)

    def restart(self) -> None:
        """Read everything back from the store."""
        self.keep(Group.from_entries(self.stored, self.signer), {})


@dataclass
class Late:
    """A message on its way to some members."""

    epoch: int
    sender: Participant
    message: bytes
    text: bytes
    to: list[Participant]


@dataclass
class Log:
    """One group, everybody's view of it, and who was in it before."""

    number: int
    seed: int
    members: list[Participant] = field(default_factory=list)
    gone: list[Participant] = field(default_factory=list)
    invited: dict[bytes, tuple[Participant, tuple[KeyPackage, KeyPackageSecrets]]] = field(
        default_factory=dict
    )
    """Those whose Add is proposed in this epoch, by their names."""
    missed: dict[str, list[bytes]] = field(default_factory=dict)
    """Proposals of this epoch that did not come through, by the member's name."""
    late: list[Late] = field(default_factory=list)
    old: list[bytes] = field(default_factory=list)
    """Proposals and commits of epochs that are over."""
    count: int = 0
    groups: int = 0

    def __post_init__(self) -> None:
        self.random = seeded(f"log {self.seed}")
        self.psks: dict[bytes, bytes] = {}
        self.resumptions: dict[tuple[bytes, int], bytes] = {}
        self.outsider: SignatureKeyPair = suite(self.number).generate_signature_key(self.random)
        founder = self.newcomer()
        founder.create(extensions=self.extensions(senders=True))
        self.members = [founder]
        self.compared: tuple[bytes, int] | None = None

    # Who there is

    def newcomer(self) -> Participant:
        self.count += 1
        return self.participant(f"member {self.count}", self.number, self.seed)

    def participant(self, name: str, number: int, seed: object) -> Participant:
        made = Participant(name, number, seed)
        made.psks = self.find_psk  # type: ignore[assignment]
        return made

    def find_psk(self, psk: PreSharedKeyID) -> bytes | None:
        """Keys are known to everybody, those of epochs that one was not in too."""
        if psk.psktype is PSKType.EXTERNAL:
            return self.psks.get(psk.psk_id)
        return self.resumptions.get((psk.psk_group_id, psk.psk_epoch))

    def pick(self, number: int) -> Participant:
        return self.members[number % len(self.members)]

    def others(self, but: Participant) -> list[Participant]:
        return [member for member in self.members if member is not but]

    @property
    def size(self) -> int:
        """How many there are, with those who may come in by the next commit."""
        return len(self.members) + len(self.invited)

    @property
    def epoch(self) -> int:
        return self.members[0].group.epoch

    def extensions(
        self, *, senders: bool, required: bool = False, special: bytes | None = None
    ) -> tuple[Extension, ...]:
        found = []
        if senders:
            sender = ExternalSender(self.outsider.public, BasicCredential(b"outsider"))
            found.append(external_senders_extension([sender]))
        if required:
            needs = RequiredCapabilities((SPECIAL,), (), (1,))
            found.append(required_capabilities_extension(needs))
        if special is not None:
            found.append(Extension(SPECIAL, special))
        return tuple(found)

    @property
    def hears_outsider(self) -> bool:
        """Whether the group names the outsider among its external senders."""
        return self.members[0].group.extension(5) is not None

    # What they send

    def invite(self, whom: Participant) -> Add:
        """An Add for somebody who will be let in if it is committed in this epoch."""
        package = whom.key_package()
        self.invited[whom.name.encode()] = (whom, package)
        return Add(package[0])

    def proposed(self, message: bytes, by: Participant | None, lost_by: int | None) -> None:
        """A proposal reaches everybody but perhaps one, who gets it when a commit needs it."""
        for member in self.members:
            if member is by:
                continue
            if lost_by is not None and member is self.pick(lost_by):
                self.missed.setdefault(member.name, []).append(message)
                continue
            assert isinstance(member.process(message), ProposalReceived)
        self.old.append(message)

    def won(self, committer: Participant, made: Committed, restarted: bool = False) -> None:
        """The log takes a commit: everybody processes it, who is added joins."""
        if restarted:
            committer.restart()
            # A new signature key is kept outside of the group's entries.
            rekeyed = replace(committer.group, signer=made.group.signer)
            made = replace(made, group=rekeyed.following(made.changes))
        for member in self.others(committer):
            self._take(member, made.message, made)
        committer.merge(made)
        committer.signer = committer.group.signer
        self._let_in(made)
        self._begin(made.message)

    def entered(self, new: Participant, message: bytes) -> None:
        """The log takes an external commit."""
        for member in self.others(new):
            self._take(member, message, None)
        if new not in self.members:
            self.members.append(new)
        new.oldest = new.group.epoch
        self._begin(message)

    def _take(self, member: Participant, message: bytes, made: Committed | None) -> None:
        try:
            outcome = member.process(message)
        except ValidationError as error:
            missed = self.missed.pop(member.name, [])
            if error.rule != "proposal-unknown" or not missed:
                raise
            for proposal in missed:
                member.process(proposal)
            outcome = member.process(message)
        if isinstance(outcome, Removed):
            self.members.remove(member)
            self.gone.append(member)
            return
        assert isinstance(outcome, CommitReceived)
        assert outcome.external == (made is None)
        if made is not None:
            assert outcome.added == made.plan.added
            assert outcome.removed == made.plan.removed
            assert outcome.updated == made.plan.updated
            assert outcome.signed == made.signed

    def _let_in(self, made: Committed) -> None:
        names = [member.credential.identity for member in made.plan.added]  # type: ignore[union-attr]
        assert (made.welcome is not None) == bool(names)
        for name in names:
            new, package = self.invited.pop(name)
            assert made.welcome is not None
            tree = None if made.tree_in_welcome else made.ratchet_tree
            new.join(made.welcome, package, tree=tree)
            new.oldest = new.group.epoch
            self.members.append(new)
            if new in self.gone:
                self.gone.remove(new)

    def _begin(self, message: bytes) -> None:
        self.old.append(message)
        del self.old[:-8]
        for whom, _ in self.invited.values():
            if whom not in self.gone:
                self.gone.append(whom)
        self.invited.clear()
        self.missed.clear()
        self.compare()

    # Messages that come late

    def send(self, sender: Participant, text: bytes, to: list[Participant], **more: Any) -> Late:
        late = Late(sender.group.epoch, sender, sender.seal(text, **more), text, to)
        self.late.append(late)
        return late

    def deliver(self, late: Late) -> None:
        """To everybody who should get it: opened once, and refused when it comes again."""
        for member in late.to:
            if member not in self.members:
                continue
            if not member.opens(late.epoch):
                with refused(member, "epoch-wrong"):
                    member.process(late.message)
                continue
            outcome = member.process(late.message)
            assert (outcome.data, outcome.epoch) == (late.text, late.epoch)
            assert outcome.sender.credential == late.sender.credential
            with refused(member, "generation-used"):
                member.process(late.message)
        self.late.remove(late)

    # Comparing

    def compare(self) -> None:
        """After each epoch all members are equal; after each step the stores are what they hold."""
        first = self.members[0]
        for member in self.members:
            if member.changed:
                member.check_store()
                member.changed = False
            assert member.group.context == first.group.context
        if self.compared == (first.group.group_id, first.group.epoch):
            return
        self.compared = (first.group.group_id, first.group.epoch)
        expected = view(first.group)
        secret = first.group.resumption_psk(first.group.group_id, first.group.epoch)
        assert secret is not None
        self.resumptions[first.group.group_id, first.group.epoch] = secret
        for member in self.members[1:]:
            assert view(member.group) == expected
        names = {member.credential for member in first.group.members()}
        assert names == {member.credential for member in self.members}
        assert all(not member.is_member for member in self.gone)


def view(group: Group) -> tuple[object, ...]:
    """What must be the same at all members of an epoch."""
    return (
        group.epoch,
        group.context,
        group.epoch_authenticator,
        group.export_secret("test", b"context", 32),
        group.members(),
        group.tree,
        group.tree.tree_hash(group.suite),
        group.resumption_psk(group.group_id, group.epoch),
        group.interim_transcript_hash,
        group.confirmation_tag,
        group.reinit,
    )


def outside(**more: Any) -> dict[str, Any]:
    """What the application says at every operation."""
    return {"identity": ACCEPT_BASIC, "now": NOW} | more


__all__ = ["SPECIAL", "Late", "Log", "MLSError", "Participant", "outside", "view"]
