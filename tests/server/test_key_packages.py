"""Key packages: each handed out once, the last resort again and again, claims bounded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from pli_protocol.relay import frames as f

from .conftest import Server
from .people import TestEstablishment
from .raw_client import Refused
from .team import Member, joins


async def claim(member: Member, *accounts: bytes) -> list[tuple[bytes, bool]]:
    answer = await member.client.ask(f.ClaimKeyPackages(member.client.rid(), accounts))
    return [(claimed.key_package, claimed.last_resort) for claimed in answer.claimed]


async def publish(
    member: Member, *key_packages: bytes, last: bytes | None = None, replace: bool = False
) -> None:
    await member.client.ask(f.PublishKeyPackages(member.client.rid(), key_packages, last, replace))


async def test_each_is_handed_out_once_then_the_last_resort(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await publish(b, b"one", b"two", last=b"last")
    account = b.person.account
    assert await claim(a, account) == [(b"one", False)]
    await server.restart()
    again = await server.signed(a.device, a.client.signed_in.token)
    a = Member(a.person, a.device, again)
    assert await claim(a, account) == [(b"two", False)]
    assert await claim(a, account) == [(b"last", True)]
    assert await claim(a, account) == [(b"last", True)]
    client = await server.signed(b.device, b.client.signed_in.token)
    assert client.signed_in.key_packages == 0
    b = Member(b.person, b.device, client)
    await publish(b, b"one", b"three", last=b"newer")
    assert await claim(a, account) == [(b"three", False)]
    assert await claim(a, account) == [(b"newer", True)]


async def test_what_nobody_claimed_can_be_replaced_and_what_was_claimed_stays_used(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    await publish(b, b"one", b"two", last=b"last")
    await publish(c, b"of another")
    account = b.person.account
    assert await claim(a, account) == [(b"one", False)]
    for _ in range(2):  # sending again changes nothing
        await publish(b, b"one", b"new", last=b"newer", replace=True)
    assert await claim(a, account) == [(b"new", False)]
    assert await claim(a, account) == [(b"newer", True)]
    assert await claim(a, c.person.account) == [(b"of another", False)]


async def test_claims_at_once_never_get_the_same_one(
    server: Server, home: TestEstablishment
) -> None:
    target = await joins(server, home)
    await publish(target, *(b"kp%d" % number for number in range(20)))
    claimants = [await joins(server, home) for _ in range(4)]
    answers = await asyncio.gather(
        *(claim(member, target.person.account) for member in claimants for _ in range(5))
    )
    assert sorted(answer[0][0] for answer in answers) == sorted(b"kp%d" % n for n in range(20))


async def test_one_of_every_other_device_of_each_account(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    second = await server.further_device(a.person)
    other = Member(a.person, second, await server.signed(second))
    for member, name in ((a, b"a"), (b, b"b"), (other, b"other")):
        await publish(member, name)
    accounts = (a.person.account, b.person.account, b.person.account, bytes(16))
    answer = await a.client.ask(f.ClaimKeyPackages(a.client.rid(), accounts))
    assert {(c.account, c.device, c.key_package) for c in answer.claimed} == {
        (a.person.account, second.id, b"other"),
        (b.person.account, b.id, b"b"),
    }


async def test_what_does_not_fit_the_answer_is_not_spent(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    others = [await joins(server, home) for _ in range(14)]
    for number, member in enumerate(others):
        await publish(member, bytes([number]) * 6000)
    accounts = [member.person.account for member in others]
    got: list[bytes] = []
    while len(got) < len(others):
        found = await claim(a, *accounts[len(got) :])
        assert 0 < len(found) <= 10
        got += [key_package for key_package, _ in found]
    assert got == [bytes([number]) * 6000 for number in range(14)]


async def test_stock_size_and_claims_are_bounded(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(key_packages_per_device=3, claims_per_hour=4, claims_per_target_hour=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    a, b = await joins(server, home), await joins(server, home)
    with pytest.raises(Refused, match="too-large"):
        await publish(b, bytes(6145))
    with pytest.raises(Refused, match="limit"):
        await publish(b, b"1", b"2", b"3", last=b"last")
    # Nothing of the refused ones was kept.
    assert await claim(a, b.person.account) == []
    await publish(b, b"1", b"2", last=b"last")
    await claim(a, b.person.account)
    await claim(a, b.person.account)
    with pytest.raises(Refused, match="limit"):
        await claim(a, b.person.account)
    assert await claim(b, a.person.account) == []


async def test_another_establishments_accounts_have_no_key_packages(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    a, b = await joins(server, home), await joins(server, other)
    await publish(b, b"kp")
    assert await claim(a, b.person.account) == []
