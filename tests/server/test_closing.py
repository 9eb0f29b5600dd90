"""Closing an account: who may, what goes, what stays, and that nobody gets its name again."""

import os
from collections.abc import Awaitable

import pytest
import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_server.storage.tables import metadata

from .conftest import Server
from .credentials import Clock, Factors
from .people import TestEstablishment
from .raw_client import RawClient, Refused
from .team import Member, joins, team
from .test_statements import ask_refusal


@pytest.fixture
def clock(server: Server) -> Clock:
    made = Clock()
    server.clock = made
    return made


async def code_of(asked: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await asked
    return caught.value.code


def dump(server: Server) -> dict[str, list[tuple[object, ...]]]:
    """The whole database but the trace, which names ids and no more."""
    tables = [table for table in metadata.sorted_tables if not table.name.startswith("trace")]
    return server.read(
        lambda db: {
            table.name: [tuple(r) for r in db.execute(sa.select(table))] for table in tables
        }
    )


async def everything_of(server: Server, member: Member, factors: Factors) -> Member:
    """Whatever a relay may hold of a person; returns a colleague who shares a group."""
    client = member.client
    await factors.set_up(client)
    await client.ask(f.PublishKeyPackages(client.rid(), (os.urandom(40),), os.urandom(40)))
    new = await server.open()
    account = member.person.account
    await new.ask(
        f.OpenAccount(
            new.rid(), member.person.establishment.id, account, factors.password, factors.code()
        )
    )
    await new.ask(f.RequestLinking(new.rid(), os.urandom(16), bytes(16), os.urandom(50)))
    await client.ask(f.PutBlob(client.rid(), os.urandom(32), 0, 3, b"abc"))
    colleague = await joins(server, member.person.establishment, "Karim Benali")
    own = colleague.client
    await own.ask(f.PublishKeyPackages(own.rid(), (os.urandom(40),)))
    await client.ask(f.ClaimKeyPackages(client.rid(), (colleague.person.account,)))
    group = await team(colleague, member)
    await group.says(member)
    return colleague


async def closes(client: RawClient, account: bytes | None = None) -> None:
    await client.ask(f.CloseAccount(client.rid(), account))


async def test_what_the_relay_holds_of_a_closed_account_is_gone(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, factors = await joins(server, home), Factors(clock)
    await everything_of(server, anne, factors)
    before = dump(server)
    number = next(row[0] for row in before["accounts"] if anne.person.account in row)
    await factors.step_up(anne.client)
    await closes(anne.client)

    held = dump(server)
    flat = b"".join(
        v for rows in held.values() for row in rows for v in row if isinstance(v, bytes)
    )
    assert anne.person.certificate not in flat
    for table in ("credentials", "recovery_codes", "linkings", "claims"):
        assert before[table], table
        assert held[table] == [], table
    devices = [row[0] for row in held["devices"] if row[2] == number]
    assert [row for row in before["key_packages"] if row[1] in devices]
    assert not [row for row in held["key_packages"] if row[1] in devices]
    (left,) = [row for row in held["accounts"] if row[0] == number]
    assert {anne.person.account, anne.person.person_id} <= set(left)
    assert held["rows"] == before["rows"], "they are others' history too"
    (blob,) = held["blobs"]
    assert blob[1] is None
    active = sa.text("SELECT count(*) FROM members WHERE account_no = :no AND state IN (0, 1)")
    assert server.read(lambda db: db.scalar(active, {"no": number})) == 0
    tokens = sa.text("SELECT token, next_token, last_seen FROM devices WHERE account_no = :no")
    assert server.read(lambda db: tuple(db.execute(tokens, {"no": number}).one())) == (None,) * 3


async def test_a_closed_account_is_cut_and_neither_signs_in_nor_opens(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, factors = await joins(server, home), Factors(clock)
    colleague = await everything_of(server, anne, factors)
    second = await server.further_device(anne.person)
    other = await server.signed(second)
    await factors.step_up(anne.client)
    await closes(anne.client)
    refused = [frame async for frame in _until_closed(other)][-1]
    assert isinstance(refused, f.Refused)
    assert refused.code == "sign-in-failed"
    assert (
        await code_of(server.signed(anne.device, anne.client.signed_in.token)) == "sign-in-failed"
    )
    assert await code_of(server.signed(anne.person.device())) == "sign-in-failed"
    opened = await server.open()
    shown = f.OpenAccount(
        opened.rid(), home.id, anne.person.account, factors.password, factors.recovery[0]
    )
    assert await code_of(opened.ask(shown)) == "not-accepted"
    people = (await colleague.client.ask(f.GetDirectory(colleague.client.rid()))).people
    assert all(chain[0] != anne.person.certificate for chain in people)
    claim = f.ClaimKeyPackages(colleague.client.rid(), (anne.person.account,))
    assert (await colleague.client.ask(claim)).claimed == ()


async def _until_closed(client: RawClient):  # type: ignore[no-untyped-def]
    await client.wait_closed()
    for frame in client.pushes:
        yield frame


async def test_no_key_ever_gets_the_account_again(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, factors = await joins(server, home), Factors(clock)
    await factors.set_up(anne.client)
    await factors.step_up(anne.client)
    await closes(anne.client)
    issuer = await server.issuer(home)
    for person in (anne.person, home.person("Anne Durand", anne.person.account)):
        joiner, request = await server.open(), os.urandom(16)
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request, b"sealed"))
        answer = f.AnswerEnrolment(issuer.rid(), request, b"answer", person.certificate)
        assert await code_of(issuer.ask(answer)) == "conflict"
        assert await code_of(server.signed(person.device())) == "sign-in-failed"


async def test_a_newer_certificate_opens_no_closed_account_again(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, factors = await joins(server, home), Factors(clock)
    await factors.set_up(anne.client)
    await factors.step_up(anne.client)
    await closes(anne.client)
    issuer = await server.issuer(home)
    shown = f.PublishCertificate(issuer.rid(), anne.person.certificate)
    assert await code_of(issuer.ask(shown)) == "not-found"
    assert await code_of(server.signed(anne.person.device())) == "sign-in-failed"
    told = await ask_refusal(await server.open(), anne.device)
    assert (told.statement, told.person) == (None, None)


async def test_the_issuer_closes_an_account_and_others_of_its_group_go_on(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, factors = await joins(server, home), Factors(clock)
    await factors.set_up(anne.client)
    colleague = await joins(server, home, "Karim Benali")
    third = await joins(server, home, "Léa Roux")
    group = await team(colleague, anne, third)
    issuer, own = await server.issuer(home), Factors(clock)
    await own.set_up(issuer)
    account = anne.person.account
    assert await code_of(closes(issuer, account)) == "step-up"
    await own.step_up(issuer)
    assert await code_of(closes(issuer, os.urandom(16))) == "not-found"
    await closes(issuer, account)
    await closes(issuer, account)
    await group.says(colleague)
    await third.client.push(f.Row)
    # Its leaf is the members' to remove; nothing is taken from it meanwhile.
    await group.changes(colleague, removed=(anne,))


async def test_nobody_closes_a_colleagues_account(
    server: Server, clock: Clock, home: TestEstablishment
) -> None:
    anne, karim, factors = await joins(server, home), await joins(server, home), Factors(clock)
    await factors.set_up(anne.client)
    assert await code_of(closes(anne.client)) == "step-up"
    await factors.step_up(anne.client)
    for account in (karim.person.account, os.urandom(16)):
        assert await code_of(closes(anne.client, account)) == "not-found"
