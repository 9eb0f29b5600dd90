"""Statements beside the list: in order, to one's own establishment; why a device is refused."""

import hashlib
import os

import pytest
import sqlalchemy as sa

from pli_protocol.identity import (
    DeviceRevocation,
    Replacement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import refusal_challenge
from pli_server.handlers import succession
from pli_server.storage.tables import metadata

from .conftest import Server
from .credentials import Clock, Factors
from .people import NOW, TestDevice, TestEstablishment, TestPerson
from .raw_client import RawClient, Refused
from .team import joins, team


def own_word(person: TestPerson, device: TestDevice, time: int = NOW) -> bytes:
    body = DeviceRevocation(person.establishment.id, person.person_id, device.id, "lost", time)
    return sign(body, person.identity, (person.certificate, person.establishment.issuer))


async def ask_refusal(client: RawClient, device: TestDevice) -> f.RefusalTold:
    signed = device.key.sign(refusal_challenge(client.greeting.relay, client.greeting.challenge))
    return await client.ask(f.AskRefusal(client.rid(), device.chain, signed))


async def test_statements_come_in_order_after_a_number_and_the_number_only_grows(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    second, third = a.person.device(), a.person.device()
    for device in (second, third):
        await a.client.ask(f.PublishRevocations(a.client.rid(), own_word(a.person, device)))
    again = own_word(a.person, second, NOW + 1)
    await a.client.ask(f.PublishRevocations(a.client.rid(), again))
    found = await a.client.ask(f.GetStatements(a.client.rid()))
    assert [(s.number, s.statement) for s in found.statements] == [
        (2, own_word(a.person, third)),
        (3, again),
    ]
    assert not found.more
    later = await a.client.ask(f.GetStatements(a.client.rid(), 2))
    assert [s.number for s in later.statements] == [3]
    back = await server.signed(a.device, a.client.signed_in.token)
    assert back.signed_in.statements == 3


async def test_an_older_word_about_a_device_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    second = a.person.device()
    await a.client.ask(f.PublishRevocations(a.client.rid(), own_word(a.person, second, NOW + 5)))
    with pytest.raises(Refused, match="conflict"):
        await a.client.ask(f.PublishRevocations(a.client.rid(), own_word(a.person, second)))


async def test_a_frame_full_of_statements_says_that_there_are_more(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "ROOM", 2500)
    a = await joins(server, home)
    for _ in range(3):
        word = own_word(a.person, a.person.device())
        await a.client.ask(f.PublishRevocations(a.client.rid(), word))
    numbers: list[int] = []
    more = True
    while more:
        page = await a.client.ask(f.GetStatements(a.client.rid(), max(numbers, default=0)))
        assert page.statements
        numbers += [s.number for s in page.statements]
        more = page.more
    assert numbers == [1, 2, 3]


async def test_another_establishment_sees_none_of_them(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    await a.client.ask(f.PublishRevocations(a.client.rid(), own_word(a.person, a.person.device())))
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    b = await joins(server, other)
    assert (await b.client.ask(f.GetStatements(b.client.rid()))).statements == ()
    assert b.client.signed_in.statements == 0


async def test_a_refused_device_learns_its_persons_word_by_its_key_and_nobody_else_does(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    lost = a.person.device()
    word = own_word(a.person, lost)
    await a.client.ask(f.PublishRevocations(a.client.rid(), word))
    told = await ask_refusal(await server.open(), lost)
    assert (told.statement, told.person) == (word, (a.person.certificate, home.issuer))
    thief = TestDevice(a.device.key, lost.chain, lost.account)
    with pytest.raises(Refused, match="not-found"):
        await ask_refusal(await server.open(), thief)


async def test_a_colleagues_word_about_a_device_takes_the_place_of_nothing(
    server: Server, home: TestEstablishment
) -> None:
    a, thief = await joins(server, home), await joins(server, home)
    lost = a.person.device()
    word, other = own_word(a.person, lost), own_word(thief.person, lost, NOW + 1)
    await a.client.ask(f.PublishRevocations(a.client.rid(), word))
    await thief.client.ask(f.PublishRevocations(thief.client.rid(), other))
    told = await ask_refusal(await server.open(), lost)
    assert told.statement == word
    found = await a.client.ask(f.GetStatements(a.client.rid()))
    assert [s.statement for s in found.statements] == [word, other]


async def test_a_signature_asks_once(server: Server, home: TestEstablishment) -> None:
    a = await joins(server, home)
    client = await server.open()
    await ask_refusal(client, a.device)
    with pytest.raises(Refused, match="not-found"):
        await ask_refusal(client, a.device)


async def test_a_list_comes_in_parts_without_signing_in(
    server: Server, home: TestEstablishment
) -> None:
    empty = await server.open()
    none = await empty.ask(f.GetListPart(empty.rid(), home.id))
    assert (none.number, none.size, none.data) == (0, 0, b"")
    entries = tuple(RevocationEntry("device", os.urandom(16), "lost", NOW) for _ in range(1500))
    signed = sign(
        RevocationList(home.id, 1, bytes(32), entries, NOW), home.issuer_key, (home.issuer,)
    )
    assert len(signed) > f.MAX_INLINE
    issuer = await server.issuer(home)
    blob, offset = os.urandom(32), 0
    while offset < len(signed):
        part = signed[offset : offset + f.BLOB_PART]
        await issuer.ask(f.PutBlob(issuer.rid(), blob, offset, len(signed), part))
        offset += len(part)
    reference = f.BlobRef(blob, len(signed), hashlib.sha256(signed).digest())
    await issuer.ask(f.PublishRevocations(issuer.rid(), reference))
    whole = b""
    while True:
        part = await empty.ask(f.GetListPart(empty.rid(), home.id, len(whole)))
        assert (part.number, part.size) == (1, len(signed))
        whole += part.data
        if len(whole) == part.size:
            break
    assert whole == signed


async def test_a_person_revoked_after_its_own_word_keeps_nobody_from_starting(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    lost = a.person.device()
    await a.client.ask(f.PublishRevocations(a.client.rid(), own_word(a.person, lost)))
    entry = RevocationEntry("person", a.person.person_id, "left", NOW)
    signed = sign(
        RevocationList(home.id, 1, bytes(32), (entry,), NOW), home.issuer_key, (home.issuer,)
    )
    issuer = await server.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), signed))
    await server.restart()
    await joins(server, home)


async def enrols(
    server: Server, home: TestEstablishment, person: TestPerson, replaced: bytes | None
) -> None:
    """The issuer signs a person, with its statement that they follow another where there is one."""
    joiner, issuer = await server.open(), await server.issuer(home)
    request = os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request, b"sealed"))
    statement = None
    if replaced is not None:
        body = Replacement(home.id, person.account, replaced, person.identity.public, NOW)
        statement = sign(body, home.issuer_key, (home.issuer,))
    await issuer.ask(
        f.AnswerEnrolment(issuer.rid(), request, b"answer", person.certificate, statement)
    )


async def test_another_key_takes_an_account_by_the_issuers_statement_alone(
    server: Server, home: TestEstablishment
) -> None:
    before = await joins(server, home)
    colleague = await joins(server, home)
    after = home.person("Anne Durand", account=before.person.account)
    with pytest.raises(Refused, match="conflict"):
        await enrols(server, home, after, None)
    with pytest.raises(Refused, match="conflict"):
        await enrols(server, home, after, colleague.person.person_id)
    await before.client.settle()
    assert not before.client.closed
    await enrols(server, home, after, before.person.person_id)
    assert (await before.client.push(f.StatementsChanged)).number == 1
    assert (await before.client.push(f.Refused)).code == "sign-in-failed"
    with pytest.raises(Refused, match="sign-in-failed"):
        await (await server.open()).sign_in(before.device, before.client.signed_in.token)
    await server.restart()
    with pytest.raises(Refused, match="sign-in-failed"):
        await (await server.open()).sign_in(before.device, before.client.signed_in.token)
    await server.signed(after.device())
    colleague.client = await server.signed(colleague.device, colleague.client.signed_in.token)
    directory = await colleague.client.ask(f.GetDirectory(colleague.client.rid()))
    assert after.certificate in {chain[0] for chain in directory.people}
    assert before.person.certificate not in {chain[0] for chain in directory.people}


async def test_who_was_replaced_leaves_neither_certificate_nor_password(
    server: Server, home: TestEstablishment
) -> None:
    clock = server.clock = Clock()
    before, factors = await joins(server, home), Factors(clock)
    await factors.set_up(before.client)
    package = os.urandom(40)
    await before.client.ask(f.PublishKeyPackages(before.client.rid(), (package,)))
    after = home.person("Anne Durand", account=before.person.account)
    await enrols(server, home, after, before.person.person_id)
    client = await server.signed(after.device())
    held = await client.ask(f.GetAccount(client.rid()))
    assert (held.password, held.second_factor, held.recovery_codes) == (False, False, 0)
    kept = server.read(
        lambda db: [
            v for table in metadata.sorted_tables for r in db.execute(sa.select(table)) for v in r
        ]
    )
    assert not {before.person.certificate, package} & {v for v in kept if isinstance(v, bytes)}
    assert (await ask_refusal(await server.open(), before.device)).person is None


async def test_who_follows_inherits_no_group_at_the_relay(
    server: Server, home: TestEstablishment
) -> None:
    before, colleague = await joins(server, home), await joins(server, home)
    group = await team(colleague, before)
    after = home.person("Anne Durand", account=before.person.account)
    await enrols(server, home, after, before.person.person_id)
    device = after.device()
    client = await server.signed(device)
    assert (await client.ask(f.GetGroups(client.rid()))).groups == ()
    with pytest.raises(Refused, match="not-found"):
        await client.ask(f.Fetch(client.rid(), group.group, 0))
    request = ReturnRequest(group.group, device.id, b"kp", "", None, NOW)
    signed = sign(request, device.key, device.chain)
    with pytest.raises(Refused, match="not-found"):
        await client.ask(f.AskReturn(client.rid(), group.group, os.urandom(16), signed))
