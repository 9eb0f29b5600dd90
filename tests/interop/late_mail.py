"""Messages under way: sent in some epoch, opened in any order, at the latest when they still may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from .member import Count, Letter, Member


@dataclass
class Mail:
    """One message to one member. `sender_gone`: its sender was removed since."""

    letter: Letter
    sender: Member
    to: Member
    epoch: int
    sender_gone: bool = False


@dataclass
class LateMail:
    """All messages under way in a scenario's group."""

    random: Random
    count: Count
    waiting: list[Mail] = field(default_factory=list)

    def post(self, letter: Letter, sender: Member, to: Iterable[Member], epoch: int) -> None:
        self.waiting += [Mail(letter, sender, member, epoch) for member in to]

    def deliver_some(self, epoch: int) -> bool:
        """Whatever falls out of the bag, in any order."""
        if not self.waiting:
            return False
        number = self.random.randint(1, len(self.waiting))
        self._deliver(self.random.sample(self.waiting, number), epoch)
        return True

    def deliver_due(self, epoch: int) -> None:
        """What could not be opened any more after the next commit."""
        self._deliver(
            [m for m in self.waiting if epoch - m.epoch >= m.to.features["past_epochs"]], epoch
        )

    def deliver_all(self, epoch: int) -> None:
        self._deliver(self.random.sample(self.waiting, len(self.waiting)), epoch)

    def _deliver(self, mails: list[Mail], epoch: int) -> None:
        for mail in mails:
            self.waiting.remove(mail)
            mail.to.take(mail.letter)
            self.count["late message opened", mail.to.side] += 1
            if mail.epoch < epoch:
                self.count["message of a past epoch opened", mail.to.side] += 1
            if mail.sender_gone:
                self.count["message of a removed sender opened", mail.to.side] += 1

    def removed(self, gone: Member) -> None:
        """A member left its leaf: what it was to get is lost; what it sent is not, for most."""
        self.waiting = [mail for mail in self.waiting if mail.to is not gone]
        for mail in self.waiting:
            mail.sender_gone = mail.sender_gone or mail.sender is gone
        self.waiting = [
            mail
            for mail in self.waiting
            if not mail.sender_gone or mail.to.can("late_from_removed")
        ]
