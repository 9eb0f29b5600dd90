"""Issuer and device killed before, within and after each of their transactions of an enrolment."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pli_client.issuer import Issuer
from pli_protocol.failpoint import declared

from .conftest import PASSPHRASE, found, join
from .relay import FakeRelay

ROOT = Path(__file__).parent.parent.parent.parent
ISSUER_POINTS = declared("vault.enrolment-answer.")
DEVICE_POINTS = (
    *declared("vault.enrolment-begin."),
    *declared("vault.enrolment-ask."),
    *declared("vault.enrolment-finish."),
)

pytestmark = pytest.mark.processes


@asynccontextmanager
async def process(
    module: str, *args: str, failpoint: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.client.issuer.{module}",
        *args,
        cwd=ROOT,
        env={**os.environ, "PLI_FAILPOINT": failpoint},
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def invitation_code(folder: Path) -> str:
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        invited = await issuer.invite(name="Amélie Dupont", profession="Infirmière")
        return invited.invitation.text()


async def people(folder: Path) -> list[tuple[bytes, bytes]]:
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        return [(row.account, row.certificate) for row in await issuer.people()]


def test_there_are_three_points_for_each_transaction() -> None:
    assert len(ISSUER_POINTS) == 3
    assert len(DEVICE_POINTS) == 9


@pytest.mark.parametrize("failpoint", ISSUER_POINTS)
async def test_issuer_killed_while_answering_signs_one_person_once(
    relay: FakeRelay, tmp_path: Path, failpoint: str
) -> None:
    from pli_client.enrolment import parse_invitation

    await found(relay, tmp_path / "admin")
    code = await invitation_code(tmp_path / "admin")
    joining = asyncio.create_task(join(tmp_path / "a", parse_invitation(code)))
    folder = str(tmp_path / "admin")
    async with process("serving_process", folder, failpoint=failpoint) as killed:
        assert await killed.wait() != 0
    assert not joining.done()
    async with process("serving_process", folder):
        device = await joining
    person = device.person
    assert await people(tmp_path / "admin") == [(person.account, person.certificate)]


@pytest.mark.parametrize("failpoint", DEVICE_POINTS)
async def test_device_killed_while_joining_joins_with_the_same_code(
    relay: FakeRelay, tmp_path: Path, failpoint: str
) -> None:
    from pli_client.enrolment import AlreadyEnrolled, parse_invitation

    await found(relay, tmp_path / "admin")
    code = await invitation_code(tmp_path / "admin")
    async with process("serving_process", str(tmp_path / "admin")):
        folder = str(tmp_path / "a")
        async with process("joining_process", folder, code, failpoint=failpoint) as killed:
            assert await killed.wait() != 0
        if failpoint == "vault.enrolment-finish.after":
            with pytest.raises(AlreadyEnrolled):
                await join(tmp_path / "a", parse_invitation(code))
        else:
            device = await join(tmp_path / "a", parse_invitation(code))
            assert device.person.name == "Amélie Dupont"
    assert len(await people(tmp_path / "admin")) == 1
