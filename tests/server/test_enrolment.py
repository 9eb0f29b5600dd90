"""Establishments opened by a code; enrolments carried to the issuer and back; the directory."""

import os
from collections.abc import Awaitable, Callable

import pytest

from pli_protocol.identity import EnrolmentKey, SigningKey, make_issuer, sign
from pli_protocol.relay import frames as f

from .conftest import Server
from .people import NOW, TestEstablishment
from .raw_client import Refused
from .team import joins


async def code_of(awaitable: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def test_a_code_opens_one_establishment(server: Server) -> None:
    one, two = TestEstablishment(), TestEstablishment("Autre")
    client = await server.open()
    await client.register(one, server.code)
    await client.register(one, server.code.upper().replace("-", " "))
    assert await code_of(client.register(two, server.code)) == "used"
    assert await code_of(client.register(two, "no-such-code")) == "not-found"
    answer = await client.ask(f.GetEstablishment(client.rid(), one.id))
    assert (answer.authority, answer.issuers, answer.enrolment_keys, answer.revocations) == (
        one.authority,
        (one.issuer,),
        (one.enrolment_key,),
        None,
    )


async def test_what_does_not_check_opens_nothing(server: Server) -> None:
    one, two = TestEstablishment(), TestEstablishment("Autre")
    client = await server.open()
    mixed = TestEstablishment()
    mixed.issuer = two.issuer
    assert await code_of(client.register(mixed, server.code)) == "invalid"
    wrong_key = TestEstablishment()
    wrong_key.issuer_key = SigningKey.generate()
    assert await code_of(client.register(wrong_key, server.code)) == "invalid"
    other_statement = TestEstablishment()
    other_statement.enrolment_key = two.enrolment_key
    assert await code_of(client.register(other_statement, server.code)) == "invalid"
    # The code is as good as before.
    await client.register(one, server.code)


async def test_a_further_code_adds_an_issuer(server: Server, home: TestEstablishment) -> None:
    second = TestEstablishment(home.name, home.authority_key)
    second.authority = home.authority
    second.issuer = make_issuer(
        home.authority_key, home.authority, second.issuer_key.public, now=NOW
    )
    second.enrolment_key = sign(
        EnrolmentKey(home.id, bytes(32), NOW), second.issuer_key, (second.issuer,)
    )
    await server.establish(second)
    await server.issuer(second)
    await server.issuer(home)
    await server.signed(second.person().device())


async def test_a_request_goes_to_the_issuer_and_its_answer_back(
    server: Server, home: TestEstablishment
) -> None:
    issuer, joiner = await server.issuer(home), await server.open()
    assert (await issuer.ask(f.ListEnrolments(issuer.rid()))).waiting == ()
    request_id = os.urandom(16)
    frame = f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed request")
    await joiner.ask(frame)
    waiting = (await issuer.push(f.EnrolmentWaiting)).enrolment
    assert waiting == f.PendingEnrolment(request_id, b"sealed request")
    answer = await joiner.ask(f.FetchEnrolment(joiner.rid(), request_id))
    assert answer.sealed is None
    person = home.person()
    await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"answer", person.certificate))
    assert (await joiner.push(f.EnrolmentAnswer)).sealed == b"answer"
    assert (await joiner.ask(f.FetchEnrolment(joiner.rid(), request_id))).sealed == b"answer"
    assert (await issuer.ask(f.ListEnrolments(issuer.rid()))).waiting == ()
    member = await joins(server, home)
    people = (await member.client.ask(f.GetDirectory(member.client.rid()))).people
    assert {chain[0] for chain in people} == {person.certificate, member.person.certificate}


async def test_a_request_survives_restarts_and_an_absent_issuer(
    server: Server, home: TestEstablishment
) -> None:
    joiner, request_id = await server.open(), os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    await server.restart()
    issuer = await server.issuer(home)
    waiting = (await issuer.ask(f.ListEnrolments(issuer.rid()))).waiting
    assert waiting == (f.PendingEnrolment(request_id, b"sealed"),)
    await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"refused"))
    await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"refused"))
    other = f.AnswerEnrolment(issuer.rid(), request_id, b"otherwise")
    assert await code_of(issuer.ask(other)) == "conflict"
    await server.restart()
    joiner = await server.open()
    assert (await joiner.ask(f.FetchEnrolment(joiner.rid(), request_id))).sealed == b"refused"


async def test_a_request_id_is_taken_once(server: Server, home: TestEstablishment) -> None:
    joiner, request_id = await server.open(), os.urandom(16)
    for _ in range(2):
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    other = f.RequestEnrolment(joiner.rid(), home.id, request_id, b"other")
    assert await code_of(joiner.ask(other)) == "conflict"
    unknown = f.RequestEnrolment(joiner.rid(), os.urandom(16), os.urandom(16), b"sealed")
    assert await code_of(joiner.ask(unknown)) == "not-found"
    assert await code_of(joiner.ask(f.FetchEnrolment(joiner.rid(), os.urandom(16)))) == "not-found"


async def test_requests_that_wait_are_bounded(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(enrolments_waiting=2, enrolment_bytes=1024)
    home = TestEstablishment()
    await server.establish(home, server.code)
    joiner = await server.open()
    for _ in range(2):
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, os.urandom(16), b"sealed"))
    third = f.RequestEnrolment(joiner.rid(), home.id, os.urandom(16), b"sealed")
    assert await code_of(joiner.ask(third)) == "limit"
    large = f.RequestEnrolment(joiner.rid(), home.id, os.urandom(16), bytes(1025))
    assert await code_of(joiner.ask(large)) == "too-large"


async def test_an_issuer_sees_and_answers_only_its_own_establishments_requests(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    joiner, request_id = await server.open(), os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    stranger = await server.issuer(other)
    assert (await stranger.ask(f.ListEnrolments(stranger.rid()))).waiting == ()
    answer = f.AnswerEnrolment(stranger.rid(), request_id, b"answer")
    assert await code_of(stranger.ask(answer)) == "not-found"


async def test_a_person_of_another_issuer_is_not_taken(
    server: Server, home: TestEstablishment
) -> None:
    issuer, joiner, request_id = await server.issuer(home), await server.open(), os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    stranger = TestEstablishment("Ailleurs").person().certificate
    answer = f.AnswerEnrolment(issuer.rid(), request_id, b"answer", stranger)
    assert await code_of(issuer.ask(answer)) == "invalid"


async def test_the_directory_comes_in_pages_and_shows_ones_own_establishment_only(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    await joins(server, other)
    issuer, joiner = await server.issuer(home), await server.open()
    everybody = set()
    for number in range(100):
        request_id, person = os.urandom(16), home.person(f"Personne {number}")
        everybody.add(person.certificate)
        if number % 4 == 0:
            await joiner.close()
            joiner = await server.open()
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"s"))
        await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"a", person.certificate))
    found: list[bytes] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = await issuer.ask(f.GetDirectory(issuer.rid(), after))
        found += [chain[0] for chain in page.people]
        after, pages = page.after, pages + 1
    assert set(found) == everybody
    assert len(found) == 100
    assert pages > 1
