"""A whole life at DEBUG level: nothing secret in a log, nor in how any live object shows itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pli_client.errors import PliError, WrongPassphrase
from pli_client.issuer import Issuer
from pli_client.store import key_packages
from pli_client.store.device import DeviceRow, read_device, read_token
from pli_client.store.mls_state import read_entries
from pli_client.vault import Vault
from pli_protocol.mls import Group, KeyPackageSecrets, SignatureKeyPair
from pli_protocol.secret import Secret

from .. import leaks
from .fixtures import free_port
from .team import settle, together
from .world import PASSPHRASE, PATIENCE, PEOPLE, World, new

pytestmark = pytest.mark.processes

TEXT = "Madame Vigne a refusé son pansement du matin"


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Everything that is marked as secret while the test runs."""
    made: set[bytes] = set()

    def new_secret(cls: type[Secret], *args: Any) -> Secret:
        value = bytes.__new__(cls, *args)
        if leaks.PART <= len(value) <= leaks.LONGEST:
            made.add(bytes(value))
        return value

    monkeypatch.setattr(Secret, "__new__", new_secret, raising=False)
    return made


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def told(log: pytest.LogCaptureFixture) -> str:
    """All that was logged, the records' arguments and tracebacks included."""
    parts = [log.text]
    for record in log.records:
        parts += [repr(record.__dict__), record.getMessage()]
    return "\n".join(parts)


async def test_nothing_secret_is_logged_or_shown_from_founding_to_the_last_message(
    tmp_path: Path, secrets: set[bytes], log: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    plain: list[bytes] = []
    async with new(tmp_path / "world", free_port()) as world:
        await world.relay.start()
        await world.found()
        async with world.issuer() as issuer:
            for who in ("amelie", "bruno", "chloe"):
                await world.enrol(issuer, who)
            invited = await issuer.invite(name="David Morel", profession="Médecin")
            shown.append(leaks.shown(issuer, invited))
            plain.append(leaks.plain_bytes(issuer, invited))
            code = invited.invitation.text()
        (tmp_path / "note.txt").write_text(TEXT)
        async with together(world, "amelie", "bruno", "chloe") as people:
            await _conversation(tmp_path, *people)
            for client in people:
                engine = client.engine
                rows = await engine.read(_secret_rows)
                kept = [client, engine, engine.vault, engine._memory, rows]
                shown.append(leaks.shown(*kept))
                plain.append(leaks.plain_bytes(*kept))
    parts = leaks.parts_of(secrets, b"")
    assert len(parts) > 1000
    public = _public_of(plain, parts)
    assert not public, f"held as plain bytes: {len(public)}"
    logged = told(log)
    assert leaks.leaks("\n".join(shown), parts) == []
    assert leaks.leaks(logged, parts) == []
    for text in (TEXT, code, code.replace("-", ""), PASSPHRASE.decode()):
        assert text not in logged
        assert text not in "\n".join(shown)


async def _conversation(folder: Path, amelie: Any, bruno: Any, chloe: Any) -> None:
    team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
    await (await team.send(TEXT)).stored(PATIENCE)
    await (await team.send(TEXT, files=[folder / "note.txt"])).stored(PATIENCE)
    await team.add(PEOPLE["chloe"].name, timeout=PATIENCE)
    await settle(amelie, bruno, chloe)
    there = await chloe.conversation("Étage 2")
    await (await there.send(TEXT)).stored(PATIENCE)
    await team.remove(PEOPLE["bruno"].name, timeout=PATIENCE)
    await settle(amelie, bruno, chloe)


def _secret_rows(db: Any) -> list[Any]:
    rows = [read_device(db), read_token(db)]
    groups = db.execute("SELECT group_id FROM groups").fetchall()
    return [*rows, *(read_entries(db, group[0]) for group in groups)]


def _public_of(plain: list[bytes], parts: set[bytes]) -> list[str]:
    return leaks.leaks_of_bytes(b"\0\0".join(plain), parts)


async def _kept(vault: Vault) -> tuple[DeviceRow, SignatureKeyPair]:
    device = await vault.read(read_device)
    assert device is not None
    return device, SignatureKeyPair(device.key.public, device.key.seed)


def _first_group(db: Any, signer: SignatureKeyPair) -> None:
    row = db.execute("SELECT group_id FROM groups").fetchone()
    Group.from_entries(read_entries(db, row[0]), signer)


def _first_key_package(db: Any, _signer: SignatureKeyPair) -> None:
    row = key_packages.find(db, db.execute("SELECT reference FROM key_packages").fetchone()[0])
    assert row is not None
    KeyPackageSecrets.decode(row.secrets)


_DAMAGES: tuple[tuple[str, str, Callable[[Any, SignatureKeyPair], object]], ...] = (
    (
        "group",
        "UPDATE mls_state SET value = substr(value, 1, length(value) - 1) WHERE key = 'secrets'",
        _first_group,
    ),
    (
        "key package",
        "UPDATE key_packages SET secrets = substr(secrets, 1, length(secrets) - 1)",
        _first_key_package,
    ),
    ("device", "UPDATE device SET chain = x'00'", lambda db, _signer: read_device(db)),
)


async def test_no_secret_is_in_what_goes_wrong_with_a_vault(
    world: World, secrets: set[bytes]
) -> None:
    folder = world.vault("amelie")

    async def fails(action: Any, expected: type[BaseException]) -> str:
        try:
            await action()
        except expected as error:
            return leaks.report(error)
        raise AssertionError("it did not fail")

    reports = [await fails(lambda: Vault.open(folder, Secret(b"une autre")), WrongPassphrase)]
    async with await Vault.open(folder, PASSPHRASE) as vault:
        reports.append(await fails(lambda: Vault.open(folder, PASSPHRASE), PliError))
        reports.append(await fails(lambda: Issuer.open(folder, PASSPHRASE), PliError))

        def breaks(db: Any) -> None:
            rows = _secret_rows(db)
            assert rows
            raise PliError

        reports.append(await fails(lambda: vault.write(breaks), PliError))
        reports.append(
            await fails(lambda: vault.read(lambda db: db.execute("nonsense")), Exception)
        )
        reports.append(leaks.shown(vault))
    async with await Vault.open(folder, PASSPHRASE) as vault:
        _, signer = await _kept(vault)
        for what, damage, look in _DAMAGES:
            await vault.write(lambda db, sql=damage: db.execute(sql))  # type: ignore[misc]
            broken = await fails(
                lambda look=look: vault.read(lambda db: look(db, signer)),  # type: ignore[misc]
                Exception,
            )
            reports.append(f"{what}: {broken}")
    database = world.vault("amelie") / "vault.db"
    database.write_bytes(bytes(100) + database.read_bytes()[100:])
    reports.append(await fails(lambda: Vault.open(folder, PASSPHRASE), PliError))
    assert leaks.leaks("\n".join(reports), leaks.parts_of(secrets, b"")) == []
