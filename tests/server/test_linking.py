"""Linking at the relay: it carries a request and a letter, for one account, for two minutes."""

import os
from collections.abc import Awaitable, Callable

import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_server.sweep import sweep

from .conftest import Server
from .credentials import Clock, Factors
from .people import TestDevice, TestEstablishment
from .raw_client import RawClient, Refused
from .team import Member, joins


@pytest.fixture
def clock(server: Server) -> Clock:
    made = Clock()
    server.clock = made
    return made


class Linker:
    """A person with both factors, and what a new device of theirs does."""

    def __init__(self, server: Server, home: TestEstablishment, clock: Clock) -> None:
        self.server, self.home, self.clock = server, home, clock
        self.factors = Factors(clock)
        self.member: Member

    async def joins(self) -> "Linker":
        self.member = await joins(self.server, self.home)
        await self.factors.set_up(self.member.client)
        return self

    async def opens(self) -> RawClient:
        """A connection of the new device, with the account open."""
        client = await self.server.open()
        account = self.member.person.account
        shown = f.OpenAccount(
            client.rid(), self.home.id, account, self.factors.password, self.factors.code()
        )
        await client.ask(shown)
        return client

    async def asks(
        self, client: RawClient, device: bytes = bytes(16), request: bytes = b"request"
    ) -> bytes:
        """Leave a request for a device; its id."""
        number = os.urandom(16)
        await client.ask(f.RequestLinking(client.rid(), number, device, request))
        return number

    async def waiting(self) -> bytes | None:
        client = self.member.client
        return (await client.ask(f.GetLinking(client.rid()))).request  # type: ignore[no-any-return]

    async def answers(self, number: bytes, sealed: bytes = b"letter") -> None:
        client = self.member.client
        await client.ask(f.AnswerLinking(client.rid(), number, sealed))


@pytest.fixture
async def anne(server: Server, home: TestEstablishment, clock: Clock) -> Linker:
    return await Linker(server, home, clock).joins()


async def code_of(asked: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await asked
    return caught.value.code


async def test_a_linked_device_gets_its_letter_and_signs_in(server: Server, anne: Linker) -> None:
    new = await anne.opens()
    device = anne.member.person.device()
    number = await anne.asks(new, device.id)
    assert await anne.waiting() == b"request"
    assert (await new.ask(f.FetchLinking(new.rid(), number))).sealed is None
    await anne.answers(number)
    pushed = await new.push(f.LinkingAnswer)
    assert (pushed.request_id, pushed.sealed) == (number, b"letter")
    assert (await new.ask(f.FetchLinking(new.rid(), number))).sealed == b"letter"
    assert await anne.waiting() is None
    await server.signed(device)


async def test_a_further_device_that_nobody_approved_is_refused_whatever_its_chain(
    server: Server, anne: Linker
) -> None:
    device = anne.member.person.device()
    assert await code_of(server.signed(device)) == "sign-in-failed"
    number = await anne.asks(await anne.opens())
    assert await code_of(server.signed(device)) == "sign-in-failed"
    await anne.answers(number)
    assert await code_of(server.signed(device)) == "sign-in-failed", "another one asked"


async def test_an_approval_ends_after_a_day(server: Server, anne: Linker) -> None:
    device: TestDevice = anne.member.person.device()
    await anne.answers(await anne.asks(await anne.opens(), device.id))
    anne.clock.moves(86_400)
    assert await code_of(server.signed(device)) == "sign-in-failed"


async def test_a_person_whose_devices_were_all_revoked_begins_by_the_chain_again(
    server: Server, anne: Linker
) -> None:
    device = anne.member.person.device()
    server.change("UPDATE devices SET revoked = 1")
    await server.signed(device)


async def test_a_request_is_over_after_two_minutes(anne: Linker) -> None:
    number = await anne.asks(await anne.opens())
    anne.clock.moves(119)
    assert await anne.waiting() == b"request"
    anne.clock.moves(1)
    assert await anne.waiting() is None
    assert await code_of(anne.answers(number)) == "not-found"


async def test_the_newest_request_waits_and_the_one_before_cannot_be_answered(
    anne: Linker,
) -> None:
    new = await anne.opens()
    first = await anne.asks(new, request=b"first")
    await anne.asks(new, request=b"second")
    assert await anne.waiting() == b"second"
    assert await code_of(anne.answers(first)) == "not-found"


async def test_the_same_again_changes_nothing_and_another_answer_is_a_conflict(
    anne: Linker,
) -> None:
    new, device = await anne.opens(), os.urandom(16)
    number = await anne.asks(new, device)
    await new.ask(f.RequestLinking(new.rid(), number, device, b"request"))
    for _ in range(2):
        await anne.answers(number)
    assert await code_of(anne.answers(number, b"another letter")) == "conflict"
    for other in ((device, b"another request"), (bytes(16), b"request")):
        assert await code_of(new.ask(f.RequestLinking(new.rid(), number, *other))) == "conflict"


async def test_nobody_else_sees_answers_or_fetches_it(
    server: Server, home: TestEstablishment, anne: Linker
) -> None:
    karim = await Linker(server, home, anne.clock).joins()
    new, others = await anne.opens(), await karim.opens()
    number = await anne.asks(new)
    assert await karim.waiting() is None
    assert await code_of(karim.answers(number)) == "not-found"
    assert await code_of(others.ask(f.FetchLinking(others.rid(), number))) == "not-found"
    taken = f.RequestLinking(others.rid(), number, bytes(16), b"request")
    assert await code_of(others.ask(taken)) == "conflict"


@pytest.mark.parametrize(
    "make",
    [
        lambda rid: f.GetDirectory(rid),
        lambda rid: f.GetDevices(rid),
        lambda rid: f.GetLinking(rid),
        lambda rid: f.SetPassword(rid, bytes(32)),
        lambda rid: f.StepUp(rid, bytes(32), "123456"),
        lambda rid: f.AnswerLinking(rid, bytes(16), b"letter"),
    ],
)
async def test_an_open_account_may_do_nothing_but_ask(
    anne: Linker, make: Callable[[int], f.ClientFrame]
) -> None:
    new = await anne.opens()
    assert await code_of(new.ask(make(new.rid()))) == "out-of-order"


async def test_an_account_may_ask_so_often_in_a_day(anne: Linker) -> None:
    for number in range(20):
        if number % 4 == 0:  # so many may wait on one connection
            new = await anne.opens()
        await anne.asks(new)
    new = await anne.opens()
    assert await code_of(anne.asks(new)) == "limit"
    anne.clock.moves(86_400)
    await anne.asks(await anne.opens())


async def test_requests_and_letters_go_after_a_day(server: Server, anne: Linker) -> None:
    number = await anne.asks(await anne.opens())
    await anne.answers(number)
    anne.clock.moves(86_401)
    await sweep(server.relay)
    assert server.read(lambda db: db.scalar(sa.text("SELECT count(*) FROM linkings"))) == 0
