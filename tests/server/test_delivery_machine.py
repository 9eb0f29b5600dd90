"""Any mixture of sending, repeating, acknowledging, leaving the line and restarting: one order, no gap."""

import asyncio
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

from .conftest import Server, running
from .databases import POSTGRESQL, SQLITE
from .people import TestDevice, TestEstablishment, commit, mls
from .raw_client import RawClient, Refused

MEMBERS = st.integers(0, 2)


class Side:
    """What one device knows, as its vault would."""

    def __init__(self, device: TestDevice) -> None:
        self.device = device
        self.token: bytes | None = None
        self.client: RawClient | None = None
        self.received: list[int] = []
        self.acked = 1
        self.seen = 1
        """The newest row that came on this connection: no other can be acknowledged on it."""
        self.previous: bytes | None = None
        self.sent: list[tuple[f.Send, f.Accepted]] = []


class Delivery(RuleBasedStateMachine):
    """Three devices in one group on one relay."""

    engine = SQLITE

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="pli-machine-")
        self.manager = running(Path(self.folder.name) / "relay", self.engine)
        self.server: Server = self.runner.run(self.manager.__aenter__())
        self.group, self.epoch, self.last = os.urandom(16), 1, 1
        self.sides: list[Side] = []
        self.runner.run(self._begin())

    async def _begin(self) -> None:
        home = TestEstablishment()
        await self.server.establish(home, self.server.code)
        self.sides = [Side(home.person().device()) for _ in range(3)]
        for side in self.sides:
            await self._connect(side)
        first = self._client(self.sides[0])
        others = tuple(side.device.id for side in self.sides[1:])
        message = commit(self.group, 0, others)
        await first.ask(f.CreateGroup(first.rid(), self.group, os.urandom(16), message, b"welcome"))
        for side in self.sides[1:]:
            client = self._client(side)
            welcome = await client.push(f.WelcomeWaiting)
            await client.send(f.AcknowledgeWelcome(welcome.item))
        await first.push(f.Row)
        for side in self.sides:
            side.received.append(1)
        # The creator's first row has not been acknowledged; the others begin after it.
        self.sides[0].acked = 0

    def _client(self, side: Side) -> RawClient:
        assert side.client is not None
        return side.client

    async def _connect(self, side: Side) -> None:
        side.client = await RawClient.signed(self.server.url, side.device, side.token)
        side.token, side.seen = side.client.signed_in.token, side.acked

    async def _receive(self, side: Side) -> None:
        """Take what came; a row that was received before is only ever one that was not acknowledged."""
        client = self._client(side)
        await client.settle()
        while client.pushes:
            frame = client.pushes.popleft()
            if isinstance(frame, f.WelcomeWaiting):
                # Its acknowledgement was lost with the connection.
                await client.send(f.AcknowledgeWelcome(frame.item))
                continue
            assert isinstance(frame, f.Row), frame
            seq = frame.position.seq
            if seq == side.received[-1] + 1:
                side.received.append(seq)
            else:
                assert side.acked < seq <= side.received[-1]
            side.seen = seq

    def online(self, number: int) -> Side | None:
        side = self.sides[number]
        return side if side.client is not None else None

    @rule(number=MEMBERS, count=st.integers(1, 8))
    def send(self, number: int, count: int) -> None:
        side = self.online(number)
        if side is not None:
            self.runner.run(self._send(side, count))

    async def _send(self, side: Side, count: int) -> None:
        client = self._client(side)
        begun = []
        for _ in range(count):
            send_id = os.urandom(16)
            message = mls(self.group, self.epoch, body=send_id)
            frame = f.Send(client.rid(), send_id, side.previous, message)
            begun.append((frame, await client.begin(frame)))
            side.previous = send_id
        for frame, answer in begun:
            accepted = await answer
            self.last += 1
            assert accepted.position.seq == self.last
            side.sent.append((frame, accepted))

    @rule(number=MEMBERS, data=st.data())
    def repeat(self, number: int, data: st.DataObject) -> None:
        side = self.online(number)
        if side is None or not side.sent:
            return
        frame, accepted = data.draw(st.sampled_from(side.sent))
        answer = self.runner.run(self._repeat(self._client(side), frame))
        assert (answer.position, answer.chain) == (accepted.position, accepted.chain)

    async def _repeat(self, client: RawClient, frame: f.Send) -> f.Accepted:
        return await client.ask(f.Send(client.rid(), frame.send_id, frame.previous, frame.message))

    @rule(number=MEMBERS)
    def commit(self, number: int) -> None:
        side = self.online(number)
        if side is not None:
            self.runner.run(self._commit(side))

    async def _commit(self, side: Side) -> None:
        send_id = os.urandom(16)
        message = commit(self.group, self.epoch)
        accepted = await self._client(side).sends(message, side.previous, send_id=send_id)
        side.previous, self.epoch, self.last = send_id, self.epoch + 1, self.last + 1
        assert accepted.position.seq == self.last

    @rule(number=MEMBERS, back=st.integers(1, 3))
    def stale(self, number: int, back: int) -> None:
        side = self.online(number)
        if side is not None and back <= self.epoch:
            refusal = self.runner.run(self._stale(side, self.epoch - back))
            assert (refusal.code, refusal.epoch) == ("stale-epoch", self.epoch)

    async def _stale(self, side: Side, epoch: int) -> f.Refused:
        try:
            await self._client(side).sends(mls(self.group, epoch), side.previous)
        except Refused as refused:
            return refused.frame
        raise AssertionError("a stale row was taken")

    @rule(number=MEMBERS)
    def receive(self, number: int) -> None:
        side = self.online(number)
        if side is not None:
            self.runner.run(self._receive(side))

    @rule(number=MEMBERS)
    def acknowledge(self, number: int) -> None:
        side = self.online(number)
        if side is not None:
            self.runner.run(self._acknowledge(side))

    async def _acknowledge(self, side: Side) -> None:
        await self._receive(side)
        side.acked = side.seen
        client = self._client(side)
        await client.send(f.Acknowledge((f.Acknowledgement(self.group, side.acked),)))
        await client.settle()

    @rule(number=MEMBERS)
    def go(self, number: int) -> None:
        side = self.online(number)
        if side is not None:
            self.runner.run(self._client(side).close())
            side.client = None

    @rule(number=MEMBERS)
    def come(self, number: int) -> None:
        side = self.sides[number]
        if side.client is None:
            self.runner.run(self._connect(side))

    @precondition(lambda self: self.last > 3)
    @rule()
    def restart(self) -> None:
        self.runner.run(self._restart())

    async def _restart(self) -> None:
        for side in self.sides:
            if side.client is not None:
                await side.client.close()
                side.client = None
        await self.server.restart()
        for side in self.sides:
            await self._connect(side)

    @invariant()
    def nobody_has_a_gap(self) -> None:
        for side in self.sides:
            assert side.received == list(range(1, len(side.received) + 1))

    def teardown(self) -> None:
        try:
            self.runner.run(self._finish())
        finally:
            self.runner.run(self._stop())
            self.runner.close()
            self.folder.cleanup()

    async def _stop(self) -> None:
        for side in self.sides:
            if side.client is not None:
                await side.client.close()
        await self.manager.__aexit__(None, None, None)

    async def _finish(self) -> None:
        """Everybody comes back: all have everything, under one chain."""
        for side in self.sides:
            if side.client is None:
                await self._connect(side)
            while side.received[-1] < self.last:
                await self._acknowledge(side)
        client = self._client(self.sides[0])
        chain, seq = FIRST_CHAIN, 0
        while seq < self.last:
            answer = await client.ask(f.Fetch(client.rid(), self.group, seq))
            for row in answer.rows:
                chain = chain_hash(
                    chain,
                    self.group,
                    row.position,
                    row.epoch,
                    row.kind,
                    row.sender,
                    row.send_id,
                    row.message,
                )
                assert row.chain == chain
                seq = row.position.seq


class OnPostgreSQL(Delivery):
    """The same on the database that nodes share."""

    engine = POSTGRESQL


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


TestDelivery = Delivery.TestCase
TestDelivery.settings = examples(30)
TestOnPostgreSQL = pytest.mark.needs_postgresql(OnPostgreSQL.TestCase)
TestOnPostgreSQL.settings = examples(8)
