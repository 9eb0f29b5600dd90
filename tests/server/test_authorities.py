"""Another authority at the relay: an issuer publishes it, all are told, its signatures are what counts."""

import os

import pytest

from pli_protocol.identity import (
    AuthorityChange,
    EnrolmentKey,
    SigningKey,
    encode_change,
    fingerprint,
    make_authority,
    make_issuer,
    sign,
)
from pli_protocol.relay import frames as f

from .conftest import Server
from .people import NOW, TestEstablishment
from .raw_client import RawClient, Refused
from .team import joins


async def publish(issuer: RawClient, change: bytes) -> f.Done:
    done: f.Done = await issuer.ask(f.PublishAuthorityChange(issuer.rid(), change))
    return done


async def changes_of(client: RawClient, establishment: TestEstablishment) -> tuple[bytes, ...]:
    held = await client.ask(f.GetAuthorityChanges(client.rid(), establishment.id))
    assert isinstance(held, f.AuthorityChanges)
    return held.changes


def under(home: TestEstablishment, key: SigningKey, authority: bytes) -> TestEstablishment:
    """The same establishment with an issuer of another authority."""
    other = TestEstablishment(home.name, key)
    other.authority, other.id = authority, home.id
    other.issuer = make_issuer(key, authority, other.issuer_key.public, now=NOW)
    body = EnrolmentKey(home.id, os.urandom(32), NOW)
    other.enrolment_key = sign(body, other.issuer_key, (other.issuer,))
    return other


async def test_a_change_is_told_to_everybody_and_the_same_again_is_done(
    server: Server, home: TestEstablishment
) -> None:
    a, issuer, change = await joins(server, home), await server.issuer(home), home.hands_over()
    await publish(issuer, change)
    assert (await a.client.push(f.StatementsChanged)).number == 1
    (stated,) = (await a.client.ask(f.GetStatements(a.client.rid()))).statements
    assert stated.statement == change
    await publish(issuer, change)
    with pytest.raises(Refused, match="invalid"):
        await publish(issuer, home.hands_over())
    await server.restart()
    stranger = await server.open()
    assert await changes_of(stranger, home) == (change,)


async def test_another_establishments_issuer_replaces_nothing(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    issuer = await server.issuer(other)
    for change in (home.hands_over(), replace_issuers_word(home, other)):
        with pytest.raises(Refused, match="invalid"):
            await publish(issuer, change)
    assert await changes_of(await server.open(), home) == ()


def replace_issuers_word(home: TestEstablishment, other: TestEstablishment) -> bytes:
    """A change of `home`, signed by its one issuer and another establishment's."""
    key = SigningKey.generate()
    body = AuthorityChange(
        home.id,
        1,
        fingerprint(home.authority_key.public),
        make_authority(home.name, key, NOW),
        False,
        NOW,
    )
    return encode_change(
        [
            sign(body, home.issuer_key, (home.issuer,)),
            sign(body, other.issuer_key, (other.issuer,)),
            sign(body, key),
        ]
    )


async def test_who_is_under_a_stolen_authority_is_cut_at_once_and_its_issuers_too(
    server: Server, home: TestEstablishment
) -> None:
    a, issuer = await joins(server, home), await server.issuer(home)
    await publish(issuer, home.hands_over(compromised=True))
    await a.client.wait_closed()
    await issuer.wait_closed()
    for _ in range(2):
        with pytest.raises(Refused, match="sign-in-failed"):
            await server.signed(a.device, a.client.signed_in.token)
        with pytest.raises(Refused, match="sign-in-failed"):
            await server.issuer(home)
        await server.restart()


async def test_issuers_are_registered_under_the_newest_authority_only(
    server: Server, home: TestEstablishment
) -> None:
    key = SigningKey.generate()
    await publish(await server.issuer(home), home.hands_over(key))
    with pytest.raises(Refused, match="invalid"):
        await server.establish(under(home, home.authority_key, home.authority))
    newest = under(home, key, make_authority(home.name, key, NOW))
    await server.establish(newest)
    newcomer = await joins(server, newest, "Élise Petit")
    before = await joins(server, home)
    held = await before.client.ask(f.GetEstablishment(before.client.rid(), home.id))
    assert held.authority == home.authority
    assert set(held.issuers) == {home.issuer, newest.issuer}
    assert newcomer.person.establishment.id == home.id
