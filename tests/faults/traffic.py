"""Pairs that write to each other through a relay without pause, and what was acknowledged to them."""

import asyncio
import os
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosed

from pli_protocol.relay import frames as f

from ..server.people import TestEstablishment, commit, mls
from ..server.raw_client import RawClient, Refused

IN_FLIGHT = 8


@dataclass
class Traffic:
    """The send ids, by group, that the relay acknowledged, in the order of sending."""

    acknowledged: dict[bytes, list[bytes]] = field(default_factory=dict)
    sent: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 500

    async def run(self, url: str, code: str, pairs: int) -> None:
        """Until every pair's connection is lost."""
        establishment = TestEstablishment()
        issuer = await RawClient.open(url)
        await issuer.register(establishment, code)
        await issuer.close()
        ready = [await self._pair(url, establishment) for _ in range(pairs)]
        await asyncio.gather(*(self._send(client, group) for client, group in ready))

    async def _pair(self, url: str, establishment: TestEstablishment) -> tuple[RawClient, bytes]:
        one, two = establishment.person().device(), establishment.person().device()
        sender, receiver = await RawClient.signed(url, one), await RawClient.signed(url, two)
        group = os.urandom(16)
        first = commit(group, 0, (two.id,))
        await sender.ask(f.CreateGroup(sender.rid(), group, os.urandom(16), first, b"welcome"))
        welcome = await receiver.push(f.WelcomeWaiting)
        await receiver.send(f.AcknowledgeWelcome(welcome.item))
        self.acknowledged[group] = []
        return sender, group

    async def _send(self, client: RawClient, group: bytes) -> None:
        previous: bytes | None = None
        under_way: list[tuple[bytes, asyncio.Future[f.Accepted]]] = []
        try:
            while True:
                send_id = os.urandom(16)
                frame = f.Send(client.rid(), send_id, previous, mls(group, 1, body=bytes(900)))
                under_way.append((send_id, await client.begin(frame)))
                previous = send_id
                if len(under_way) == IN_FLIGHT:
                    await self._answered(group, *under_way.pop(0))
        except (ConnectionClosed, Refused):
            pass
        for send_id, answer in under_way:
            if answer.done() and answer.exception() is None:
                self.acknowledged[group].append(send_id)

    async def _answered(
        self, group: bytes, send_id: bytes, answer: "asyncio.Future[f.Accepted]"
    ) -> None:
        await answer
        self.acknowledged[group].append(send_id)
        self.sent += 1
        if self.sent >= self.wanted:
            self.enough.set()
