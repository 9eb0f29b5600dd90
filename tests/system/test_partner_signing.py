"""What administrators sign of partners: kept first, levelled with the relay, brought back."""

from contextlib import asynccontextmanager

import pytest

from pli_client.errors import InvalidInput
from pli_client.issuer import AUTHORITY_FILE, Issuer, open_authority
from pli_client.issuer.errors import (
    BadPartnerCode,
    OtherAuthority,
    OwnPartnerCode,
    PartnerNotAtRelay,
    UnknownPartner,
)
from pli_protocol.identity import (
    Invitation,
    PartnerCode,
    PartnerStatement,
    SigningKey,
    sign,
    verify_authority,
)
from pli_protocol.secret import Secret

from .partnering import AUTHORITY, ELSEWHERE, YEAR, sign_a_partner
from .world import AUTHORITY_PASSPHRASE, PASSPHRASE, World


@asynccontextmanager
async def administrator(world: World):  # type: ignore[no-untyped-def]
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        yield issuer


async def test_a_code_names_one_establishment_of_this_relay(world: World) -> None:
    await world.relay.start()
    async with administrator(world) as issuer:
        own = issuer.partners.code()
        assert PartnerCode.parse(own) == PartnerCode(
            verify_authority(issuer.authority).fingerprint, issuer.relay_url
        )
        with pytest.raises(OwnPartnerCode):
            await issuer.partners.look(own)
        invitation = Invitation(Secret(bytes(16)), bytes(16), world.url).text()
        for text in ("", "ABCD", own[:-1], invitation):
            with pytest.raises(BadPartnerCode):
                await issuer.partners.look(text)
        with pytest.raises(PartnerNotAtRelay):
            await issuer.partners.look(PartnerCode(bytes(32), world.url).text())


async def test_what_is_signed_is_kept_while_the_relay_is_away_and_served_to_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pli_client.errors import Offline
    from pli_client.issuer import partners

    monkeypatch.setattr(partners, "PATIENCE", 0.2)
    async with administrator(world) as issuer:
        with pytest.raises(Offline):
            await sign_a_partner(world, issuer)
        assert [(p.name, p.state) for p in await issuer.partners.all()] == [(ELSEWHERE, "unsent")]
    monkeypatch.undo()
    await world.relay.start()
    async with administrator(world) as issuer:
        assert [p.state for p in await issuer.partners.all()] == ["waiting"]
    assert world.relay.query("SELECT count(*) FROM partners") == [(1,)]


async def test_a_relay_that_was_set_back_gets_the_statements_that_it_lost(world: World) -> None:
    await world.relay.start()
    async with administrator(world) as issuer:
        await sign_a_partner(world, issuer)
    await world.relay.stop()
    world.relay.query("DELETE FROM partners")
    await world.relay.start()
    async with administrator(world) as issuer:
        assert [p.state for p in await issuer.partners.all()] == ["waiting"]
    assert world.relay.query("SELECT count(*) FROM partners") == [(1,)]


async def test_two_administrators_level_what_each_of_them_signed(world: World) -> None:
    """The other one's vault has never seen the first statement: it still signs a later one."""
    import shutil

    await world.relay.start()
    shutil.copytree(world.folder / "admin", world.folder / "before")
    async with administrator(world) as issuer:
        first = await sign_a_partner(world, issuer)
    async with await Issuer.open(world.folder / "before", PASSPHRASE) as other:
        (seen,) = await other.partners.all()
        assert (seen.name, seen.until) == (ELSEWHERE, first.until)
        statement, certificate = await other.partners.end(ELSEWHERE.upper())
        key, _own = open_authority(world.folder / "admin" / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
        assert (await other.partners.publish(sign(statement, key), certificate)).state == "ended"
    async with administrator(world) as issuer:
        assert [p.state for p in await issuer.partners.all()] == ["ended"]


async def test_only_ones_own_authority_signs_and_only_what_makes_sense(world: World) -> None:
    await world.relay.start()
    async with administrator(world) as issuer:
        partner, now = verify_authority(AUTHORITY), issuer.partners.now
        for until, name in ((now, ""), (now + YEAR, "x" * 65), (now + YEAR, "a\u202eb")):
            with pytest.raises(InvalidInput):
                await issuer.partners.begin(partner, until, name)
        statement = PartnerStatement(
            issuer.establishment, ELSEWHERE, partner.fingerprint, now + YEAR, now
        )
        with pytest.raises(OtherAuthority):
            await issuer.partners.publish(sign(statement, SigningKey.generate()), AUTHORITY)
        with pytest.raises(UnknownPartner):
            await issuer.partners.end(ELSEWHERE)
        assert await issuer.partners.all() == []
