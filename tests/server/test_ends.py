"""Accounts and certificates that end: cut off to the second, in no directory, extended by a certificate."""

import asyncio

import pytest

from pli_protocol.identity import make_device, make_person
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import device_id
from pli_server import ends

from .conftest import Server
from .people import NOW, TestDevice, TestEstablishment, TestPerson, commit
from .raw_client import Refused
from .team import joins, team
from .test_statements import ask_refusal, enrols

END = NOW + 100


def ending(home: TestEstablishment, person: TestPerson, not_after: int | None, now: int) -> bytes:
    """A newer certificate of a person, with this end."""
    return make_person(
        home.issuer_key,
        home.issuer,
        account=person.account,
        name="Anne Durand",
        profession="infirmière",
        identity_key=person.identity.public,
        now=now,
        not_after=not_after,
    )


def vacataire(home: TestEstablishment, end: int | None = END) -> TestPerson:
    person = home.person()
    return TestPerson(home, person.account, person.identity, ending(home, person, end, NOW))


async def test_a_device_is_cut_when_its_account_ends_and_not_a_second_before(
    server: Server, home: TestEstablishment
) -> None:
    now = NOW * 1000
    server.clock = lambda: now
    person, colleague = vacataire(home), await joins(server, home)
    client = await server.signed(person.device())
    task = asyncio.create_task(ends.run(server.relay))
    try:
        now = END * 1000 + 999
        server.relay.earlier_end.set()
        await client.settle()
        assert not client.closed
        now = END * 1000 + 1000
        server.relay.earlier_end.set()
        assert (await client.push(f.Refused)).code == "sign-in-failed"
        await colleague.client.settle()
        assert not colleague.client.closed
    finally:
        task.cancel()


async def test_the_loop_is_woken_by_who_ends_before_all_others(
    server: Server, home: TestEstablishment
) -> None:
    server.clock = lambda: NOW * 1000
    task = asyncio.create_task(ends.run(server.relay))
    try:
        for end in (END, END + 50, END - 50):
            client = await server.signed(vacataire(home, end).device())
            await client.settle()
        assert server.relay.next_end == END - 50
    finally:
        task.cancel()


async def test_a_device_certificate_ends_as_an_account_does(
    server: Server, home: TestEstablishment
) -> None:
    person = home.person()
    device = person.device()
    short = make_device(person.identity, person.certificate, device.key.public, now=NOW, days=1)
    device = TestDevice(device.key, (short, *device.chain[1:]), device.account)
    server.clock = lambda: (NOW + 86400) * 1000
    client = await server.signed(device)
    server.clock = lambda: (NOW + 86401) * 1000
    with pytest.raises(Refused, match="sign-in-failed"):
        await (await server.open()).sign_in(device, client.signed_in.token)


async def test_who_has_ended_is_in_no_directory_and_nobody_is_given_a_key_package(
    server: Server, home: TestEstablishment
) -> None:
    server.clock = lambda: NOW * 1000
    person, colleague = vacataire(home), await joins(server, home)
    client = await server.signed(device := person.device())
    await client.ask(f.PublishKeyPackages(client.rid(), (b"kp", b"kp2")))
    asked = f.ClaimKeyPackages(colleague.client.rid(), (person.account,))
    assert len((await colleague.client.ask(asked)).claimed) == 1
    server.clock = lambda: END * 1000 + 1
    directory = await colleague.client.ask(f.GetDirectory(colleague.client.rid()))
    assert person.certificate not in {chain[0] for chain in directory.people}
    asked = f.ClaimKeyPackages(colleague.client.rid(), (person.account,))
    assert (await colleague.client.ask(asked)).claimed == ()
    group = await team(colleague)
    added = commit(group.group, 1, (device_id(device.key.public),))
    with pytest.raises(Refused, match="roster"):
        await colleague.client.sends(added, None, welcome=b"welcome")


async def test_an_extended_account_learns_of_it_when_it_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    server.clock = lambda: NOW * 1000
    person, colleague = vacataire(home), await joins(server, home)
    client = await server.signed(device := person.device())
    server.clock = lambda: END * 1000 + 1000
    with pytest.raises(Refused, match="sign-in-failed"):
        await (await server.open()).sign_in(device, client.signed_in.token)
    later = ending(home, person, None, NOW + 1)
    issuer = await server.issuer(home)
    await issuer.ask(f.PublishCertificate(issuer.rid(), later))
    assert (await colleague.client.push(f.DirectoryChanged)).establishment == home.id
    told = await ask_refusal(await server.open(), device)
    assert told.person == (later, home.issuer)
    certificate = make_device(person.identity, later, device.key.public, now=NOW + 1)
    renewed = TestDevice(device.key, (certificate, later, home.issuer), device.account)
    await server.signed(renewed, client.signed_in.token)


async def test_an_end_that_was_brought_forward_counts_whatever_certificate_is_shown(
    server: Server, home: TestEstablishment
) -> None:
    server.clock = lambda: NOW * 1000
    person = home.person()
    await enrols(server, home, person, None)
    client = await server.signed(device := person.device())
    issuer = await server.issuer(home)
    sooner = ending(home, person, END, NOW + 1)
    await issuer.ask(f.PublishCertificate(issuer.rid(), sooner))
    server.clock = lambda: END * 1000 + 1
    with pytest.raises(Refused, match="sign-in-failed"):
        await (await server.open()).sign_in(device, client.signed_in.token)


async def test_a_certificate_of_nobody_here_or_under_another_key_is_not_taken(
    server: Server, home: TestEstablishment
) -> None:
    member = await joins(server, home)
    stranger = home.person()
    other_key = home.person(account=member.person.account)
    issuer = await server.issuer(home)
    for person in (stranger, other_key):
        with pytest.raises(Refused, match="not-found"):
            await issuer.ask(f.PublishCertificate(issuer.rid(), person.certificate))
