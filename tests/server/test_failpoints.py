"""The relay killed before, within and after each kind of write transaction, in the middle of a day.

A client that lost its answer connects again and repeats what it asked. At the end nothing that was
acknowledged is missing or changed, and nothing stands twice.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from pli_protocol.failpoint import declared
from pli_protocol.identity import (
    LeaveStatement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash
from pli_server.backup.restoring import begin_timeline
from pli_server.folder import further_code
from pli_server.relay import now_ms
from pli_server.settings import load
from pli_server.storage import jobs

from .credentials import Authenticator, asking
from .databases import POSTGRESQL, SQLITE, drop_folder, new_folder
from .people import NOW, TestDevice, TestEstablishment, commit, mls
from .processes import ForkedRelay
from .raw_client import RawClient, Refused

FAILPOINTS = declared("relay.")


class Day:
    """A day at a relay that may die at any moment."""

    def __init__(self, folder: Path, code: str, failpoint: str) -> None:
        self.folder = folder
        self.code = code
        self.failpoint = failpoint
        self.deaths = 0
        self.home = TestEstablishment()
        self.partner = TestEstablishment("SESSAD du Pont")
        self.anne = self.home.person().device()
        karim = self.home.person("Karim Benali")
        self.karim, self.karims_second = karim.device(), karim.device()
        self.lea = self.home.person("Léa Roux")
        self.gone = self.home.person("Paul Martin")
        self.change = self.home.hands_over()
        self.tokens: dict[bytes, bytes | None] = {}
        self.clients: dict[bytes, RawClient] = {}
        self.brought = os.urandom(16)
        self.group, self.request_id, self.blob = os.urandom(16), os.urandom(16), os.urandom(32)
        self.ids = [os.urandom(16) for _ in range(12)]
        self.accepted: dict[bytes, f.Accepted] = {}
        self.claimed: list[bytes] = []
        self.annes, self.karims = Authenticator(), Authenticator()
        self.issuers = Authenticator()
        self.relay: ForkedRelay

    async def run(self) -> None:
        """Everything that is ever written, each repeated until it was answered."""
        await self._start(self.failpoint)
        for step in (
            self._register,
            self._intrude,
            self._enrol,
            self._publish,
            self._claim,
            self._create,
            self._talk,
            self._bring,
            self._welcome,
            self._change,
            self._acknowledge,
            self._report,
            self._link,
            self._return,
            self._leave,
            self._upload,
            self._partner,
            self._secure,
            self._reset,
            self._certify,
            self._follow,
            self._revoke,
        ):
            await self._until_done(step)
        if self.deaths == 0:
            # Written by a timer: cursors after half a second, the sweep after one.
            await self._died()
        await self._until_done(self._check)
        for client in self.clients.values():
            await client.close()
        assert await asyncio.to_thread(self.relay.stop) == 0

    async def _start(self, failpoint: str | None = None) -> None:
        self.relay = await asyncio.to_thread(ForkedRelay, self.folder, failpoint)
        assert self.relay.url is not None

    async def _died(self) -> None:
        assert await asyncio.to_thread(self.relay.wait) == -9
        self.deaths += 1
        for client in self.clients.values():
            await client.close()
        self.clients.clear()
        await self._start()

    async def _until_done(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except (ConnectionClosed, OSError):
                await self._died()
            else:
                return

    # --- connections --------------------------------------------------------------------------

    async def _device(self, device: TestDevice) -> RawClient:
        client = self.clients.get(device.id)
        if client is None:
            client = await self._open(device.id)
            signed = await client.sign_in(device, self.tokens.get(device.id))
            self.tokens[device.id] = signed.token
            await client.ask(f.ConfirmToken(client.rid(), signed.token))
        return client

    async def _issuer(self) -> RawClient:
        client = self.clients.get(self.home.id)
        if client is None:
            client = await self._open(self.home.id)
            await client.sign_in_issuer(self.home)
        return client

    async def _open(self, key: bytes) -> RawClient:
        assert self.relay.url is not None
        client = self.clients[key] = await RawClient.open(self.relay.url)
        return client

    # --- what happens in a day ----------------------------------------------------------------

    async def _register(self) -> None:
        client = self.clients.get(b"") or await self._open(b"")
        await client.register(self.home, self.code)

    async def _intrude(self) -> None:
        """A device of an establishment that is not here."""
        stranger = await RawClient.open(self.relay.url or "")
        try:
            with pytest.raises(Refused):
                await stranger.sign_in(TestEstablishment().person().device())
        finally:
            await stranger.close()

    async def _enrol(self) -> None:
        joiner = self.clients.get(b"") or await self._open(b"")
        request = f.RequestEnrolment(joiner.rid(), self.home.id, self.request_id, b"sealed")
        await joiner.ask(request)
        issuer = await self._issuer()
        answer = f.AnswerEnrolment(issuer.rid(), self.request_id, b"answer", self.lea.certificate)
        await issuer.ask(answer)

    async def _publish(self) -> None:
        karim = await self._device(self.karim)
        await karim.ask(f.PublishKeyPackages(karim.rid(), (b"k1", b"k2", b"k3"), b"last"))

    async def _claim(self) -> None:
        anne = await self._device(self.anne)
        answer = await anne.ask(f.ClaimKeyPackages(anne.rid(), (self.karim.account,)))
        self.claimed += [claimed.key_package for claimed in answer.claimed]

    async def _create(self) -> None:
        anne = await self._device(self.anne)
        message = commit(self.group, 0, (self.karim.id,))
        frame = f.CreateGroup(anne.rid(), self.group, self.ids[0], message, b"welcome")
        self._note(self.ids[0], await anne.ask(frame))

    async def _talk(self) -> None:
        anne = await self._device(self.anne)
        previous = None
        pairs: list[tuple[bytes, asyncio.Future[Any]]] = []
        for send_id in self.ids[1:6]:
            message = mls(self.group, 1, body=send_id)
            frame = f.Send(anne.rid(), send_id, previous, message)
            pairs.append((send_id, await anne.begin(frame)))
            previous = send_id
        for send_id, answer in pairs:
            self._note(send_id, await answer)

    async def _bring(self) -> None:
        """The relay was restored: a group that it lacks is brought, by who opened it."""
        anne = await self._device(self.anne)
        message = commit(self.brought, 0, (self.karim.id,))
        place = f.Position(1, 1)
        chain = chain_hash(
            FIRST_CHAIN, self.brought, place, 0, "commit", self.anne.id, self.ids[11], message
        )
        row = f.BroughtRow(1, 0, "commit", self.anne.id, self.ids[11], now_ms(), message, chain)
        await anne.ask(f.BringDevices(anne.rid(), (self.anne.chain, self.karim.chain)))
        held = await anne.ask(f.BringRows(anne.rid(), self.brought, 1, (row,)))
        assert (held.last, held.chain, held.epoch) == (1, chain, 1)
        await anne.ask(f.BringWelcome(anne.rid(), self.brought, place, b"welcome"))
        await anne.ask(f.BroughtAll(anne.rid()))

    async def _welcome(self) -> None:
        karim = await self._device(self.karim)
        for frame in tuple(karim.pushes):
            if isinstance(frame, f.WelcomeWaiting):
                assert frame.welcome == b"welcome"
                await karim.send(f.AcknowledgeWelcome(frame.item))
        await self._flushed(karim)

    async def _change(self) -> None:
        anne = await self._device(self.anne)
        self._note(
            self.ids[6],
            await anne.sends(commit(self.group, 1), self.ids[5], send_id=self.ids[6]),
        )

    async def _acknowledge(self) -> None:
        karim = await self._device(self.karim)
        await karim.ask(f.Fetch(karim.rid(), self.group, 0))
        await karim.send(f.Acknowledge((f.Acknowledgement(self.group, 3),)))
        await self._flushed(karim)

    async def _report(self) -> None:
        karim = await self._device(self.karim)
        await karim.send(f.ReportCommit(self.group, 7, True))
        await self._flushed(karim)
        reports = await karim.ask(f.GetCommitReports(karim.rid(), self.group, 7))
        assert reports.reports == (f.CommitReport(self.karim.id, True),)

    async def _link(self) -> None:
        karim = asking(await self._device(self.karim))
        await self.karims.set_up(karim)
        new = self.clients.get(b"new") or await self._open(b"new")
        code, account = self.karims.code(), self.karim.account
        await new.ask(f.OpenAccount(new.rid(), self.home.id, account, self.karims.password, code))
        await new.ask(f.RequestLinking(new.rid(), self.ids[8], self.karims_second.id, b"request"))
        assert (await karim(f.GetLinking(0))).request in (b"request", None)
        await karim(f.AnswerLinking(0, self.ids[8], b"letter"))
        letter = await new.ask(f.FetchLinking(new.rid(), self.ids[8]))
        assert letter.sealed == b"letter"

    async def _return(self) -> None:
        second = await self._device(self.karims_second)
        request = ReturnRequest(self.group, self.karims_second.id, b"kp", "lost", None, NOW)
        signed = sign(request, self.karims_second.key, self.karims_second.chain)
        frame = f.AskReturn(second.rid(), self.group, self.ids[7], signed)
        self._note(self.ids[7], await second.ask(frame))

    async def _leave(self) -> None:
        karim = await self._device(self.karim)
        statement = LeaveStatement(self.group, self.karim.id, NOW)
        signed = sign(statement, self.karim.key, self.karim.chain)
        await karim.ask(f.LeaveGroup(karim.rid(), self.group, signed))

    async def _upload(self) -> None:
        anne = await self._device(self.anne)
        data = bytes(60_000)
        for offset in (0, f.BLOB_PART):
            part = data[offset : offset + f.BLOB_PART]
            await anne.ask(f.PutBlob(anne.rid(), self.blob, offset, len(data), part))
        assert (await anne.ask(f.GetBlob(anne.rid(), self.blob, 0))).size == len(data)

    async def _partner(self) -> None:
        issuer = await self._issuer()
        statement, authority = self.home.trusts(self.partner), self.partner.authority
        await issuer.ask(f.PublishPartner(issuer.rid(), statement, authority))
        held = (await issuer.ask(f.GetPartners(issuer.rid()))).partners
        assert [partner.statement for partner in held] == [statement]

    async def _secure(self) -> None:
        anne = asking(await self._device(self.anne))
        await self.annes.set_up(anne)
        await self.annes.step_up(anne)
        assert len((await anne(f.RenewRecoveryCodes(0))).codes) == f.RECOVERY_CODES

    async def _reset(self) -> None:
        issuer = asking(await self._issuer())
        await self.issuers.set_up(issuer)
        await self.issuers.step_up(issuer)
        await issuer(f.ResetCredentials(0, self.anne.account))
        joiner = self.clients.get(b"") or await self._open(b"")
        asked = f.RequestEnrolment(joiner.rid(), self.home.id, self.ids[9], b"sealed")
        await joiner.ask(asked)
        await issuer(f.AnswerEnrolment(0, self.ids[9], b"answer", self.gone.certificate))
        await issuer(f.CloseAccount(0, self.gone.account))

    async def _follow(self) -> None:
        """The authority hands over to another one; the same again when the answer was lost."""
        issuer = await self._issuer()
        await issuer.ask(f.PublishAuthorityChange(issuer.rid(), self.change))

    async def _certify(self) -> None:
        issuer = await self._issuer()
        await issuer.ask(f.PublishCertificate(issuer.rid(), self.lea.certificate))

    async def _revoke(self) -> None:
        issuer = await self._issuer()
        entry = RevocationEntry("device", self.karim.id, "lost", NOW)
        statement = RevocationList(self.home.id, 1, bytes(32), (entry,), NOW)
        signed = sign(statement, self.home.issuer_key, (self.home.issuer,))
        await issuer.ask(f.PublishRevocations(issuer.rid(), signed))
        self.clients.pop(self.karim.id, None)

    async def _check(self) -> None:
        """What was acknowledged is there, as it was acknowledged, once, under one chain."""
        anne = await self._device(self.anne)
        rows = (await anne.ask(f.Fetch(anne.rid(), self.group, 0))).rows
        assert [row.send_id for row in rows] == self.ids[:8]
        chain = FIRST_CHAIN
        for row in rows:
            chain = chain_hash(
                chain,
                self.group,
                row.position,
                row.epoch,
                row.kind,
                row.sender,
                row.send_id,
                row.message,
            )
            noted = self.accepted[row.send_id]
            assert (noted.position, noted.chain, row.chain) == (row.position, chain, chain)
        (row,) = (await anne.ask(f.Fetch(anne.rid(), self.brought, 0))).rows
        assert (row.position.seq, row.first and row.first.position) == (1, f.Position(1, 1))
        assert self.claimed in ([b"k1"], [b"k2"])
        assert (await anne.ask(f.GetBlob(anne.rid(), self.blob, 0))).size == 60_000
        rid = anne.rid()
        assert await anne.ask(f.GetAccount(rid)) == f.Account(rid, False, False, 0)

    # --- inside -------------------------------------------------------------------------------

    def _note(self, send_id: bytes, accepted: f.Accepted) -> None:
        self.accepted[send_id] = accepted

    async def _flushed(self, client: RawClient) -> None:
        """What is not answered has been written when this is answered: it goes through the writer."""
        token = self.tokens[self.karim.id]
        assert token is not None
        await client.ask(f.ConfirmToken(client.rid(), token))


def test_every_kind_of_write_has_its_three_fail_points() -> None:
    assert len(FAILPOINTS) == 3 * len(jobs.WRITES)


SHARED = [
    f"relay.{kind}.{when}" for kind in ("claim", "commit", "send") for when in ("within", "after")
]
"""Those that are tried on PostgreSQL too: locks and a transaction are open, or COMMIT was not told."""


@pytest.mark.processes
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, SQLITE) for name in FAILPOINTS),
        *(pytest.param(n, POSTGRESQL, marks=pytest.mark.needs_postgresql) for n in SHARED),
    ],
)
async def test_a_kill_loses_and_doubles_nothing(tmp_path: Path, name: str, engine: str) -> None:
    folder = tmp_path / "relay"
    new_folder(folder, engine)
    path = folder / "relay.toml"
    path.write_text(path.read_text().replace("# enrolment_days = 30", "sweep_seconds = 1"))
    await asyncio.to_thread(begin_timeline, folder, now_ms(), load(folder).database_url)
    code = await asyncio.to_thread(further_code, folder)
    day = Day(folder, code, name)
    await day.run()
    assert day.deaths == 1
    drop_folder(folder)
