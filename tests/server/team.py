"""People signed in on a relay, and the groups they share, in few words."""

import os
from dataclasses import dataclass, field

from pli_protocol.relay import frames as f

from .conftest import Server
from .people import TestDevice, TestEstablishment, TestPerson, commit, mls
from .raw_client import RawClient


@dataclass
class Member:
    """A person with one device that is signed in."""

    person: TestPerson
    device: TestDevice
    client: RawClient

    @property
    def id(self) -> bytes:
        return self.device.id


@dataclass
class Team:
    """A group on the relay; `epoch` and each member's last send are tracked."""

    group: bytes
    epoch: int = 1
    previous: dict[bytes, bytes] = field(default_factory=dict)

    async def says(self, member: Member, body: bytes = b"sealed") -> f.Accepted:
        send_id = os.urandom(16)
        accepted = await member.client.sends(
            mls(self.group, self.epoch, body=body), self.previous.get(member.id), send_id=send_id
        )
        self.previous[member.id] = send_id
        return accepted

    async def changes(
        self,
        member: Member,
        added: tuple[Member, ...] = (),
        removed: tuple[Member, ...] = (),
        welcome: bytes | None = b"welcome",
    ) -> f.Accepted:
        send_id = os.urandom(16)
        accepted = await member.client.sends(
            commit(
                self.group,
                self.epoch,
                tuple(m.id for m in added),
                tuple(m.id for m in removed),
            ),
            self.previous.get(member.id),
            send_id=send_id,
            welcome=welcome if added else None,
        )
        self.previous[member.id] = send_id
        for newcomer in added:
            self.previous.pop(newcomer.id, None)
        self.epoch += 1
        return accepted


async def joins(server: Server, home: TestEstablishment, name: str = "Anne Durand") -> Member:
    """A new person, signed in."""
    person = home.person(name)
    device = person.device()
    return Member(person, device, await server.signed(device))


async def team(creator: Member, *others: Member) -> Team:
    """A new group; its first row and the Welcomes have been received."""
    made = Team(os.urandom(16))
    await creator.client.ask(
        f.CreateGroup(
            creator.client.rid(),
            made.group,
            os.urandom(16),
            commit(made.group, 0, tuple(member.id for member in others)),
            b"welcome" if others else None,
        )
    )
    await creator.client.push(f.Row)
    for member in others:
        welcome = await member.client.push(f.WelcomeWaiting)
        await member.client.send(f.AcknowledgeWelcome(welcome.item))
    return made
