"""What a hostile client tries to make grow, or to make others wait for: each has its bound."""

import asyncio
import contextlib
import errno
import hashlib
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from websockets.exceptions import ConnectionClosed

from pli_protocol.identity import (
    DeviceRevocation,
    EnrolmentKey,
    RevocationEntry,
    RevocationList,
    make_issuer,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import RosterChange, device_id
from pli_server import process, sweep
from pli_server.errors import Refusal, StorageFailed
from pli_server.handlers.establishments import cut_revoked
from pli_server.pace import STRIDE, Daily, Pace
from pli_server.proxy import source
from pli_server.relay import SIGN_INS, now_ms
from pli_server.storage.blobs import BlobFolder
from pli_server.storage.database import Statements
from pli_server.storage.faults import Fault

from .conftest import Server
from .people import NOW, TestEstablishment, commit
from .raw_client import RawClient, Refused
from .team import joins, team


async def code_of(asking: Awaitable[Any]) -> str:
    with pytest.raises(Refused) as refused:
        await asking
    return refused.value.code


async def put(client: RawClient, data: bytes) -> bytes:
    blob = os.urandom(32)
    for offset in range(0, len(data), f.BLOB_PART):
        part = data[offset : offset + f.BLOB_PART]
        await client.ask(f.PutBlob(client.rid(), blob, offset, len(data), part))
    return blob


# --- blobs ------------------------------------------------------------------------------------


def test_of_a_blob_that_a_payload_names_no_more_than_it_says_is_read(tmp_path: Path) -> None:
    folder = BlobFolder(tmp_path)
    blob, data = os.urandom(32), bytes(10_000)
    folder.put(blob, 0, len(data), data)
    folder.place(blob, len(data))
    reads: list[int] = []
    opened = Path.open

    class Watched:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> "Watched":
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def read(self, size: int = -1) -> bytes:
            got: bytes = self._file.read(size)
            reads.append(len(got))
            return got

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", lambda self, mode: Watched(opened(self, mode)))
        with pytest.raises(Refusal, match="invalid"):
            folder.read_checked(f.BlobRef(blob, 10, hashlib.sha256(data).digest()), 100)
        with pytest.raises(Refusal, match="too-large"):
            folder.read_checked(f.BlobRef(blob, 10_000, hashlib.sha256(data).digest()), 100)
    assert reads == [11]
    folder.close()


async def test_a_statement_in_a_blob_is_for_issuers(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    statement = sign(
        DeviceRevocation(home.id, a.person.person_id, os.urandom(16), "lost", NOW),
        a.person.identity,
        (a.person.certificate, home.issuer),
    )
    blob = await put(a.client, statement)
    reference = f.BlobRef(blob, len(statement), hashlib.sha256(statement).digest())
    asked = f.PublishRevocations(a.client.rid(), reference)
    assert await code_of(a.client.ask(asked)) == "invalid"
    await a.client.ask(f.PublishRevocations(a.client.rid(), statement))


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EIO, StorageFailed), (errno.ENOSPC, Refusal)]
)
def test_a_part_that_was_not_flushed_is_not_held(
    tmp_path: Path, code: int, expected: type[Exception]
) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    folder.put(blob, 0, 11, b"first")

    def failing(_: int) -> None:
        raise OSError(code, "no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        with pytest.raises(expected):
            folder.put(blob, 5, 11, b"second")
    assert (tmp_path / "blobs" / "uploads" / blob.hex()).read_bytes() == b"first"
    folder.close()


def test_a_part_that_is_held_is_flushed_before_it_is_answered_again(tmp_path: Path) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    # As a killed process leaves it: written, perhaps in the system's memory only.
    (tmp_path / "blobs" / "uploads" / blob.hex()).write_bytes(b"first")
    flushed: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", flushed.append)
        assert folder.put(blob, 0, 11, b"first") == 5
    assert len(flushed) == 1
    folder.close()


def test_the_same_part_from_two_connections_is_stored_once(tmp_path: Path) -> None:
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    both = threading.Barrier(2, timeout=5)
    flush = os.fsync

    def slow(descriptor: int) -> None:
        # The first one waits here for the second, which must not have written meanwhile.
        try:
            both.wait(0.2)
        except threading.BrokenBarrierError:
            both.reset()
        flush(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", slow)
        threads = [
            threading.Thread(target=folder.put, args=(blob, 0, 4, b"part")) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (tmp_path / "blobs" / "uploads" / blob.hex()).read_bytes() == b"part"
    folder.close()


def test_a_part_of_a_blob_in_place_changes_nothing(tmp_path: Path) -> None:
    """As after a crash between the two: in place, but not noted as complete."""
    folder, blob = BlobFolder(tmp_path), os.urandom(32)
    folder.put(blob, 0, 5, b"whole")
    folder.place(blob, 5)
    assert folder.put(blob, 3, 5, b"le") == 5
    assert list((tmp_path / "blobs" / "uploads").iterdir()) == []
    folder.close()


async def test_a_blob_that_was_not_flushed_stops_the_relay(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)

    def failing(*_: object) -> int:
        raise StorageFailed

    monkeypatch.setattr(server.relay.blobs, "put", failing)
    with pytest.raises(ConnectionClosed):
        await a.client.ask(f.PutBlob(a.client.rid(), os.urandom(32), 0, 4, b"data"))
    async with asyncio.timeout(5):
        await server.relay.failed.wait()


async def test_a_request_of_a_connection_that_was_cut_meanwhile_is_not_carried_out(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = await joins(server, home)
    made = await team(a)
    blob_data = commit(made.group, 1)
    blob = await put(a.client, blob_data)
    reference = f.BlobRef(blob, len(blob_data), hashlib.sha256(blob_data).digest())
    reading, go_on = threading.Event(), threading.Event()
    read = server.relay.blobs.read_checked

    def slowly(*arguments: Any) -> bytes:
        reading.set()
        go_on.wait(5)
        return read(*arguments)

    monkeypatch.setattr(server.relay.blobs, "read_checked", slowly)
    await a.client.begin(f.Send(a.client.rid(), os.urandom(16), None, reference))
    await asyncio.to_thread(reading.wait, 5)
    other = await server.signed(a.device, a.client.signed_in.token)
    go_on.set()
    await a.client.wait_closed()
    state = (await other.ask(f.GetGroups(other.rid()))).groups[0]
    assert (state.epoch, state.last) == (1, 1)


async def test_many_tiny_blobs_are_bounded_too(limited: Callable[..., Awaitable[Server]]) -> None:
    server = await limited(blob_bytes_per_account=3 * 64 * 1024)
    home = TestEstablishment()
    await server.establish(home, server.code)
    a = await joins(server, home)
    for _ in range(3):
        await put(a.client, b"x")
    assert await code_of(put(a.client, b"x")) == "limit"


# --- enrolment, which needs no sign-in --------------------------------------------------------


async def test_what_an_issuer_leaves_unanswered_hides_nothing(
    server: Server, home: TestEstablishment
) -> None:
    joiner, issuer = await server.open(), await server.issuer(home)
    asked = []
    for number in range(12):
        asked.append(os.urandom(16))
        sealed = bytes([number]) * 8192
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, asked[-1], sealed))
        if number % 4 == 3:
            joiner = await server.open()
    seen: list[bytes] = []
    while True:
        last = seen[-1] if seen else None
        page = (await issuer.ask(f.ListEnrolments(issuer.rid(), last))).waiting
        if not page:
            break
        assert len(page) < 12
        seen += [request.request_id for request in page]
    assert sorted(seen) == sorted(asked)


async def test_another_establishments_request_is_no_place_in_the_list(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    joiner, theirs, ours = await server.open(), os.urandom(16), os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, ours, b"sealed"))
    await joiner.ask(f.RequestEnrolment(joiner.rid(), other.id, theirs, b"sealed"))
    issuer = await server.issuer(home)
    page = (await issuer.ask(f.ListEnrolments(issuer.rid(), theirs))).waiting
    assert [request.request_id for request in page] == [ours]


async def test_answers_that_nobody_fetches_are_bounded(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(enrolments_answered=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    joiner, issuer = await server.open(), await server.issuer(home)
    asked = [os.urandom(16) for _ in range(4)]
    for request_id in asked:
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
        await issuer.ask(f.AnswerEnrolment(issuer.rid(), request_id, b"answer"))
    joiner = await server.open()
    first = f.FetchEnrolment(joiner.rid(), asked[0])
    assert await code_of(joiner.ask(first)) == "not-found"
    last = await joiner.ask(f.FetchEnrolment(joiner.rid(), asked[-1]))
    assert last.sealed == b"answer"


async def test_a_request_over_the_connections_waits_is_not_stored(
    server: Server, home: TestEstablishment
) -> None:
    joiner, asked = await server.open(), [os.urandom(16) for _ in range(5)]
    for request_id in asked[:4]:
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    fifth = f.RequestEnrolment(joiner.rid(), home.id, asked[4], b"sealed")
    assert await code_of(joiner.ask(fifth)) == "limit"
    issuer = await server.issuer(home)
    waiting = (await issuer.ask(f.ListEnrolments(issuer.rid()))).waiting
    assert {request.request_id for request in waiting} == set(asked[:4])


async def test_certificates_of_someone_without_a_code_are_not_even_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwanted(*_: object) -> None:
        raise AssertionError("costly")

    monkeypatch.setattr(server.relay.checker, "registration", unwanted)
    stranger = await server.open()
    assert await code_of(stranger.register(TestEstablishment(), "no-such-code")) == "not-found"


# --- devices that signed in -------------------------------------------------------------------


async def test_frames_that_are_not_answered_count_among_those_in_flight(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    """Else one client fills the writer's queue, and everybody is told to come later."""
    server = await limited(requests_in_flight=4, queued_bytes=4096)
    home = TestEstablishment()
    await server.establish(home, server.code)
    a, b = await joins(server, home), await joins(server, home)
    made = await team(b)
    submit, most = server.relay.writer.submit, 0

    def watched(job: Any) -> None:
        nonlocal most
        submit(job)
        most = max(most, server.relay.writer._queued)

    server.relay.writer.submit = watched  # type: ignore[method-assign]
    for number in range(300):
        await a.client.send(f.AcknowledgeWelcome(os.urandom(16)))
        await a.client.send(f.ReportCommit(made.group, number, applied=True))
    await made.says(b)
    await a.client.settle()
    assert most < 4096


async def test_a_person_revokes_a_bounded_number_of_devices(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(own_revocations=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    a, b = await joins(server, home), await joins(server, home)

    async def revoke(who: Any, device: bytes) -> None:
        statement = sign(
            DeviceRevocation(home.id, who.person.person_id, device, "lost", NOW),
            who.person.identity,
            (who.person.certificate, home.issuer),
        )
        await who.client.ask(f.PublishRevocations(who.client.rid(), statement))

    devices = [os.urandom(16) for _ in range(3)]
    for device in (*devices[:2], *devices[:2]):
        await revoke(a, device)
    assert await code_of(revoke(a, devices[2])) == "limit"
    await revoke(b, devices[2])


async def test_reports_from_before_ones_time_are_not_told(
    server: Server, home: TestEstablishment
) -> None:
    a, b, c = [await joins(server, home) for _ in range(3)]
    made = await team(a, b)
    await b.client.send(f.ReportCommit(made.group, 1, applied=False, reason="broken"))
    await b.client.settle()
    await made.changes(a, added=(c,))
    await c.client.push(f.WelcomeWaiting)
    before = await c.client.ask(f.GetCommitReports(c.client.rid(), made.group, 1))
    assert before.reports == ()
    told = await a.client.ask(f.GetCommitReports(a.client.rid(), made.group, 1))
    assert [report.device for report in told.reports] == [b.id]


async def test_a_device_revoked_while_it_signs_in_is_cut(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is published after its chain was checked and before it is online."""
    person = home.person()
    device = person.device()
    checker = server.relay.checker
    check = checker.device

    def meanwhile(chain: tuple[bytes, ...]) -> Any:
        checked = check(chain)
        entry = RevocationEntry("device", device.id, "stolen", NOW)
        revoked = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
        checker.revocations(sign(revoked, home.issuer_key, (home.issuer,)), home.id)
        return checked

    monkeypatch.setattr(checker, "device", meanwhile)
    client = await server.open()
    await client.sign_in(device)
    last = await client.push(f.Refused)
    assert last.code == "sign-in-failed"
    await client.wait_closed()
    assert server.relay.sessions == {}


async def test_a_revoked_issuer_is_not_registered_again(
    server: Server, home: TestEstablishment
) -> None:
    second = TestEstablishment(authority_key=home.authority_key)
    second.authority = home.authority
    entry = RevocationEntry("issuer", device_id(second.issuer_key.public), "stolen", NOW)
    revoked = RevocationList(home.id, 1, bytes(32), (entry,), NOW)
    issuer = await server.issuer(home)
    signed = sign(revoked, home.issuer_key, (home.issuer,))
    await issuer.ask(f.PublishRevocations(issuer.rid(), signed))
    second.issuer = make_issuer(
        home.authority_key, home.authority, second.issuer_key.public, now=NOW
    )
    second.enrolment_key = sign(
        EnrolmentKey(home.id, bytes(32), NOW), second.issuer_key, (second.issuer,)
    )
    with pytest.raises(Refused, match="invalid"):
        await server.establish(second)


async def test_the_newest_list_stays_however_old_its_blob(
    server: Server, home: TestEstablishment
) -> None:
    issuer = await server.issuer(home)
    entries = tuple(RevocationEntry("device", os.urandom(16), "lost", NOW) for _ in range(2000))
    signed = sign(
        RevocationList(home.id, 1, bytes(32), entries, NOW), home.issuer_key, (home.issuer,)
    )
    assert len(signed) > f.MAX_INLINE
    blob = await put(issuer, signed)
    forgotten = await put(issuer, b"x")
    reference = f.BlobRef(blob, len(signed), hashlib.sha256(signed).digest())
    await issuer.ask(f.PublishRevocations(issuer.rid(), reference))
    server.clock = lambda: now_ms() + 400 * 86_400_000
    await sweep.sweep(server.relay)
    part = await issuer.ask(f.GetBlob(issuer.rid(), blob, 0))
    assert part.size == len(signed)
    assert await code_of(issuer.ask(f.GetBlob(issuer.rid(), forgotten, 0))) == "not-found"


# --- connections ------------------------------------------------------------------------------


async def test_connections_that_never_finish_their_handshake_are_few_per_address(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(unsigned_per_address=3)
    port = int(server.url.rpartition(":")[2])
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    for _, other in (*opened, (reader, writer)):
        other.close()
        with contextlib.suppress(ConnectionError):
            await other.wait_closed()
    async with asyncio.timeout(5):
        while server._listener._opening:  # noqa: ASYNC110  the relay notices in its own time
            await asyncio.sleep(0)
    await server.open()
    assert not server._listener._opening


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_an_ipv6_network_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (source(one) == source(other)) is same


async def test_what_nobody_caught_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    error = ValueError("Anne Durand")
    process._name_nobody(loop, {"exception": error, "peername": ("192.0.2.1", 1)})
    process._name_nobody(loop, {"message": "Anne Durand"})
    assert [record.getMessage() for record in caplog.records] == [
        "a fault outside of any request: ValueError",
        "a fault outside of any request: no exception",
    ]


async def test_who_is_past_the_end_of_its_certificate_is_cut_off_while_online(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    issuer = await server.issuer(home)
    await cut_revoked(server.relay)
    await a.client.settle()
    server.clock = lambda: now_ms() + 500 * 86_400_000
    await cut_revoked(server.relay)
    assert (await a.client.push(f.Refused)).code == "sign-in-failed"
    await a.client.wait_closed()
    await issuer.ask(f.ListEnrolments(issuer.rid()))


async def test_a_list_of_more_devices_than_a_group_may_have_is_not_decoded(
    limited: Callable[..., Awaitable[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any device could keep the relay busy for a second with a frame of 200 bytes."""
    server = await limited(members_per_group=3)
    home = TestEstablishment()
    await server.establish(home, server.code)
    a = await joins(server, home)
    made = await team(a)
    ids = tuple(os.urandom(16) for _ in range(8))
    for added, code in ((ids[:6], "roster"), (ids, "limit")):
        message = commit(made.group, 1, added)
        blob = await put(a.client, message)
        reference = f.BlobRef(blob, len(message), hashlib.sha256(message).digest())
        asked = f.Send(a.client.rid(), os.urandom(16), None, reference, b"welcome")
        assert await code_of(a.client.ask(asked)) == code
    monkeypatch.setattr(RosterChange, "decode", None)
    assert await code_of(a.client.sends(message, welcome=b"welcome")) == "limit"


# --- what grows with each request -------------------------------------------------------------


async def test_a_transaction_that_is_run_again_counts_an_address_once(
    limited: Callable[..., Awaitable[Server]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await limited(enrolments_per_address=1)
    home = TestEstablishment()
    await server.establish(home, server.code)
    database, clashes = server.relay.database, iter([True, True])
    fault, statements = database.fault, database.statements

    def clashing(connection: sa.Connection) -> Statements:
        made = statements(connection)
        commit = made.commit
        made.commit = lambda: commit() if not next(clashes, False) else throw()  # type: ignore[method-assign]
        return made

    def throw() -> None:
        raise InterruptedError

    def sorted_out(error: BaseException) -> Fault:
        return Fault.CLASH if isinstance(error, InterruptedError) else fault(error)

    monkeypatch.setattr(database, "statements", clashing)
    monkeypatch.setattr(database, "fault", sorted_out)
    joiner = await server.open()
    request = f.RequestEnrolment(joiner.rid(), home.id, os.urandom(16), b"sealed")
    assert await joiner.ask(request) == f.Done(request.rid)
    assert server.relay.writer.undone["clash"] == 2


async def test_an_address_leaves_a_bounded_number_of_requests_a_day(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(enrolments_per_address=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    joiner, asked = await server.open(), [os.urandom(16) for _ in range(3)]

    async def request(number: int) -> None:
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, asked[number], b"sealed"))

    await request(0)
    await request(1)
    await request(0)
    assert await code_of(request(2)) == "limit"
    server.clock = lambda: now_ms() + 86_400_000
    await request(2)


async def test_requests_that_nobody_answered_for_a_day_give_way(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(enrolments_waiting=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    joiner, asked = await server.open(), [os.urandom(16) for _ in range(4)]

    async def request(number: int) -> None:
        await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, asked[number], b"sealed"))

    await request(0)
    server.clock = lambda: now_ms() + 80_000_000
    await request(1)
    assert await code_of(request(2)) == "limit"
    server.clock = lambda: now_ms() + 90_000_000
    await request(3)
    issuer = await server.issuer(home)
    waiting = (await issuer.ask(f.ListEnrolments(issuer.rid()))).waiting
    assert {found.request_id for found in waiting} == {asked[1], asked[3]}


async def test_accounts_of_an_establishment_are_bounded(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(accounts_per_establishment=1)
    home, other = TestEstablishment(), TestEstablishment()
    await server.establish(home, server.code)
    await server.establish(other)
    a = await joins(server, home)
    client = await server.open()
    assert await code_of(client.sign_in(home.person().device())) == "limit"
    issuer, joiner, request_id = await server.issuer(home), await server.open(), os.urandom(16)
    await joiner.ask(f.RequestEnrolment(joiner.rid(), home.id, request_id, b"sealed"))
    signed = home.person().certificate
    answer = f.AnswerEnrolment(issuer.rid(), request_id, b"answer", signed)
    assert await code_of(issuer.ask(answer)) == "limit"
    await joins(server, other)
    await server.signed(a.device, a.client.signed_in.token)


@pytest.mark.parametrize(("between", "waits"), [(0.001, [9.0, 9.0, 9.0]), (0.0101, [])])
def test_who_sends_too_fast_is_read_later_and_who_does_not_is_not(
    between: float, waits: list[float]
) -> None:
    now = [0.0]
    pace, waited = Pace(100, now[0]), []
    for _ in range(3 * STRIDE):
        now[0] += between
        waited.append(pace.frame(lambda: now[0]))
        now[0] += waited[-1]
    assert [round(wait, 6) for wait in waited if wait] == waits


async def test_a_connection_that_is_read_later_loses_nothing(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "frame", lambda _: 0.001)
    a = await joins(server, home)
    made = await team(a)
    accepted = [await made.says(a) for _ in range(5)]
    assert [each.position.seq for each in accepted] == [2, 3, 4, 5, 6]
    assert server.relay.metrics.paused >= 5


def test_addresses_are_remembered_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pli_server.pace.ADDRESSES", 3)
    daily = Daily()
    for number in range(10):
        assert daily.ask(f"192.0.2.{number}", 0) == 1
    assert daily.ask("192.0.2.9", 1) == 2
    assert daily.ask("192.0.2.0", 1) == 1
    assert daily.ask("192.0.2.9", 86_400_000) == 1


async def test_sign_ins_wait_for_each_other_and_nobody_else_for_them(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    made = await team(a)
    relay = server.relay
    for _ in range(SIGN_INS):
        await relay.signing_in.acquire()
    waiting, gone = await server.open(), await server.open()
    signing = asyncio.create_task(waiting.sign_in(home.person().device()))
    leaving = asyncio.create_task(gone.sign_in(home.person().device()))
    # Messages go on meanwhile.
    assert (await made.says(a)).position.seq == 2
    await gone.ws.close()
    with pytest.raises(ConnectionClosed):
        await leaving
    assert not signing.done()
    for _ in range(SIGN_INS):
        relay.signing_in.release()
    await signing
    assert len(relay.sessions) == 2
