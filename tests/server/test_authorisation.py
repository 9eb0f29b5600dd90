"""Every client frame, sent by everybody who must not: answered alike, and nothing is done.

The matrix is made from the list of frames: a frame without a maker, and an adversary's answer that
nobody wrote down, fail. What a column does not name is answered `not-found`, in the same bytes as for
what does not exist.
"""

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, get_args

import msgspec
import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import (
    LeaveStatement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    make_device,
    make_person,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import sign_in_challenge

from .conftest import Server
from .credentials import Factors, SystemClock
from .people import NOW, TestDevice, TestEstablishment, commit, mls
from .raw_client import RawClient, Refused
from .team import Member, Team, joins, team

FRAMES = get_args(f.ClientFrame)

# For each frame, one that would be right from a member of the group (or from the issuer).
MAKERS: dict[type, Callable[[int, "Stranger"], f.ClientFrame]] = {
    f.Hello: lambda rid, s: f.Hello((1,)),
    f.SignIn: lambda rid, s: f.SignIn(rid, s.member.device.chain, bytes(64)),
    f.ConfirmToken: lambda rid, s: f.ConfirmToken(rid, os.urandom(16)),
    f.RegisterEstablishment: lambda rid, s: f.RegisterEstablishment(
        rid, "code", s.home.authority, s.home.issuer, s.home.enrolment_key, bytes(64)
    ),
    f.GetEstablishment: lambda rid, s: f.GetEstablishment(rid, s.home.id),
    f.RequestEnrolment: lambda rid, s: f.RequestEnrolment(rid, s.home.id, s.request_id, b"other"),
    f.FetchEnrolment: lambda rid, s: f.FetchEnrolment(rid, os.urandom(16)),
    f.ListEnrolments: lambda rid, s: f.ListEnrolments(rid),
    f.AnswerEnrolment: lambda rid, s: f.AnswerEnrolment(rid, s.request_id, b"answer"),
    f.PublishCertificate: lambda rid, s: f.PublishCertificate(rid, s.victim.person.certificate),
    f.PublishRevocations: lambda rid, s: f.PublishRevocations(rid, s.revocation()),
    f.GetRevocations: lambda rid, s: f.GetRevocations(rid, s.home.id),
    f.GetDirectory: lambda rid, s: f.GetDirectory(rid, None, s.home.id),
    f.PublishPartner: lambda rid, s: f.PublishPartner(rid, s.partner(), s.home.authority),
    f.GetPartners: lambda rid, s: f.GetPartners(rid),
    f.PublishAuthorityChange: lambda rid, s: f.PublishAuthorityChange(rid, b"\x90"),
    f.GetAuthorityChanges: lambda rid, s: f.GetAuthorityChanges(rid, s.home.id),
    f.GetStatements: lambda rid, s: f.GetStatements(rid, 0, s.home.id),
    f.AskRefusal: lambda rid, s: f.AskRefusal(rid, s.victim.device.chain, bytes(64)),
    f.GetListPart: lambda rid, s: f.GetListPart(rid, os.urandom(16)),
    f.PublishKeyPackages: lambda rid, s: f.PublishKeyPackages(rid, (b"kp",)),
    f.ClaimKeyPackages: lambda rid, s: f.ClaimKeyPackages(rid, (s.account,), s.home.id),
    f.CreateGroup: lambda rid, s: f.CreateGroup(
        rid, s.new, os.urandom(16), commit(s.new, 0), None, s.group.group
    ),
    f.Send: lambda rid, s: f.Send(rid, os.urandom(16), None, mls(s.group.group, s.group.epoch)),
    f.Fetch: lambda rid, s: f.Fetch(rid, s.group.group, 0),
    f.Acknowledge: lambda rid, s: f.Acknowledge((f.Acknowledgement(s.group.group, 2),)),
    f.AcknowledgeWelcome: lambda rid, s: f.AcknowledgeWelcome(s.item),
    f.ReportCommit: lambda rid, s: f.ReportCommit(s.group.group, 1, False, "spoilt"),
    f.GetCommitReports: lambda rid, s: f.GetCommitReports(rid, s.group.group, 1),
    f.AskReturn: lambda rid, s: f.AskReturn(rid, s.group.group, os.urandom(16), s.ask_return()),
    f.LeaveGroup: lambda rid, s: f.LeaveGroup(rid, s.group.group, s.leaving()),
    f.GetGroups: lambda rid, s: f.GetGroups(rid),
    f.BringDevices: lambda rid, s: f.BringDevices(rid, (s.chain(),)),
    f.BringRows: lambda rid, s: f.BringRows(rid, s.group.group, 1),
    f.BringWelcome: lambda rid, s: f.BringWelcome(rid, s.group.group, f.Position(1, 1), b"w"),
    f.BroughtAll: lambda rid, s: f.BroughtAll(rid),
    f.PutBlob: lambda rid, s: f.PutBlob(rid, s.blob, 0, 3, b"bad"),
    f.GetUpload: lambda rid, s: f.GetUpload(rid, s.unfinished),
    f.GetBlob: lambda rid, s: f.GetBlob(rid, s.unfinished, 0),
    f.RequestLinking: lambda rid, s: f.RequestLinking(rid, s.request_id, bytes(16), b"request"),
    f.FetchLinking: lambda rid, s: f.FetchLinking(rid, s.linking),
    f.GetLinking: lambda rid, s: f.GetLinking(rid),
    f.AnswerLinking: lambda rid, s: f.AnswerLinking(rid, s.linking, b"letter"),
    f.OpenAccount: lambda rid, s: f.OpenAccount(rid, s.home.id, s.account, bytes(32), "123456"),
    f.StepUp: lambda rid, s: f.StepUp(rid, bytes(32), "123456"),
    f.SetPassword: lambda rid, s: f.SetPassword(rid, bytes(32)),
    f.BeginSecondFactor: lambda rid, s: f.BeginSecondFactor(rid),
    f.ConfirmSecondFactor: lambda rid, s: f.ConfirmSecondFactor(rid, "123456"),
    f.RenewRecoveryCodes: lambda rid, s: f.RenewRecoveryCodes(rid),
    f.GetAccount: lambda rid, s: f.GetAccount(rid),
    f.ResetCredentials: lambda rid, s: f.ResetCredentials(rid, s.account),
    f.CloseAccount: lambda rid, s: f.CloseAccount(rid, s.account),
    f.GetDevices: lambda rid, s: f.GetDevices(rid, s.account),
    f.GetHead: lambda rid, s: f.GetHead(rid),
    f.GetConsistency: lambda rid, s: f.GetConsistency(rid, 1, 1, 2),
    f.GetInclusion: lambda rid, s: f.GetInclusion(rid, s.group.group, 2),
}

VICTIM = "(SELECT account FROM accounts WHERE no = 3)"

UNANSWERED = {f.Acknowledge, f.AcknowledgeWelcome, f.ReportCommit}
OUT_OF_ORDER = {
    f.Hello,
    f.SignIn,
    f.RegisterEstablishment,
    f.RequestEnrolment,
    f.FetchEnrolment,
    f.AskRefusal,
    f.GetListPart,
    f.OpenAccount,
}


@dataclass
class Stranger:
    """Someone outside, who knows every id of a group inside."""

    home: TestEstablishment
    member: Member
    victim: Member
    group: Team
    new: bytes
    request_id: bytes
    item: bytes
    blob: bytes
    unfinished: bytes
    account: bytes
    linking: bytes = field(default_factory=lambda: os.urandom(16))

    def chain(self) -> tuple[bytes, ...]:
        return tuple(self.member.device.chain)

    def leaving(self) -> bytes:
        statement = LeaveStatement(self.group.group, self.member.id, NOW)
        return sign(statement, self.member.device.key, self.member.device.chain)

    def ask_return(self) -> bytes:
        statement = ReturnRequest(self.group.group, self.member.id, b"kp", "", None, NOW)
        return sign(statement, self.member.device.key, self.member.device.chain)

    def revocation(self) -> bytes:
        entry = RevocationEntry("device", self.victim.id, "lost", NOW)
        statement = RevocationList(self.home.id, 1, bytes(32), (entry,), NOW)
        return sign(statement, self.home.issuer_key, (self.home.issuer,))

    def partner(self) -> bytes:
        """A partnership with home in the stranger's own establishment's name, which home signed."""
        return self.home.trusts(self.member.person.establishment)

    def of_nothing(self) -> "Stranger":
        """The same with ids that nobody ever made."""
        elsewhere = TestEstablishment("Nulle part")
        return Stranger(
            elsewhere,
            self.member,
            self.victim,
            Team(os.urandom(16), self.group.epoch),
            os.urandom(16),
            os.urandom(16),
            os.urandom(16),
            os.urandom(32),
            os.urandom(32),
            os.urandom(16),
        )


Answer = tuple[str, f.Refused | None]


async def attempt(client: RawClient, kind: type, stranger: Stranger) -> Answer:
    """What the relay answers: a code, "answer", "nothing" (an answer without content), or "silence"."""
    frame = MAKERS[kind](client.rid(), stranger)
    if kind in UNANSWERED or kind is f.Hello:
        await client.send(frame)
        return await after_unanswered(client), None
    try:
        answer = await client.ask(frame)
    except Refused as refused:
        return refused.code, msgspec.structs.replace(refused.frame, rid=0)
    content = [value for field in CONTENT if (value := getattr(answer, field, None)) is not None]
    return "nothing" if content == [()] else "answer", None


CONTENT: Final = ("claimed", "groups", "people", "waiting", "partners", "statements", "changes")
"""Fields of answers that hold what there is."""


async def after_unanswered(client: RawClient) -> str:
    """Nothing, or the refusal with which the relay closes."""
    try:
        # An answer to a further request shows that the frame was handled.
        await client.ask(f.GetEstablishment(client.rid(), bytes(16)))
    except Refused:
        return "silence"
    except ConnectionClosed:
        return next(push.code for push in client.pushes if isinstance(push, f.Refused))
    return "answer"


async def scene(server: Server, home: TestEstablishment, outsider: Member) -> Stranger:
    """A group, an enrolment, a Welcome and blobs of others."""
    a, b = await joins(server, home), await joins(server, home)
    await b.client.ask(f.PublishKeyPackages(b.client.rid(), (os.urandom(32),)))
    await Factors(SystemClock()).set_up(b.client)
    group = await team(a, b)
    await b.client.close()
    third = await joins(server, home)
    await third.client.close()
    await group.changes(a, added=(third,))
    await group.says(a)
    item = server.read(lambda db: db.scalar(sa.text("SELECT item FROM welcome_items")))
    blob, unfinished, request_id = os.urandom(32), os.urandom(32), os.urandom(16)
    for begun in (unfinished, blob):
        part = f.PutBlob(a.client.rid(), begun, 0, f.BLOB_PART + 1, bytes(f.BLOB_PART))
        await a.client.ask(part)
    joiner = await server.open()
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    account = b.person.account
    return Stranger(
        home, outsider, b, group, os.urandom(16), request_id, item, blob, unfinished, account
    )


def state(server: Server) -> list[tuple[object, ...]]:
    """Everything in the database that a stranger could have changed."""
    queries = (
        "SELECT group_id, epoch, last, successor FROM groups ORDER BY no",
        "SELECT group_no, device_no, state, acked FROM members ORDER BY group_no, device_no",
        "SELECT count(*) FROM rows",
        "SELECT item FROM welcome_items ORDER BY item",
        "SELECT * FROM reports ORDER BY group_no, seq, device_no",
        "SELECT request_id, sealed, answer FROM enrolments ORDER BY request_id",
        "SELECT count(claimed) FROM key_packages",
        "SELECT revocations_number FROM establishments ORDER BY id",
        "SELECT establishment, partner, statement FROM partners ORDER BY establishment, partner",
        "SELECT number, kind, subject FROM statements ORDER BY no",
        "SELECT blob, size, complete FROM blobs ORDER BY blob",
        "SELECT no, locked, revoked FROM devices WHERE no <= 3 ORDER BY no",
        f"SELECT * FROM credentials WHERE holder = {VICTIM}",
        "SELECT * FROM linkings ORDER BY request_id",
        f"SELECT * FROM recovery_codes WHERE holder = {VICTIM} ORDER BY hash",
    )
    return server.read(
        lambda db: [tuple(row) for query in queries for row in db.execute(sa.text(query))]
    )


def test_every_client_frame_is_in_the_matrix() -> None:
    assert set(MAKERS) == set(FRAMES)


OF_THE_RELAY = {f.GetHead: "answer", f.GetConsistency: "answer"}
"""What is everybody's who signed in: hashes of the relay's log."""

EXPECTED_OUTSIDE = {
    kind: "out-of-order"
    if kind in OUT_OF_ORDER
    else "silence"
    if kind in UNANSWERED
    else "not-found"
    for kind in FRAMES
} | OF_THE_RELAY
"""What anybody gets who is signed in and not meant."""

OF_WHO_IS_SIGNED_IN = {
    f.StepUp: "not-accepted",
    f.SetPassword: "answer",
    f.BeginSecondFactor: "answer",
    f.ConfirmSecondFactor: "not-accepted",
    f.RenewRecoveryCodes: "step-up",
    f.GetAccount: "answer",
}
"""What devices and issuers deal with for themselves: their password and second factor."""

OF_ONES_OWN = {
    f.ConfirmToken: "invalid",
    f.PublishKeyPackages: "answer",
    f.GetGroups: "nothing",
    f.GetPartners: "nothing",
    f.ClaimKeyPackages: "nothing",
    f.GetLinking: "answer",
    **OF_WHO_IS_SIGNED_IN,
}
"""What any device may ask for itself, when it is in no group."""

OF_THE_ESTABLISHMENT = {
    f.GetEstablishment: "answer",
    f.GetRevocations: "answer",
    f.GetDirectory: "answer",
    f.GetStatements: "nothing",
    f.GetAuthorityChanges: "nothing",
    f.ClaimKeyPackages: "answer",
}
"""What is everybody's within an establishment, and its partners'."""

Connector = Callable[[], Awaitable[RawClient]]


async def matrix(
    server: Server, stranger: Stranger, connect: Connector, expected: dict[type, str]
) -> None:
    """Try every frame; compare answers with `expected` and the database with what it was."""
    before = state(server)
    nothing = stranger.of_nothing()
    answers: dict[type, str] = {}
    client = await connect()
    for kind in FRAMES:
        if kind is f.ClaimKeyPackages and expected[kind] == "answer":
            # Allowed, and it changes something: the matrix of what is refused passes it by.
            answers[kind] = "answer"
            continue
        answers[kind], refusal = await attempt(client, kind, stranger)
        # An id that nobody used begins a blob.
        if answers[kind] == "not-found" and kind is not f.PutBlob:
            assert await attempt(client, kind, nothing) == ("not-found", refusal), kind
        if answers[kind] in ("out-of-order", "sign-in-failed"):
            await client.wait_closed()
            client = await connect()
        assert state(server) == before, kind
    assert answers == expected


def device_connector(server: Server, member: Member) -> Connector:
    """Sign the device in again and again."""
    token = member.client.signed_in.token

    async def connect() -> RawClient:
        nonlocal token
        client = await server.signed(member.device, token)
        token = client.signed_in.token
        return client

    return connect


async def test_who_has_not_signed_in(server: Server, home: TestEstablishment) -> None:
    stranger = await scene(server, home, await joins(server, home))
    expected = dict.fromkeys(FRAMES, "out-of-order") | {
        f.GetEstablishment: "answer",
        f.RegisterEstablishment: "not-found",
        f.SignIn: "sign-in-failed",
        f.RequestEnrolment: "conflict",
        f.FetchEnrolment: "not-found",
        f.AskRefusal: "not-found",
        f.GetAuthorityChanges: "nothing",
        f.GetListPart: "not-found",
        f.OpenAccount: "not-accepted",
    }
    await matrix(server, stranger, server.open, expected)


async def test_a_colleague_who_is_not_in_the_group(server: Server, home: TestEstablishment) -> None:
    outsider = await joins(server, home)
    stranger = await scene(server, home, outsider)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN | OF_THE_ESTABLISHMENT
    await matrix(server, stranger, device_connector(server, outsider), expected)


async def test_a_member_of_another_group(server: Server, home: TestEstablishment) -> None:
    outsider = await joins(server, home)
    stranger = await scene(server, home, outsider)
    colleague = await joins(server, home)
    await team(outsider, colleague)
    await colleague.client.settle()
    await server.relay.writer.do("sweep", lambda tx: None)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN | OF_THE_ESTABLISHMENT | {f.GetGroups: "answer"}
    await matrix(server, stranger, device_connector(server, outsider), expected)


@pytest.fixture
async def other(server: Server) -> TestEstablishment:
    """Another establishment at the same relay."""
    made = TestEstablishment("Ailleurs")
    await server.establish(made)
    return made


async def test_someone_of_another_establishment(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    outsider = await joins(server, other)
    stranger = await scene(server, home, outsider)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN
    await matrix(server, stranger, device_connector(server, outsider), expected)


@pytest.mark.parametrize("who_signed", ["home", "other"])
async def test_someone_of_an_establishment_that_one_side_alone_calls_a_partner(
    server: Server, home: TestEstablishment, other: TestEstablishment, who_signed: str
) -> None:
    outsider = await joins(server, other)
    stranger = await scene(server, home, outsider)
    sides = (home, other) if who_signed == "home" else (other, home)
    await server.publishes(*sides)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN
    if who_signed == "other":
        expected[f.GetPartners] = "answer"
    await matrix(server, stranger, device_connector(server, outsider), expected)


async def test_someone_of_a_partner(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    outsider = await joins(server, other)
    stranger = await scene(server, home, outsider)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN | OF_THE_ESTABLISHMENT | {f.GetPartners: "answer"}
    await matrix(server, stranger, device_connector(server, outsider), expected)


async def test_someone_of_a_partner_of_before(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    outsider = await joins(server, other)
    stranger = await scene(server, home, outsider)
    await server.publishes(home, other, until=NOW + 1, time=NOW + 1)
    await outsider.client.push(f.PartnersChanged)
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN | {f.GetPartners: "answer"}
    await matrix(server, stranger, device_connector(server, outsider), expected)


OF_AN_ISSUER = {
    **OF_WHO_IS_SIGNED_IN,
    f.ResetCredentials: "step-up",
    f.CloseAccount: "step-up",
    f.ConfirmToken: "answer",
    f.ListEnrolments: "nothing",
    f.PublishAuthorityChange: "invalid",
    f.PublishCertificate: "invalid",
    f.PublishRevocations: "invalid",
    f.PublishPartner: "invalid",
    f.GetPartners: "nothing",
}
"""What an issuer may ask for its own establishment; what it publishes is another's here."""


async def test_the_issuer_of_another_establishment(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    stranger = await scene(server, home, await joins(server, home))
    expected = EXPECTED_OUTSIDE | OF_AN_ISSUER
    await matrix(server, stranger, lambda: server.issuer(other), expected)


async def test_the_issuer_of_a_partner(
    server: Server, home: TestEstablishment, other: TestEstablishment
) -> None:
    await server.partners(home, other)
    stranger = await scene(server, home, await joins(server, home))
    expected = EXPECTED_OUTSIDE | OF_THE_ESTABLISHMENT | OF_AN_ISSUER
    expected |= {f.GetPartners: "answer", f.ClaimKeyPackages: "not-found"}
    await matrix(server, stranger, lambda: server.issuer(other), expected)


async def test_a_device_that_was_removed(server: Server, home: TestEstablishment) -> None:
    former = await joins(server, home)
    stranger = await scene(server, home, former)
    a, other = await joins(server, home), await joins(server, home)
    stranger.group = await team(a, former, other)
    await stranger.group.changes(a, removed=(former,))
    row = await former.client.push(f.Row)
    await former.client.send(
        f.Acknowledge((f.Acknowledgement(stranger.group.group, row.position.seq),))
    )
    await former.client.settle()
    await other.client.send(f.ReportCommit(stranger.group.group, 2, True))
    await other.client.settle()
    await stranger.group.says(a)
    await server.relay.writer.do("sweep", lambda tx: None)
    # Up to its removal the log is its own.
    expected = EXPECTED_OUTSIDE | OF_ONES_OWN | OF_THE_ESTABLISHMENT
    expected |= {f.Fetch: "answer", f.GetInclusion: "answer"}
    connect = device_connector(server, former)
    await matrix(server, stranger, connect, expected)
    again = await connect()
    rows = await again.ask(f.Fetch(again.rid(), stranger.group.group, 0))
    assert ([r.position.seq for r in rows.rows], rows.last) == ([2], 2)
    await again.settle()
    assert not again.pushes


async def revoked(server: Server, home: TestEstablishment, stranger: Stranger) -> None:
    issuer = await server.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), stranger.revocation()))


async def person_revoked(server: Server, home: TestEstablishment, stranger: Stranger) -> None:
    issuer = await server.issuer(home)
    entry = RevocationEntry("person", stranger.victim.person.person_id, "left", NOW)
    statement = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
    signed = sign(statement, home.issuer_key, (home.issuer,))
    await issuer.ask(f.PublishRevocations(issuer.rid(), signed))


async def ended(server: Server, home: TestEstablishment, stranger: Stranger) -> None:
    """The account's end date, and the day that a clock may be wrong, are over."""
    person = stranger.victim.person
    certificate = make_person(
        home.issuer_key,
        home.issuer,
        account=person.account,
        name="Anne Durand",
        profession="vacataire",
        identity_key=person.identity.public,
        now=NOW - 100_000,
        not_after=NOW - 90_000,
    )
    key = stranger.victim.device.key
    device = make_device(person.identity, certificate, key.public, now=NOW)
    chain = (device, certificate, home.issuer)
    stranger.victim.device = TestDevice(key, chain, person.account)


async def cloned(server: Server, home: TestEstablishment, stranger: Stranger) -> None:
    client = await server.open()
    with pytest.raises(Refused, match="clone"):
        await client.sign_in(stranger.victim.device, os.urandom(16))


@pytest.mark.parametrize(
    ("disable", "code"),
    [
        (revoked, "sign-in-failed"),
        (person_revoked, "sign-in-failed"),
        (ended, "sign-in-failed"),
        (cloned, "clone"),
    ],
)
async def test_a_disabled_account_is_signed_in_no_more_whatever_it_asks(
    server: Server,
    home: TestEstablishment,
    disable: Callable[[Server, TestEstablishment, Stranger], Awaitable[None]],
    code: str,
) -> None:
    """Its connection is cut and no other begins: whatever follows the sign-in is not read."""
    stranger = await scene(server, home, await joins(server, home))
    victim = stranger.victim
    await disable(server, home, stranger)
    before = state(server)
    for kind in FRAMES:
        client = await server.open()
        token = victim.client.signed_in.token
        challenge = sign_in_challenge(client.greeting.relay, client.greeting.challenge, token)
        signature = victim.device.key.sign(challenge)
        chain = victim.device.chain
        signing = await client.begin(f.SignIn(client.rid(), chain, signature, token))
        with suppress(ConnectionClosed):
            await client.send(MAKERS[kind](client.rid(), stranger))
        with pytest.raises(Refused, match=code):
            await signing
        await client.wait_closed()
        assert not client.pushes
        assert state(server) == before, kind
