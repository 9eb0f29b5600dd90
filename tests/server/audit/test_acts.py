"""Every act that matters leaves its entry, with who did it and no content; and every handler is told of.

Seen failing with `tx.trace` made to do nothing, and with a handler left out of the two tables below.
"""

import os
from typing import Any

import pytest
import sqlalchemy as sa

from pli_protocol.identity import (
    DeviceRevocation,
    LeaveStatement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.transparency import (
    Frontier,
    batch_root,
    digest_of,
    leaf_data,
    leaf_hash,
    read_batch,
)
from pli_server.audit.acts import Act, Entry, body_of, read_entry
from pli_server.handlers import HANDLERS
from pli_server.storage import tables as t

from ..conftest import Server
from ..credentials import Authenticator, asking
from ..people import NOW, TestEstablishment, commit
from ..raw_client import RawClient, Refused
from ..team import joins, team

TRACED: dict[type, set[Act]] = {
    f.SignIn: {Act.SIGN_IN, Act.SIGN_IN_FAILED, Act.CLONE},
    f.RegisterEstablishment: {Act.REGISTRATION},
    f.RequestEnrolment: {Act.ENROLMENT_ASKED},
    f.AnswerEnrolment: {Act.ENROLMENT_ANSWERED},
    f.PublishCertificate: {Act.CERTIFICATE},
    f.PublishAuthorityChange: {Act.AUTHORITY_CHANGE},
    f.PublishRevocations: {Act.REVOCATION},
    f.PublishPartner: {Act.PARTNER},
    f.ClaimKeyPackages: {Act.KEY_PACKAGES_CLAIMED},
    f.CreateGroup: {Act.GROUP_CREATED, Act.GROUP_REFOUNDED, Act.MESSAGES},
    f.Send: {Act.MESSAGES, Act.GROUP_CHANGED},
    f.AskReturn: {Act.RETURN, Act.MESSAGES},
    f.LeaveGroup: {Act.LEAVE},
    f.PutBlob: {Act.BLOB_STORED},
    f.BringRows: {Act.ROWS_BROUGHT, Act.MESSAGES},
    f.GetBlob: {Act.BLOB_FETCHED},
    f.RequestLinking: {Act.LINKING_ASKED},
    f.AnswerLinking: {Act.LINKING_ANSWERED},
    f.OpenAccount: {Act.FACTORS, Act.SIGN_IN_FAILED},
    f.StepUp: {Act.FACTORS, Act.SIGN_IN_FAILED},
    f.SetPassword: {Act.CREDENTIALS},
    f.ConfirmSecondFactor: {Act.CREDENTIALS},
    f.RenewRecoveryCodes: {Act.CREDENTIALS},
    f.ResetCredentials: {Act.CREDENTIALS},
    f.CloseAccount: {Act.ACCOUNT_CLOSED},
}

NOT_TRACED: dict[type, str] = {
    f.Hello: "says nothing of who it is",
    f.ConfirmToken: "part of a sign-in that was traced",
    f.GetEstablishment: "public to who knows the fingerprint",
    f.FetchEnrolment: "waits for an answer that is traced when it is given",
    f.ListEnrolments: "the issuer's own queue, sealed; its sign-in is traced",
    f.GetRevocations: "public inside the establishment, at each sign-in",
    f.GetPartners: "public inside the establishment, at each sign-in",
    f.GetAuthorityChanges: "public to who knows the fingerprint",
    f.GetStatements: "public inside the establishment, after a sign-in that is traced",
    f.AskRefusal: "follows a refused sign-in that is traced",
    f.GetListPart: "what anybody may read of an establishment, as GetEstablishment",
    f.GetDirectory: "public inside the establishment, at each sign-in",
    f.PublishKeyPackages: "public keys, without effect until they are claimed",
    f.Fetch: "reads what its own device is sent anyway",
    f.Acknowledge: "a cursor",
    f.AcknowledgeWelcome: "a cursor",
    f.ReportCommit: "kept in a table of its own",
    f.GetCommitReports: "members' own reports",
    f.GetGroups: "one's own groups",
    f.BringDevices: "known by their chains; their rows, brought next, are traced",
    f.BringWelcome: "belongs to a commit that was brought and traced",
    f.BroughtAll: "a cursor",
    f.GetUpload: "how far one's own upload is",
    f.BeginSecondFactor: "without effect until it is confirmed",
    f.FetchLinking: "waits for an answer that is traced when it is given",
    f.GetLinking: "what waits for oneself",
    f.GetAccount: "what oneself has set up",
    f.GetDevices: "one's own, or the issuer's own establishment's",
    f.GetHead: "hashes, given to everybody at sign-in",
    f.GetConsistency: "hashes, for everybody",
    f.GetInclusion: "hashes about a row that its own device was sent",
}


@pytest.mark.parametrize("frame", HANDLERS, ids=lambda frame: frame.__name__)
def test_every_handler_is_traced_or_says_why_not(frame: type) -> None:
    assert (frame in TRACED) != (frame in NOT_TRACED)


def test_a_fact_from_outside_is_refused() -> None:
    for fact in ("Mme Petit", "a" * 33, bytes(65), 1.5, None, ["a"]):
        with pytest.raises(ValueError, match="no number, id or word"):
            body_of(Entry(1, facts={"what": fact}))
    assert read_entry(body_of(Entry(1, facts={"what": "init", "n": 3}))).facts["what"] == "init"


class Log:
    """The entries in a running relay's database."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def query(self, chosen: sa.Select[Any]) -> list[Any]:
        return self._server.read(lambda db: list(db.execute(chosen).all()))

    def entries(self, *acts: Act) -> list[Any]:
        chosen = sa.select(t.trace_entries).order_by(t.trace_entries.c.no)
        return self.query(chosen.where(t.trace_entries.c.kind.in_(acts)) if acts else chosen)

    def last(self, act: Act) -> Entry:
        return read_entry(self.entries(act)[-1].body)


@pytest.fixture
def trace(server: Server) -> Log:
    return Log(server)


async def written(client: RawClient) -> None:
    """What was traced after its answer is written: the writer goes in order."""
    await client.ask(f.ConfirmToken(client.rid(), client.signed_in.token))


async def test_a_day_leaves_every_act_with_who_did_it(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    opened = trace.last(Act.REGISTRATION)
    assert (opened.establishment, opened.facts["opened"]) == (home.id, 1)

    anne, karim = await joins(server, home), await joins(server, home, "Karim Benali")
    lea = await joins(server, home, "Léa Roux")
    signed = trace.last(Act.SIGN_IN)
    assert (signed.establishment, signed.account, signed.device) == (
        home.id,
        lea.person.account,
        lea.id,
    )

    group = await team(anne, karim)
    created = trace.last(Act.GROUP_CREATED)
    assert (created.device, created.facts) == (anne.id, {"group": group.group, "added": 1})

    await group.changes(anne, (lea,))
    assert trace.last(Act.GROUP_CHANGED).facts == {
        "group": group.group,
        "seq": 2,
        "added": 1,
        "removed": 0,
    }

    await karim.client.ask(f.PublishKeyPackages(karim.client.rid(), (b"kp",)))
    await anne.client.ask(f.ClaimKeyPackages(anne.client.rid(), (karim.person.account,)))
    claimed = trace.last(Act.KEY_PACKAGES_CLAIMED)
    assert (claimed.account, claimed.facts) == (anne.person.account, {"devices": 1})

    blob = os.urandom(32)
    await anne.client.ask(f.PutBlob(anne.client.rid(), blob, 0, 3, b"abc"))
    await karim.client.ask(f.GetBlob(karim.client.rid(), blob, 0))
    await written(karim.client)
    stored, fetched = trace.last(Act.BLOB_STORED), trace.last(Act.BLOB_FETCHED)
    assert (stored.device, fetched.device) == (anne.id, karim.id)
    assert stored.facts["size"] == 3
    assert stored.facts["blob"] == fetched.facts["blob"]
    assert blob not in b"".join(row.body for row in trace.entries())

    second = await server.further_device(lea.person)
    again = await server.signed(second)
    request = ReturnRequest(group.group, second.id, b"kp", "lost", None, NOW)
    asked = sign(request, second.key, second.chain)
    await again.ask(f.AskReturn(again.rid(), group.group, os.urandom(16), asked))
    assert trace.last(Act.RETURN).device == second.id

    leaving = sign(LeaveStatement(group.group, lea.id, NOW), lea.device.key, lea.device.chain)
    await lea.client.ask(f.LeaveGroup(lea.client.rid(), group.group, leaving))
    assert trace.last(Act.LEAVE).account == lea.person.account

    successor = os.urandom(16)
    refounded = f.CreateGroup(
        anne.client.rid(),
        successor,
        os.urandom(16),
        commit(successor, 0, (karim.id,)),
        b"welcome",
        group.group,
    )
    await anne.client.ask(refounded)
    assert trace.last(Act.GROUP_REFOUNDED).facts["predecessor"] == group.group


async def test_enrolment_and_revocation_are_traced(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    joiner, issuer = await server.open(), await server.issuer(home)
    assert trace.last(Act.SIGN_IN).facts["issuer"] == trace.last(Act.REGISTRATION).facts["issuer"]
    request_id, lea = os.urandom(16), home.person("Léa Roux")
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    assert trace.last(Act.ENROLMENT_ASKED).facts == {"request": request_id}
    await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"answer", lea.certificate))
    assert trace.last(Act.ENROLMENT_ANSWERED).facts["signed"] == lea.account

    anne = await joins(server, home)
    own = DeviceRevocation(home.id, anne.person.person_id, os.urandom(16), "lost", NOW)
    said = sign(own, anne.person.identity, anne.device.chain[1:])
    await anne.client.ask(f.PublishRevocations(anne.client.rid(), said))
    assert trace.last(Act.REVOCATION).facts == {"revoked": own.device_id}

    entry = RevocationEntry("device", anne.id, "lost", NOW)
    newer = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
    published = sign(newer, home.issuer_key, (home.issuer,))
    await issuer.ask(f.PublishRevocations(issuer.rid(), published))
    assert trace.last(Act.REVOCATION).facts["number"] == 1


async def test_failed_sign_ins_and_clones_are_traced_with_who_could_be_told(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    device = home.person().device()
    client = await server.signed(device)
    copy = await server.open()
    with pytest.raises(Refused):
        await copy.sign_in(device, os.urandom(16))
    assert trace.last(Act.CLONE).device == device.id
    locked = await server.open()
    with pytest.raises(Refused):
        await locked.sign_in(device, client.signed_in.token)
    stranger = await server.open()
    with pytest.raises(Refused):
        await stranger.sign_in(TestEstablishment().person().device())
    await server.signed(home.person("Karim Benali").device())
    failed = [read_entry(row.body) for row in trace.entries(Act.SIGN_IN_FAILED)]
    assert [entry.device for entry in failed] == [device.id, None]


async def test_what_is_done_with_password_and_second_factor_is_traced(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    anne, own = await joins(server, home), Authenticator()
    ask, account = asking(anne.client), anne.person.account
    await own.set_up(ask)
    done = [read_entry(row.body).facts["what"] for row in trace.entries(Act.CREDENTIALS)]
    assert done == ["password", "second-factor"]
    await own.step_up(ask)
    assert trace.last(Act.FACTORS).device == anne.id
    for known in (account, os.urandom(16)):
        client = await server.open()
        with pytest.raises(Refused):
            await client.ask(f.OpenAccount(1, home.id, known, bytes(32), "123456"))
    await written(anne.client)
    failed = [read_entry(row.body).account for row in trace.entries(Act.SIGN_IN_FAILED)]
    assert failed == [account, None]

    issuer, issuers = await server.issuer(home), Authenticator()
    await issuers.set_up(asking(issuer))
    await issuers.step_up(asking(issuer))
    await issuer.ask(f.ResetCredentials(issuer.rid(), account))
    facts = trace.last(Act.CREDENTIALS).facts
    assert (facts["what"], facts["of"]) == ("reset", account)


async def test_what_is_refused_leaves_no_entry(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    anne, karim = await joins(server, home), await joins(server, home, "Karim Benali")
    group = await team(anne, karim)
    before = len(trace.entries())
    for stale in (group.epoch + 7, group.epoch + 8):
        with pytest.raises(Refused):
            await anne.client.sends(commit(group.group, stale, (), (karim.id,)), None)
    assert len(trace.entries()) == before


async def test_rows_of_one_transaction_share_a_leaf_that_commits_to_their_chains(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    anne, karim = await joins(server, home), await joins(server, home, "Karim Benali")
    group = await team(anne, karim)
    for number in range(20):
        await group.says(anne, b"%d" % number)
    rows = 0
    for entry in trace.entries(Act.MESSAGES):
        of_batch = sa.select(t.rows.c.chain).where(t.rows.c.batch == entry.batch)
        chains = [row.chain for row in trace.query(of_batch)]
        batch = read_batch(entry.body)
        assert (batch.count, batch.root) == (len(chains), batch_root(chains))
        rows += len(chains)
    assert rows == len(trace.query(sa.select(t.rows.c.no))) == 21


async def test_the_tree_in_the_database_is_the_tree_of_its_entries(
    server: Server, home: TestEstablishment, trace: Log
) -> None:
    anne = await joins(server, home)
    group = await team(anne)
    for number in range(9):
        await group.says(anne, b"%d" % number)
    frontier, nodes = Frontier(), {}
    for row in trace.entries():
        assert row.digest == digest_of(row.salt, row.body)
        assert row.no == frontier.size
        frontier, done = frontier.append(leaf_hash(leaf_data(row.kind, row.digest)))
        nodes.update({(node.level, node.no): node.hash for node in done})
    kept = trace.query(sa.select(t.trace_nodes))
    assert {(row.level, row.no): row.hash for row in kept} == nodes
    (tree,) = trace.query(sa.select(t.trace_trees))
    assert (tree.size, tree.frontier) == (frontier.size, frontier.encode())
    assert frontier.size > 11
