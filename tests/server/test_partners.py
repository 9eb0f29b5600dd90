"""Partner establishments at the relay: what both have signed opens, what one has signed does not."""

import os

import pytest

from pli_protocol.identity import RevocationEntry, RevocationList, fingerprint, sign
from pli_protocol.relay import frames as f
from pli_server.storage.partners import concerned

from .conftest import Server
from .people import NOW, TestEstablishment, commit
from .raw_client import NEWS, RawClient, Refused
from .team import Member, joins, team


@pytest.fixture
async def other(server: Server) -> TestEstablishment:
    """A second establishment at the same relay."""
    made = TestEstablishment("SESSAD du Pont")
    await server.establish(made)
    return made


async def code_of(awaitable: object) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable  # type: ignore[misc]
    return str(caught.value.code)


async def directory(client: RawClient, establishment: TestEstablishment) -> list[bytes]:
    answer = await client.ask(f.GetDirectory(client.rid(), None, establishment.id))
    return [chain[0] for chain in answer.people]


async def told(*members: Member) -> None:
    """Take the news that came by now from among the pushes."""
    for member in members:
        await member.client.settle()
        assert {type(push) for push in member.client.pushes} <= {*NEWS}
        member.client.pushes.clear()


async def create(creator: Member, *others: Member) -> bytes:
    """Open a group with these; its id. Raises Refused."""
    group = os.urandom(16)
    message = commit(group, 0, tuple(member.id for member in others))
    client = creator.client
    await client.ask(f.CreateGroup(client.rid(), group, os.urandom(16), message, b"welcome"))
    return group


async def test_a_partner_sees_people_but_no_bots(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    anne, guest = await joins(server, home), await joins(server, other)
    bot = home.person("Dossier", kind="bot")
    await server.signed(bot.device())
    assert await code_of(directory(guest.client, home)) == "not-found"
    await server.partners(home, other)
    assert await directory(guest.client, home) == [anne.person.certificate]
    assert len(await directory(anne.client, home)) == 2


async def test_statements_are_told_to_ones_own_and_to_the_partner_once_both_have_signed(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    anne, guest = await joins(server, home), await joins(server, other)
    await server.publishes(home, other)
    await anne.client.push(f.PartnersChanged)
    (told,) = (await anne.client.ask(f.GetPartners(anne.client.rid()))).partners
    assert (told.establishment, told.open) == (other.id, False)
    await guest.client.settle()
    assert not guest.client.pushes
    assert (await guest.client.ask(f.GetPartners(guest.client.rid()))).partners == ()

    await server.publishes(other, home)
    for member in (anne, guest):
        await member.client.push(f.PartnersChanged)
        (told,) = (await member.client.ask(f.GetPartners(member.client.rid()))).partners
        assert told.open


async def test_who_has_signed_nothing_or_ended_it_is_told_of_nothing(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    async def told() -> list[bytes]:
        now = server.clock()
        return await server.relay.readers.run(lambda db: concerned(db, home.id, now))

    await server.publishes(home, other)
    assert await told() == []
    await server.publishes(other, home)
    assert await told() == [other.id]
    await server.publishes(home, other, until=NOW + 1, time=NOW + 1)
    assert await told() == [other.id]
    await server.publishes(other, home, until=NOW + 2, time=NOW + 2)
    assert await told() == []
    await server.publishes(home, other, time=NOW + 3)
    assert await told() == []


async def test_a_revocation_is_told_to_partners_who_may_fetch_the_list(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    guest = await joins(server, other)
    issuer = await server.issuer(home)
    entry = RevocationEntry("device", os.urandom(16), "lost", NOW)
    statement = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
    signed = sign(statement, home.issuer_key, (home.issuer,))
    await issuer.ask(f.PublishRevocations(issuer.rid(), signed))
    assert await guest.client.push(f.RevocationsChanged) == f.RevocationsChanged(home.id, 1)
    answer = await guest.client.ask(f.GetRevocations(guest.client.rid(), home.id))
    assert answer.statement == signed
    (told,) = (await guest.client.ask(f.GetPartners(guest.client.rid()))).partners
    assert told.revocations == 1


async def test_a_group_spans_partners_only(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    anne, guest = await joins(server, home), await joins(server, other)
    assert await code_of(create(anne, guest)) == "roster"
    await server.publishes(home, other)
    assert await code_of(create(anne, guest)) == "roster"
    await server.publishes(other, home)
    anne, guest = await joins(server, home), await joins(server, other)
    group = await team(anne, guest)
    accepted = await group.says(guest)
    row = await anne.client.push(f.Row)
    assert row.position == accepted.position


async def test_a_newcomer_is_of_a_partner_of_everybody_who_is_there(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    third = TestEstablishment("IME des Sources")
    await server.establish(third)
    await server.partners(home, other)
    await server.partners(home, third)
    anne, guest, stranger = [await joins(server, where) for where in (home, other, third)]
    group = await team(anne, guest)
    assert await code_of(group.changes(anne, added=(stranger,))) == "roster"
    # Both at once, and the one in the place of the other, who goes.
    assert await code_of(create(anne, guest, stranger)) == "roster"
    group.epoch, group.previous = 1, {}
    await group.changes(anne, added=(stranger,), removed=(guest,))
    await server.partners(other, third)
    await group.changes(anne, added=(guest,))


async def test_an_unknown_device_and_a_strangers_are_refused_in_the_same_bytes(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    anne, guest = await joins(server, home), await joins(server, other)
    refusals = []
    for device_id in (guest.id, os.urandom(16)):
        group = os.urandom(16)
        message = commit(group, 0, (device_id,))
        with pytest.raises(Refused) as caught:
            await anne.client.ask(f.CreateGroup(7, group, os.urandom(16), message, b"welcome"))
        refusals.append(caught.value.frame)
    assert refusals[0] == refusals[1]


async def test_nobody_is_added_once_a_partnership_has_ended(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    anne, guest, late = [await joins(server, where) for where in (home, other, other)]
    group = await team(anne, guest)
    await server.publishes(other, home, until=NOW + 1, time=NOW + 1)
    await guest.client.push(f.PartnersChanged)
    await anne.client.push(f.PartnersChanged)
    assert await code_of(group.changes(anne, added=(late,))) == "roster"
    # Who is there is still served, until a member's commit takes them out.
    group.previous.pop(anne.id, None)
    await told(anne)
    accepted = await group.says(guest)
    await anne.client.settle()
    rows = [push for push in anne.client.pushes if isinstance(push, f.Row)]
    assert [row.position for row in rows] == [accepted.position]
    assert await code_of(directory(guest.client, home)) == "not-found"


async def test_whoever_is_a_member_comes_back_though_a_partnership_has_ended(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    """With a device that lost its state, or into a successor: until a commit takes them out."""
    await server.partners(home, other)
    anne, guest, stranger = [await joins(server, where) for where in (home, other, other)]
    group = await team(anne, guest)
    await server.publishes(home, other, until=NOW + 1, time=NOW + 1)
    await group.changes(anne, added=(guest,), removed=(guest,))
    client = anne.client
    for who, answer in ((stranger, "roster"), (guest, "accepted")):
        successor = os.urandom(16)
        frame = f.CreateGroup(
            client.rid(),
            successor,
            os.urandom(16),
            commit(successor, 0, (who.id,)),
            b"w",
            group.group,
        )
        if answer == "accepted":
            assert (await client.ask(frame)).position.seq == 1
        else:
            assert await code_of(client.ask(frame)) == answer


async def test_a_date_ends_a_partnership_by_the_relays_clock(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.publishes(home, other)
    await server.publishes(other, home, until=NOW * 2)
    guest = await joins(server, other)
    assert await directory(guest.client, home) == []
    server.clock = lambda: NOW * 2000 - 1
    assert await directory(guest.client, home) == []
    server.clock = lambda: NOW * 2000
    assert await code_of(directory(guest.client, home)) == "not-found"


async def test_key_packages_of_a_partners_account_alone_are_given(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    anne, guest = await joins(server, home), await joins(server, other)
    await anne.client.ask(f.PublishKeyPackages(anne.client.rid(), (b"kp",)))
    account = (anne.person.account,)
    own = await guest.client.ask(f.ClaimKeyPackages(guest.client.rid(), account))
    assert own.claimed == ()
    found = await guest.client.ask(f.ClaimKeyPackages(guest.client.rid(), account, home.id))
    assert [claimed.key_package for claimed in found.claimed] == [b"kp"]


async def test_a_statement_that_does_not_check_is_not_taken(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    issuer = await server.issuer(home)
    forged = sign(
        _partner(home.id, other, NOW * 2), home.issuer_key
    )  # the issuer's key is not the authority's
    of_another = other.trusts(home)
    oneself = home.trusts(home)
    for statement, authority in (
        (forged, other.authority),
        (of_another, home.authority),
        (oneself, home.authority),
        (home.trusts(other), TestEstablishment("Faux").authority),
    ):
        frame = f.PublishPartner(issuer.rid(), statement, authority)
        assert await code_of(issuer.ask(frame)) == "invalid"
    assert (await issuer.ask(f.GetPartners(issuer.rid()))).partners == ()


async def test_the_newest_statement_counts_whatever_is_shown_again(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.publishes(home, other, until=NOW + 5, time=NOW + 5)
    await server.publishes(home, other, until=NOW + 5, time=NOW + 5)
    assert await code_of(server.publishes(home, other)) == "conflict"
    issuer = await server.issuer(home)
    (held,) = (await issuer.ask(f.GetPartners(issuer.rid()))).partners
    assert held.statement == home.trusts(other, until=NOW + 5, time=NOW + 5)


async def test_partners_come_in_pages_and_up_to_a_limit(limited: object) -> None:
    server = await limited(partners_per_establishment=130)  # type: ignore[operator]
    home = TestEstablishment()
    await server.establish(home, server.code)
    issuer = await server.issuer(home)
    others = [TestEstablishment(f"Établissement {number}") for number in range(131)]
    for partner in others[:130]:
        frame = f.PublishPartner(issuer.rid(), home.trusts(partner), partner.authority)
        await issuer.ask(frame)
    one_more = f.PublishPartner(issuer.rid(), home.trusts(others[130]), others[130].authority)
    assert await code_of(issuer.ask(one_more)) == "limit"
    found, after, pages = [], None, 0
    while pages == 0 or after is not None:
        page = await issuer.ask(f.GetPartners(issuer.rid(), after))
        found += [partner.establishment for partner in page.partners]
        after, pages = page.after, pages + 1
    assert pages > 1
    assert found == sorted(partner.id for partner in others[:130])


def _partner(own: bytes, other: TestEstablishment, until: int) -> object:
    from pli_protocol.identity import PartnerStatement

    key = fingerprint(other.authority_key.public)
    return PartnerStatement(own, other.name, key, until, NOW)
