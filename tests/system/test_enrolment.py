"""An establishment and its people on a real relay, which is killed in between."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pli_client.enrolment import EnrolmentPending, InvitationRefused, enrol
from pli_client.errors import Offline
from pli_client.issuer import Issuer, RegistrationRefused, establish
from pli_client.vault import Kdf, Vault
from pli_protocol.identity import Device, Invitation, Trust
from pli_protocol.secret import Secret

PASSPHRASE, AUTHORITY_PASSPHRASE = Secret(b"une phrase"), Secret(b"une autre phrase")
QUICK = Kdf(memory=64, passes=1, lanes=1)

pytestmark = pytest.mark.processes


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


async def pli_server(*arguments: str) -> str:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pli_server", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await running.communicate()
    assert running.returncode == 0
    return output.decode()


@asynccontextmanager
async def relay_process(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pli_server", "run", str(folder), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


@asynccontextmanager
async def serving(issuer: Issuer) -> AsyncIterator[None]:
    task = asyncio.create_task(issuer.serve())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def join(folder: Path, invitation: Invitation, patience: float | None = None) -> Device:
    """As a person would: again when the relay is away or the answer is not there yet."""
    exists = (folder / "vault.json").exists()
    opened = (
        Vault.open(folder, PASSPHRASE) if exists else Vault.create(folder, PASSPHRASE, kdf=QUICK)
    )
    async with await opened as vault:
        while True:
            try:
                return await enrol(vault, invitation, patience=patience)
            except Offline:
                continue


async def test_establishment_and_people_survive_a_relay_that_is_killed(tmp_path: Path) -> None:
    folder, admin = tmp_path / "relay", tmp_path / "admin"
    port = free_port()
    output = await pli_server("init", str(folder), "--listen", f"127.0.0.1:{port}")
    code = next(line.split(": ")[1] for line in output.splitlines() if "valid once" in line)
    url = f"ws://127.0.0.1:{port}"

    async def found(with_code: str) -> None:
        await establish(
            admin,
            PASSPHRASE,
            AUTHORITY_PASSPHRASE,
            name="EHPAD Les Tilleuls",
            relay_url=url,
            code=with_code,
            kdf=QUICK,
        )

    async with relay_process(folder):
        with pytest.raises(RegistrationRefused):
            await found("WRONG")
        await found(code)
    async with await Issuer.open(admin, PASSPHRASE) as issuer:
        first = (await issuer.invite(name="Amélie", profession="Infirmière")).invitation
        second = (await issuer.invite(name="Bruno", profession="Éducateur")).invitation
        async with relay_process(folder):
            with pytest.raises(EnrolmentPending):
                await join(tmp_path / "a", first, patience=3)
        async with serving(issuer), relay_process(folder):
            amelie = await join(tmp_path / "a", first)
            with pytest.raises(InvitationRefused):
                await join(tmp_path / "thief", first)
        async with serving(issuer), relay_process(folder):
            bruno = await join(tmp_path / "b", second)
        async with relay_process(folder):
            await issuer.revoke(bruno.person.account, "left")
            assert await issuer.publish() == 1
            newest = await issuer.vault.read(
                lambda db: db.execute("SELECT statement FROM issued_revocations").fetchone()
            )
        assert newest is not None
        trust = Trust(issuer.authority, revocations=[newest[0]])
        assert trust.refuses(amelie) is None
        assert str(trust.refuses(bruno)) == "person left"
        assert {row.name for row in await issuer.people()} == {"Amélie", "Bruno"}
