"""Every client frame, sent by everybody who must not: answered alike, and nothing is done."""

import os
from collections.abc import Awaitable, Callable
from typing import get_args

import pytest
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import (
    LeaveStatement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    sign,
)
from pli_protocol.relay import frames as f

from .conftest import Server
from .people import NOW, TestEstablishment, commit, mls
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
    f.PublishRevocations: lambda rid, s: f.PublishRevocations(rid, s.revocation()),
    f.GetRevocations: lambda rid, s: f.GetRevocations(rid, s.home.id),
    f.GetDirectory: lambda rid, s: f.GetDirectory(rid),
    f.PublishKeyPackages: lambda rid, s: f.PublishKeyPackages(rid, (b"kp",)),
    f.ClaimKeyPackages: lambda rid, s: f.ClaimKeyPackages(rid, (s.victim.person.account,)),
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
    f.PutBlob: lambda rid, s: f.PutBlob(rid, s.blob, 0, 3, b"bad"),
    f.GetBlob: lambda rid, s: f.GetBlob(rid, s.unfinished, 0),
}

UNANSWERED = {f.Acknowledge, f.AcknowledgeWelcome, f.ReportCommit}
OUT_OF_ORDER = {f.Hello, f.SignIn, f.RegisterEstablishment, f.RequestEnrolment, f.FetchEnrolment}


class Stranger:
    """Someone outside, who knows every id of a group inside."""

    def __init__(
        self, server: Server, home: TestEstablishment, member: Member, victim: Member, group: Team
    ) -> None:
        self.server = server
        self.home = home
        self.member = member
        self.victim = victim
        self.group = group
        self.new = os.urandom(16)
        self.request_id = os.urandom(16)
        self.item = os.urandom(16)
        self.blob = os.urandom(32)
        self.unfinished = os.urandom(32)

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


async def attempt(client: RawClient, kind: type, stranger: Stranger) -> str:
    """What the relay answers: a code, "answer", or "silence"."""
    frame = MAKERS[kind](client.rid(), stranger)
    if kind in UNANSWERED or kind is f.Hello:
        await client.send(frame)
        return await after_unanswered(client)
    try:
        await client.ask(frame)
    except Refused as refused:
        return refused.code
    return "answer"


async def after_unanswered(client: RawClient) -> str:
    """Nothing, or the refusal with which the relay closes."""
    try:
        # An answer to a further request shows that the frame was handled.
        await client.ask(f.GetEstablishment(client.rid(), bytes(16)))
    except Refused:
        return "silence"
    except ConnectionClosed:
        return (await client.push(f.Refused)).code
    return "answer"


async def scene(server: Server, home: TestEstablishment, outsider: Member) -> Stranger:
    """A group, an enrolment, a Welcome and blobs of others."""
    a, b = await joins(server, home), await joins(server, home)
    await b.client.ask(f.PublishKeyPackages(b.client.rid(), (os.urandom(32),)))
    group = await team(a, b)
    stranger = Stranger(server, home, outsider, b, group)
    await b.client.close()
    third = await joins(server, home)
    await third.client.close()
    await group.changes(a, added=(third,))
    await group.says(a)
    with server.relay._engine.connect() as db:
        stranger.item = db.exec_driver_sql("SELECT item FROM welcome_items").scalar()
    await a.client.ask(f.PutBlob(a.client.rid(), stranger.unfinished, 0, 10, b"x"))
    await a.client.ask(f.PutBlob(a.client.rid(), stranger.blob, 0, 4, b"x"))
    joiner = await server.open()
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, stranger.request_id, b"sealed"))
    return stranger


def state(server: Server) -> list[tuple[object, ...]]:
    """Everything in the database that a stranger could have changed."""
    found: list[tuple[object, ...]] = []
    with server.relay._engine.connect() as db:
        for query in (
            "SELECT group_id, epoch, last, successor FROM groups",
            "SELECT group_no, device_no, state, acked FROM members",
            "SELECT count(*) FROM rows",
            "SELECT item FROM welcome_items",
            "SELECT * FROM reports",
            "SELECT request_id, sealed, answer FROM enrolments",
            "SELECT count(claimed) FROM key_packages",
            "SELECT revocations_number FROM establishments",
            "SELECT blob, size, complete FROM blobs",
            "SELECT no, locked, revoked FROM devices WHERE no <= 3",
        ):
            found += [tuple(row) for row in db.exec_driver_sql(query)]
    return found


def test_every_client_frame_is_in_the_matrix() -> None:
    assert set(MAKERS) == set(FRAMES)


EXPECTED_OUTSIDE = {
    kind: "out-of-order"
    if kind in OUT_OF_ORDER
    else "silence"
    if kind in UNANSWERED
    else "conflict"
    if kind is f.PutBlob
    else "not-found"
    for kind in FRAMES
}
"""What anybody gets who is signed in and not meant."""


async def matrix(
    server: Server,
    stranger: Stranger,
    connect: Callable[[], Awaitable[RawClient]],
    expected: dict[type, str],
) -> None:
    """Try every frame; compare answers with `expected` and the database with what it was."""
    before = state(server)
    answers: dict[type, str] = {}
    client = await connect()
    for kind in FRAMES:
        if kind is f.ClaimKeyPackages and expected[kind] == "answer":
            # Allowed, and it changes something: the matrix of what is refused passes it by.
            answers[kind] = "answer"
            continue
        answers[kind] = await attempt(client, kind, stranger)
        if answers[kind] in ("out-of-order", "sign-in-failed"):
            await client.wait_closed()
            client = await connect()
        assert state(server) == before, kind
    assert answers == expected


def device_connector(server: Server, member: Member) -> Callable[[], Awaitable[RawClient]]:
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
    }
    await matrix(server, stranger, server.open, expected)


async def test_a_colleague_who_is_not_in_the_group(server: Server, home: TestEstablishment) -> None:
    outsider = await joins(server, home)
    stranger = await scene(server, home, outsider)
    expected = EXPECTED_OUTSIDE | {
        f.ConfirmToken: "invalid",
        f.GetEstablishment: "answer",
        f.GetRevocations: "answer",
        f.GetDirectory: "answer",
        f.PublishKeyPackages: "answer",
        f.ClaimKeyPackages: "answer",
        f.GetGroups: "answer",
    }
    await matrix(server, stranger, device_connector(server, outsider), expected)


async def test_someone_of_another_establishment(server: Server, home: TestEstablishment) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    outsider = await joins(server, other)
    stranger = await scene(server, home, outsider)
    expected = EXPECTED_OUTSIDE | {
        f.ConfirmToken: "invalid",
        f.GetDirectory: "answer",
        f.PublishKeyPackages: "answer",
        f.ClaimKeyPackages: "answer",
        f.GetGroups: "answer",
    }
    await matrix(server, stranger, device_connector(server, outsider), expected)


async def test_the_issuer_of_another_establishment(server: Server, home: TestEstablishment) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    stranger = await scene(server, home, await joins(server, home))
    expected = EXPECTED_OUTSIDE | {
        f.ConfirmToken: "answer",
        f.GetDirectory: "answer",
        f.ListEnrolments: "answer",
        f.PublishRevocations: "invalid",
    }
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
    expected = EXPECTED_OUTSIDE | {
        f.ConfirmToken: "invalid",
        f.GetEstablishment: "answer",
        f.GetRevocations: "answer",
        f.GetDirectory: "answer",
        f.PublishKeyPackages: "answer",
        f.ClaimKeyPackages: "answer",
        f.GetGroups: "answer",
        # Up to its removal the log is its own.
        f.Fetch: "answer",
    }
    connect = device_connector(server, former)
    await matrix(server, stranger, connect, expected)
    again = await connect()
    rows = await again.ask(f.Fetch(again.rid(), stranger.group.group, 0))
    assert ([r.position.seq for r in rows.rows], rows.last) == ([2], 2)
    await again.settle()
    assert not again.pushes


async def test_a_revoked_device_cannot_even_sign_in(
    server: Server, home: TestEstablishment
) -> None:
    """Its connection is cut and no other begins, so no other frame is reached."""
    stranger = await scene(server, home, await joins(server, home))
    issuer = await server.issuer(home)
    await issuer.ask(f.PublishRevocations(issuer.rid(), stranger.revocation()))
    client = await server.open()
    with pytest.raises(Refused, match="sign-in-failed"):
        await client.sign_in(stranger.victim.device, stranger.victim.client.signed_in.token)


async def test_unknown_and_forbidden_are_answered_in_the_same_bytes(
    server: Server, home: TestEstablishment
) -> None:
    outsider = await joins(server, home)
    stranger = await scene(server, home, outsider)
    known = stranger.group.group
    for make in (
        lambda g: f.Send(outsider.client.rid(), os.urandom(16), None, mls(g, 1)),
        lambda g: f.Fetch(outsider.client.rid(), g, 0),
        lambda g: f.GetCommitReports(outsider.client.rid(), g, 1),
    ):
        answers = []
        for group in (known, os.urandom(16)):
            with pytest.raises(Refused) as caught:
                await outsider.client.ask(make(group))
            frame = caught.value.frame
            answers.append((frame.code, frame.detail, frame.epoch, frame.retry_after))
        assert answers[0] == answers[1]
