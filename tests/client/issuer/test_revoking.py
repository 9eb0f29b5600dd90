"""Revoking: numbered, chained lists that reach the relay, sooner or later."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from pli_client.enrolment import InvitationRefused
from pli_client.errors import InvalidInput, Offline, RelayMisbehaved
from pli_client.issuer import (
    Issuer,
    Report,
    RevocationsPublished,
    ServiceOnline,
    UnknownAccount,
)
from pli_client.issuer.revoking import adopt
from pli_client.payloads import as_payload
from pli_protocol.identity import (
    Device,
    RevocationEntry,
    RevocationList,
    SigningKey,
    Trust,
    list_hash,
    sign,
    verify_statement,
)
from pli_protocol.relay.frames import BlobRef, PublishRevocations, Revocations, SignedIn

from .conftest import join, serving, until, vault
from .relay import FakeRelay, changed


async def enrolled(issuer: Issuer, tmp_path: Path, name: str = "Amélie Dupont") -> Device:
    invited = await issuer.invite(name=name, profession="Infirmière")
    async with serving(issuer):
        return await join(tmp_path / name, invited.invitation)


async def test_revoked_person_is_refused_by_whoever_has_the_list(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    assert await issuer.revoke(device.person.account, "left") == 1
    assert await issuer.publish() == 1
    trust = Trust(issuer.authority, revocations=relay.revocations)
    refusal = trust.refuses(device)
    assert refusal is not None
    assert str(refusal) == "person left"
    assert (await issuer.people())[0].reason == "left"


async def test_revoked_device_leaves_its_person(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    await issuer.revoke_device(device.device_id, "lost")
    await issuer.publish()
    trust = Trust(issuer.authority, revocations=relay.revocations)
    assert str(trust.refuses(device)) == "device lost"
    assert trust.refuses(device.person) is None


async def test_each_list_continues_the_one_before(relay: FakeRelay, issuer: Issuer) -> None:
    for number in (1, 2, 3):
        assert await issuer.revoke_device(bytes([number]) * 16, "lost") == number
        await issuer.publish()
    trust = Trust(issuer.authority)
    for signed in relay.revocations:
        trust.accept_revocations(signed)
    assert trust.head().number == 3
    assert trust.head().hash == list_hash(relay.revocations[-1])


async def test_revoking_twice_makes_one_entry(relay: FakeRelay, issuer: Issuer) -> None:
    assert await issuer.revoke_device(bytes(16), "lost") == 1
    assert await issuer.revoke_device(bytes(16), "stolen") == 1
    await issuer.publish()
    assert len(relay.revocations) == 1


async def test_revocation_while_serving_is_published_at_once(
    relay: FakeRelay, issuer: Issuer
) -> None:
    reports: list[Report] = []
    async with serving(issuer, reports):
        await until(lambda: any(isinstance(r, ServiceOnline) for r in reports))
        await issuer.revoke_device(bytes(16), "stolen")
        await until(lambda: RevocationsPublished(1) in reports)
    assert len(relay.revocations) == 1


async def test_revocation_made_while_the_relay_was_away_is_published_later(
    relay: FakeRelay, issuer: Issuer
) -> None:
    await issuer.revoke_device(bytes(16), "lost")
    await issuer.revoke_device(b"b" * 16, "lost")
    reports: list[Report] = []
    async with serving(issuer, reports):
        await until(lambda: RevocationsPublished(2) in reports)
    assert len(relay.revocations) == 1


async def test_relay_that_lost_the_list_gets_it_again(relay: FakeRelay, issuer: Issuer) -> None:
    await issuer.revoke_device(bytes(16), "lost")
    await issuer.publish()
    held = relay.revocations.pop()
    await issuer.publish()
    assert relay.revocations == [held]


def of_another_issuer(issuer: Issuer, number: int, *ids: bytes) -> bytes:
    """A list as a second issuer of the establishment, or a lost copy of this vault, signed it."""
    keys = issuer._keys
    entries = tuple(RevocationEntry("device", identifier, "lost", 1) for identifier in ids)
    statement = RevocationList(issuer.establishment, number, bytes(32), entries, 1)
    return sign(statement, keys.key, (keys.certificate,))


async def test_newer_list_at_the_relay_is_taken_over_and_continued(
    relay: FakeRelay, issuer: Issuer
) -> None:
    relay.revocations.append(of_another_issuer(issuer, 1, b"o" * 16))
    assert await issuer.publish() == 1
    assert await issuer.revoke_device(b"n" * 16, "lost") == 2
    assert await issuer.publish() == 2
    trust = Trust(issuer.authority)
    for signed in relay.revocations:
        trust.accept_revocations(signed)
    assert trust.head().number == 2


@pytest.mark.parametrize("number", [1, 5])
async def test_revocation_made_without_knowing_the_relays_list_is_listed_after_it(
    relay: FakeRelay, issuer: Issuer, number: int
) -> None:
    await issuer.revoke_device(b"n" * 16, "stolen")
    relay.revocations.append(of_another_issuer(issuer, number, b"o" * 16))
    assert await issuer.publish() == number + 1
    trust = Trust(issuer.authority)
    for signed in relay.revocations:
        trust.accept_revocations(signed)
    listed = verify_statement(relay.revocations[-1], RevocationList, issuer.authority).statement
    assert [(entry.id, entry.reason) for entry in listed.entries] == [
        (b"o" * 16, "lost"),
        (b"n" * 16, "stolen"),
    ]


async def test_list_that_the_relay_made_up_is_not_taken_over(
    relay: FakeRelay, issuer: Issuer
) -> None:
    await issuer.revoke_device(b"n" * 16, "stolen")
    statement = RevocationList(issuer.establishment, 9, bytes(32), (), 1)
    forged = sign(statement, SigningKey.generate(), (issuer._keys.certificate,))
    relay.alter = lambda frame: (
        changed(frame, revocations=9)
        if isinstance(frame, SignedIn)
        else changed(frame, statement=forged)
        if isinstance(frame, Revocations)
        else frame
    )
    with pytest.raises(RelayMisbehaved):
        await issuer.publish()
    relay.alter = lambda frame: frame
    assert await issuer.publish() == 1


async def test_large_list_goes_as_a_blob(
    relay: FakeRelay, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pli_client.issuer.service.as_payload", partial(as_payload, room=300))
    await issuer.revoke_device(bytes(16), "lost")
    await issuer.publish()
    sent = [f.statement for f in relay.seen if isinstance(f, PublishRevocations)]
    assert isinstance(sent[0], BlobRef)
    assert len(relay.revocations) == 1


async def test_publishing_without_a_relay_keeps_the_list(tmp_path: Path) -> None:
    from pli_client.issuer import Issuer as Opened

    from .conftest import PASSPHRASE, found

    relay = FakeRelay()
    async with relay.running():
        await found(relay, tmp_path)
    async with await Opened.open(tmp_path, PASSPHRASE) as issuer:
        await issuer.revoke_device(bytes(16), "lost")
        with pytest.raises(Offline):
            await issuer.publish(timeout=0.3)
        async with relay.running(relay.port):
            assert await issuer.publish() == 1


async def test_people_are_found_by_name_and_by_id(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    for who in (
        "Amélie Dupont",
        "  amélie   dupont ",
        device.person.account.hex(),
        device.person.person_id.hex(),
    ):
        assert (await issuer.find(who)).account == device.person.account
    for who in ("Amélie", "\x1b[2J", ""):
        with pytest.raises(UnknownAccount):
            await issuer.find(who)


async def test_two_people_of_one_name_are_not_guessed_at(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    for folder in ("one", "two"):
        invited = await issuer.invite(name="Jean Martin", profession="Éducateur")
        async with serving(issuer):
            await join(tmp_path / folder, invited.invitation)
    with pytest.raises(UnknownAccount):
        await issuer.find("Jean Martin")


async def test_unknown_account_or_reason_revokes_nothing(issuer: Issuer) -> None:
    with pytest.raises(UnknownAccount):
        await issuer.revoke(bytes(16), "lost")
    with pytest.raises(InvalidInput):
        await issuer.revoke_device(bytes(16), "bored")  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert await issuer.people() == []


async def test_revoked_person_gets_no_certificate_again_by_the_old_invitation(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invited = await issuer.invite(name="Amélie Dupont", profession="Infirmière")
    async with serving(issuer):
        device = await join(tmp_path / "a", invited.invitation)
        await issuer.revoke(device.person.account, "stolen")
        async with vault(tmp_path / "a") as opened:
            await opened.write(lambda db: db.execute("UPDATE device SET chain = NULL"))
        with pytest.raises(InvitationRefused) as caught:
            await join(tmp_path / "a", invited.invitation)
    assert caught.value.refusal == "used"


def _refusal(issuer: Issuer, relay: FakeRelay, device: Device) -> str:
    return str(Trust(issuer.authority, revocations=relay.revocations).refuses(device))


async def test_a_second_replacement_corrects_the_first_and_voids_its_invitation(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    account = device.person.account
    first, number = await issuer.replace(account)
    await issuer.publish()
    assert (number, _refusal(issuer, relay, device)) == (1, "person stolen")
    second, number = await issuer.replace(account, at_hand=False)
    await issuer.publish()
    assert (number, _refusal(issuer, relay, device)) == (2, "person lost")
    assert (await issuer.people())[0].reason == "lost"
    assert [row.id for row in await issuer.invitations()] == [second.id]
    third, number = await issuer.replace(account, stolen=[device.device_id])
    await issuer.publish()
    assert (number, _refusal(issuer, relay, device)) == (3, "device stolen")
    assert (await issuer.people())[0].reason == "lost"
    assert (await issuer.replace(account, stolen=[device.device_id]))[1] == 3
    async with serving(issuer):
        for void in (first, second, third):
            with pytest.raises(InvitationRefused) as caught:
                await join(tmp_path / void.id.hex(), void.invitation)
            assert caught.value.refusal == "unknown"


async def test_who_is_revoked_after_a_replacement_does_not_come_back_by_it(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    await issuer.replace(device.person.account)
    assert await issuer.revoke(device.person.account, "left") == 2
    assert await issuer.invitations() == []


async def test_a_stronger_reason_stays_where_two_lists_are_levelled(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    device = await enrolled(issuer, tmp_path)
    await issuer.replace(device.person.account)
    await issuer.publish()
    (held,) = relay.revocations
    await issuer.replace(device.person.account, at_hand=False)
    number, signed = await issuer.vault.write(lambda db: adopt(db, issuer._keys, held, 2**31))
    assert number == 2
    trust = Trust(issuer.authority, revocations=[signed])
    assert str(trust.refuses(device)) == "person lost"
