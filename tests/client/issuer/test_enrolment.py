"""Joining: an issuer that serves, a device that asks, and a relay that may do anything."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pli_client.enrolment import (
    AlreadyEnrolled,
    BadInvitation,
    EnrolmentPending,
    EstablishmentForged,
    EstablishmentUnknown,
    InvitationRefused,
    enrol,
    parse_invitation,
)
from pli_client.enrolment.beginning import begin
from pli_client.errors import InvalidInput, Offline, WrongRelay
from pli_client.issuer import (
    EnrolmentAnswered,
    Issuer,
    Report,
    ServiceOffline,
    ServiceOnline,
    tables,
)
from pli_client.issuer.answering import UNREADABLE, answer
from pli_protocol.identity import (
    Invitation,
    SigningKey,
    make_authority,
    make_issuer,
    make_person,
    verify_device,
)
from pli_protocol.identity.enrolment import (
    Enrolled,
    ReplyKey,
    enrolment_key_id,
    open_request,
    seal_answer,
    seal_request,
)
from pli_protocol.relay import frames
from pli_protocol.secret import Secret

from .conftest import NAME, PASSPHRASE, found, join, serving, until, vault
from .relay import FakeRelay, changed


async def invited(issuer: Issuer, **changes: object) -> Invitation:
    given: dict[str, object] = {"name": "Amélie Dupont", "profession": "Infirmière"}
    given.update(changes)
    return (await issuer.invite(**given)).invitation  # type: ignore[arg-type]


async def test_person_is_enrolled_with_what_the_administrator_wrote(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer, rpps="1000 1234 567")
    reports: list[Report] = []
    async with serving(issuer, reports):
        device = await join(tmp_path / "amelie", invitation)
    person = device.person
    assert (person.name, person.profession, person.rpps) == (
        "Amélie Dupont",
        "Infirmière",
        "10001234567",
    )
    assert (person.kind, person.establishment_name) == ("person", NAME)
    assert verify_device(device.chain, issuer.authority, now=None) == device
    answered = [report for report in reports if isinstance(report, EnrolmentAnswered)]
    assert [(report.name, report.again) for report in answered] == [("Amélie Dupont", False)]
    assert not any(isinstance(report, ServiceOffline) for report in reports)
    people = await issuer.people()
    assert [row.account for row in people] == [person.account]


async def test_bot_is_enrolled_as_a_bot(relay: FakeRelay, issuer: Issuer, tmp_path: Path) -> None:
    async with serving(issuer):
        device = await join(tmp_path / "dui", await invited(issuer, name="DUI", kind="bot"))
    assert device.person.kind == "bot"


async def test_vault_holds_what_the_client_needs_and_no_secret_of_the_invitation(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer)
    async with serving(issuer):
        device = await join(tmp_path / "a", invitation)
    async with vault(tmp_path / "a") as opened:
        row = await opened.read(
            lambda db: db.execute(
                "SELECT establishment, account, device_id, chain, enrolment, relay_url FROM device"
            ).fetchone()
        )
        counts = await opened.read(
            lambda db: [
                db.execute(f"SELECT count(*) FROM {table}").fetchone()
                for table in ("establishments", "issuers", "people")
            ]
        )
    assert row is not None
    assert row[:3] == (issuer.establishment, device.person.account, device.device_id)
    assert tuple(msgspec.msgpack.decode(row[3])) == device.chain
    assert row[4] is None
    assert row[5] == relay.url
    assert counts == [(1,), (1,), (1,)]


async def test_relay_learns_the_certificate_and_never_the_secret(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer)
    async with serving(issuer):
        device = await join(tmp_path / "a", invitation)
    assert [person for _, person in relay.answers.values()] == [device.person.certificate]
    carried = b"".join(msgspec.msgpack.encode(frame) for frame in relay.seen)
    assert bytes(invitation.secret) not in carried


async def test_request_waits_for_an_issuer_that_comes_later(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer)
    steps: list[str] = []
    joining = asyncio.create_task(join(tmp_path / "a", invitation, progress=steps.append))
    await until(lambda: "waiting" in steps)
    async with serving(issuer):
        device = await joining
    assert device.person.name == "Amélie Dupont"
    assert steps == ["contacting", "asked", "waiting", "enrolled"]


async def test_enrolment_that_is_not_answered_in_time_goes_on_later(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    with pytest.raises(EnrolmentPending):
        await join(tmp_path / "a", await invited(issuer), patience=0.3)
    async with serving(issuer):
        device = await join(tmp_path / "a", None)
    assert device.person.name == "Amélie Dupont"
    assert len(relay.requests) == 1


async def test_second_person_with_the_same_invitation_is_turned_away(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer)
    async with serving(issuer):
        await join(tmp_path / "a", invitation)
        with pytest.raises(InvitationRefused) as caught:
            await join(tmp_path / "b", invitation)
        assert caught.value.refusal == "used"
        other = await join(tmp_path / "b", await invited(issuer, name="Bruno"))
    assert other.person.name == "Bruno"
    assert len(await issuer.people()) == 2


async def test_invitation_past_its_date_is_refused(relay: FakeRelay, tmp_path: Path) -> None:
    await found(relay, tmp_path / "admin")
    now = [1_800_000_000.0]
    async with await Issuer.open(tmp_path / "admin", PASSPHRASE, clock=lambda: now[0]) as issuer:
        invitation = await invited(issuer, days=2)
        now[0] += 2 * 86400 + 1
        async with serving(issuer):
            with pytest.raises(InvitationRefused) as caught:
                await join(tmp_path / "a", invitation)
    assert caught.value.refusal == "expired"


async def test_unknown_and_withdrawn_invitations_are_refused(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    made = await issuer.invite(name="A", profession="B")
    assert await issuer.withdraw(made.id)
    assert not await issuer.withdraw(made.id)
    guessed = Invitation(Secret(b"g" * 16), issuer.establishment, relay.url)
    async with serving(issuer):
        for number, invitation in enumerate((made.invitation, guessed)):
            with pytest.raises(InvitationRefused) as caught:
                await join(tmp_path / str(number), invitation)
            assert caught.value.refusal == "unknown"


async def test_enrolled_vault_does_not_enrol_again(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    async with serving(issuer):
        await join(tmp_path / "a", await invited(issuer))
        with pytest.raises(AlreadyEnrolled):
            await join(tmp_path / "a", await invited(issuer))


async def test_certificates_and_proxy_that_a_second_attempt_gives_stay_in_the_vault(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """The first attempt made the vault and failed for want of them."""
    invitation = await invited(issuer)
    async with vault(tmp_path / "a") as kept:
        for ca, proxy in ((None, None), ("PEM", "http://proxy:3128"), (None, None)):
            asker = await begin(kept, invitation, None, ca, proxy, time.time, os.urandom)
        assert (asker.ca, asker.proxy) == ("PEM", "http://proxy:3128")


# --- crashes and lost answers -----------------------------------------------------------------


async def test_same_request_gets_the_same_answer_again(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """The issuer answered and the relay lost it (a crash, an old backup): nobody is signed twice."""
    invitation = await invited(issuer)
    async with serving(issuer):
        first = await join(tmp_path / "a", invitation)
    request_id = next(iter(relay.requests))
    relay.forget_answer(request_id)
    async with serving(issuer):
        await until(lambda: len(relay.answered) == 2)
    assert relay.answered[0] == relay.answered[1]
    assert [row.certificate for row in await issuer.people()] == [first.person.certificate]


async def test_issuer_killed_between_its_transaction_and_the_sending_answers_the_same(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    relay.swallow.add(frames.AnswerEnrolment)  # the connection dies with the answer under way
    relay.lose_answers = 1
    reports: list[Report] = []
    joining = asyncio.create_task(join(tmp_path / "a", await invited(issuer)))
    async with serving(issuer, reports):
        device = await joining
        await until(lambda: any(isinstance(report, EnrolmentAnswered) for report in reports))
    assert len(relay.answered) == 2
    assert len(set(relay.answered)) == 1
    told = [report for report in reports if isinstance(report, EnrolmentAnswered)]
    assert [(report.name, report.again) for report in told] == [("Amélie Dupont", True)]
    assert device.person.certificate == (await issuer.people())[0].certificate


async def test_new_request_of_the_same_key_gets_the_same_certificate(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """The device was answered, but died before it kept the answer, and the relay forgot it."""
    invitation = await invited(issuer)
    async with serving(issuer):
        first = await join(tmp_path / "a", invitation)
        async with vault(tmp_path / "a") as opened:
            await opened.write(lambda db: db.execute("UPDATE device SET chain = NULL"))
        again = await join(tmp_path / "a", invitation)
    assert again.person == first.person
    assert len(relay.requests) == 2


async def test_device_killed_before_it_kept_the_certificate_goes_on(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(*_args: object) -> None:
        raise RuntimeError("killed")

    invitation = await invited(issuer)
    async with serving(issuer):
        with monkeypatch.context() as patched:
            patched.setattr("pli_client.enrolment.joining.finish", die)
            with pytest.raises(RuntimeError, match="killed"):
                await join(tmp_path / "a", invitation)
        device = await join(tmp_path / "a", invitation)
    assert device.person.name == "Amélie Dupont"
    assert len(relay.requests) == 1


@pytest.mark.parametrize(
    "lost", [frames.GetEstablishment, frames.RequestEnrolment, frames.FetchEnrolment]
)
async def test_connection_lost_at_any_request_ends_well(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path, lost: type[frames.Frame]
) -> None:
    invitation = await invited(issuer)
    relay.swallow.add(lost)
    async with serving(issuer):
        for _ in range(2):
            try:
                device = await join(tmp_path / "a", invitation)
            except Offline:
                continue
            break
    assert device.person.name == "Amélie Dupont"
    assert len(relay.requests) == 1


async def test_request_that_the_relay_gave_up_is_left_again(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    with pytest.raises(EnrolmentPending):
        await join(tmp_path / "a", await invited(issuer), patience=0.3)
    left = dict(relay.requests)
    relay.requests.clear()
    async with serving(issuer):
        await join(tmp_path / "a", None)
    assert relay.requests == left


async def test_issuer_comes_back_when_the_relay_does(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    reports: list[Report] = []
    async with serving(issuer, reports):
        await until(lambda: any(isinstance(r, ServiceOnline) for r in reports))
        assert relay.issuer is not None
        await relay.issuer.close()
        await until(lambda: any(isinstance(r, ServiceOffline) for r in reports))
        await until(lambda: isinstance(reports[-1], ServiceOnline))
        device = await join(tmp_path / "a", await invited(issuer))
    assert device.person.name == "Amélie Dupont"


async def test_token_of_each_sign_in_is_shown_at_the_next(relay: FakeRelay, issuer: Issuer) -> None:
    reports: list[Report] = []
    for _ in range(2):
        async with serving(issuer, reports):
            count = len(reports)
            await until(lambda count=count: len(reports) > count)  # type: ignore[misc]
    tokens = [frame.token for frame in relay.seen if isinstance(frame, frames.SignIn)]
    assert tokens == [None, b"T" * 16]


# --- garbage and malice -----------------------------------------------------------------------


async def test_garbage_requests_do_not_stop_the_issuer(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    garbage = {bytes([number]) * 16: b"garbage" for number in range(5)}
    relay.requests |= garbage
    async with serving(issuer):
        device = await join(tmp_path / "a", await invited(issuer))
        await until(lambda: set(garbage) <= set(relay.answers))
    assert device.person.name == "Amélie Dupont"
    assert len(await issuer.people()) == 1


def altered(**by_class: Callable[[frames.RelayFrame], frames.RelayFrame]) -> object:
    def alter(frame: frames.RelayFrame) -> frames.RelayFrame:
        change = by_class.get(type(frame).__name__)
        return frame if change is None else change(frame)

    return alter


async def test_relay_that_swaps_the_establishment_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """Its own authority of the same name, its own issuer, its own enrolment key."""
    root, evil = SigningKey.generate(), SigningKey.generate()
    authority = make_authority(NAME, root, 0)
    own = make_issuer(root, authority, evil.public, now=0)
    relay.alter = altered(  # type: ignore[assignment]
        Establishment=lambda frame: changed(frame, authority=authority, issuers=(own,))
    )
    with pytest.raises(EstablishmentForged):
        await join(tmp_path / "a", await invited(issuer))
    assert not relay.requests


async def test_relay_that_swaps_the_enrolment_key_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    from pli_protocol.identity import EnrolmentKey, sign

    evil = SigningKey.generate()
    forged = sign(
        EnrolmentKey(issuer.establishment, ReplyKey.generate().public, 0),
        evil,
        (issuer._keys.certificate,),
    )
    relay.alter = altered(  # type: ignore[assignment]
        Establishment=lambda frame: changed(frame, enrolment_keys=(forged,))
    )
    with pytest.raises(EstablishmentForged):
        await join(tmp_path / "a", await invited(issuer))
    assert not relay.requests


async def test_relay_that_offers_no_enrolment_key_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    relay.alter = altered(  # type: ignore[assignment]
        Establishment=lambda frame: changed(frame, enrolment_keys=())
    )
    with pytest.raises(EstablishmentForged):
        await join(tmp_path / "a", await invited(issuer))


async def test_device_joins_although_the_revocation_list_is_too_large_for_a_stranger(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """The list lies in a blob, which the relay gives only to those who signed in."""
    blob = frames.BlobRef(bytes(32), 100_000, bytes(32))
    relay.alter = altered(  # type: ignore[assignment]
        Establishment=lambda frame: changed(frame, revocations=blob)
    )
    async with serving(issuer):
        assert await join(tmp_path / "a", await invited(issuer))
    assert not any(isinstance(frame, frames.GetBlob) for frame in relay.seen)


async def test_revocation_list_that_does_not_check_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    relay.alter = altered(  # type: ignore[assignment]
        Establishment=lambda frame: changed(frame, revocations=b"garbage")
    )
    with pytest.raises(EstablishmentForged):
        await join(tmp_path / "a", await invited(issuer))


@pytest.mark.parametrize("sealed", [b"garbage", b"\x93\x01"])
async def test_forged_answer_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path, sealed: bytes
) -> None:
    relay.alter = altered(  # type: ignore[assignment]
        EnrolmentAnswer=lambda frame: changed(frame, sealed=sealed)
    )
    with pytest.raises(EstablishmentForged):
        await join(tmp_path / "a", await invited(issuer))


async def test_answer_with_the_certificate_of_another_key_is_found_out(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """Even an issuer cannot give a device somebody else's certificate."""
    keys = issuer._keys
    invitation = await invited(issuer)
    joining = asyncio.create_task(join(tmp_path / "a", invitation))
    await until(lambda: bool(relay.requests))
    request_id, sealed = next(iter(relay.requests.items()))
    request = open_request(sealed, request_id, issuer.establishment, keys.enrolment)
    other = make_person(
        keys.key,
        keys.certificate,
        account=bytes(16),
        name="Autre",
        profession="Autre",
        identity_key=SigningKey.generate().public,
        now=0,
    )
    answer = seal_answer(Enrolled(other, keys.certificate), request.reply_key, request_id)
    await until(lambda: request_id in relay.askers)
    await relay._AnswerEnrolment(
        relay.askers[request_id], frames.AnswerEnrolment(0, request_id, answer)
    )
    with pytest.raises(EstablishmentForged):
        await joining


async def test_stranger_to_the_relay_is_told_so(relay: FakeRelay, tmp_path: Path) -> None:
    invitation = Invitation(Secret(bytes(16)), bytes(16), relay.url)
    with pytest.raises(EstablishmentUnknown):
        await join(tmp_path / "a", invitation)


async def test_relay_that_is_away_or_of_another_name_is_told_apart(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pli_client.enrolment.joining.FIRST_CONTACT", 0.3)
    away = Invitation(Secret(bytes(16)), issuer.establishment, "ws://127.0.0.1:1")
    with pytest.raises(Offline):
        await join(tmp_path / "a", away)
    with pytest.raises(WrongRelay):
        await join(tmp_path / "b", await invited(issuer), relay_name="relais.example.org")


async def test_plain_connection_to_another_computer_is_refused(tmp_path: Path) -> None:
    invitation = Invitation(Secret(bytes(16)), bytes(16), "ws://relais.example.org")
    with pytest.raises(InvalidInput):
        await join(tmp_path / "a", invitation)


async def test_going_on_with_nothing_begun_is_an_empty_invitation(tmp_path: Path) -> None:
    async with vault(tmp_path) as opened:
        with pytest.raises(BadInvitation):
            await enrol(opened)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "empty"),
        ("ABC!", "character"),
        ("ABCDE", "incomplete"),
        ("0" * 90, "letter"),
    ],
)
def test_mangled_invitation_gets_one_clear_sentence(typed: str, said: str) -> None:
    with pytest.raises(BadInvitation) as caught:
        parse_invitation(typed)
    sentence = caught.value.sentence("en")
    assert said in sentence
    assert sentence.endswith("ask for a new one.")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"name": "\x1b[2J"},
        {"profession": "  "},
        {"rpps": "123"},
        {"rpps": "abcdefghijk"},
        {"days": 0},
        {"days": 400},
        {"account_ends_at": 1},
    ],
)
async def test_impossible_invitation_is_never_made(
    issuer: Issuer, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        await invited(issuer, **changes)
    assert await issuer.invitations() == []


async def test_vault_keeps_only_a_hash_of_an_invitation(issuer: Issuer) -> None:
    invitation = await invited(issuer)
    rows = await issuer.vault.read(lambda db: db.execute("SELECT * FROM invitations").fetchall())
    assert bytes(invitation.secret) not in [value for row in rows for value in row]


async def test_account_with_an_end_has_a_certificate_that_ends(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    end = 4_000_000_000
    async with serving(issuer):
        device = await join(tmp_path / "a", await invited(issuer, account_ends_at=end * 1000))
    assert device.person.not_after == end


async def test_requests_for_nobody_hide_no_other_and_wait_no_longer(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    """Anybody can leave what is sealed to no issuer; a frame full of it is two here."""
    invitation = await invited(issuer)
    garbage = [os.urandom(16) for _ in range(5)]
    for request_id in garbage:
        stranger = ReplyKey.generate()
        relay.requests[request_id] = seal_request(
            invitation, (stranger.public,), SigningKey.generate(), stranger.public, request_id
        )
    async with asyncio.timeout(10):
        joining = asyncio.create_task(join(tmp_path / "a", invitation))
        await until(lambda: len(relay.requests) == 6)
        async with serving(issuer):
            await joining
            await until(lambda: len(relay.answers) == 6)
    assert {relay.answers[request_id][0] for request_id in garbage} == {b"\0"}


async def test_request_for_another_issuer_is_left_to_it(
    relay: FakeRelay, issuer: Issuer, tmp_path: Path
) -> None:
    invitation = await invited(issuer)
    assert relay.establishment is not None
    other = ReplyKey.generate()
    keys = await issuer._vault.read(tables.read_issuer)
    assert keys is not None
    request_id = os.urandom(16)
    sealed = seal_request(
        invitation, (other.public,), SigningKey.generate(), other.public, request_id
    )
    for others, expected in (
        (None, None),
        (frozenset({enrolment_key_id(other.public)}), None),
        (frozenset({enrolment_key_id(keys.enrolment.public)}), UNREADABLE),
    ):
        given = await issuer._vault.read(
            lambda db, others=others: answer(db, keys, request_id, sealed, 0, others=others)  # type: ignore[misc]
        )
        assert (None if given is None else given.sealed) == expected
