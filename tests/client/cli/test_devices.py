"""Accounts and devices at the command line, as people use it: real processes, a real relay."""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest

from pli_client import i18n
from pli_client.cli import dialogue

from .processes import PASSPHRASE, House, environment, pli, sentence

pytestmark = pytest.mark.processes

PASSWORD = "quatre mots au hasard"


class Authenticator:
    """Codes by this machine's clock, each shown once: those of three steps are good."""

    def __init__(self, secret: str) -> None:
        self._totp = pyotp.TOTP(secret)
        self._shown = -2

    def code(self) -> str:
        self._shown += 1
        assert self._shown <= 1
        return self._totp.at(int(time.time()) + 30 * self._shown)


class Talk:
    """A command that prints JSON lines and reads codes between them."""

    def __init__(self, house: House, who: str, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pli_client", *command, *house.options(who), "--json"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            _, errors = self._process.communicate(timeout=60)
            raise AssertionError(errors)
        return json.loads(line)  # type: ignore[no-any-return]

    def types(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text + "\n")
        self._process.stdin.flush()

    def ends(self) -> tuple[int, str]:
        _, errors = self._process.communicate(timeout=90)
        return self._process.returncode, errors


def set_up(house: House, who: str, *prefix: str) -> Authenticator:
    """Password and second factor of a person, or with `admin` of the issuer."""
    house.json(who, *prefix, "account", "password", "--new-password-file", password_file(house))
    talk = Talk(house, who, *prefix, "account", "totp")
    factor = talk.said()
    assert factor["uri"].startswith("otpauth://totp/Pli")
    authenticator = Authenticator(factor["secret"])
    talk.types(authenticator.code())
    codes = talk.said()["codes"]
    assert (talk.ends()[0], len(codes)) == (0, 10)
    return authenticator


def password_file(house: House) -> str:
    path = house.root / "account-password"
    path.write_text(PASSWORD + "\n", encoding="utf-8")
    return str(path)


def prepared(house: House, who: str) -> str:
    """A folder with a vault that opens quickly, and nothing in it."""
    asyncio.run(house._make_vault(who))
    return who


@pytest.fixture(scope="module")
def anne(house: House) -> Iterator[tuple[str, str, Authenticator]]:
    """Anne, with both factors: (vault, address, authenticator)."""
    house.enrol("anne", "Anne Durand", "--profession", "infirmière")
    authenticator = set_up(house, "anne")
    shown = {reply["kind"]: reply for reply in house.json("anne", "account", "show")}
    assert shown["account-state"]["second_factor"]
    return "anne", shown["account"]["address"], authenticator


def test_a_second_device_is_linked_and_reads_and_writes(
    house: House, anne: tuple[str, str, Authenticator]
) -> None:
    who, address, authenticator = anne
    house.json(who, "new", "Avant le deuxième", "Karim Benali")
    house.json(who, "send", "Avant le deuxième", "Resté sur le premier.")
    talk = Talk(
        house, prepared(house, "anne-2"), "devices", "link", address,
        "--password-file", password_file(house), "--code", authenticator.code(),
    )  # fmt: skip
    code = talk.said()["code"]

    wrong = house.run(who, "devices", "approve", "AAAA-AAAA-AAAA-AAAA", "--json")
    assert (wrong.returncode, "code" in sentence(wrong)) == (1, True)

    enrolled = Talk(house, who, "devices", "approve", code.lower(), "--name", "portable")
    linked = talk.said()
    assert (linked["kind"], linked["name"]) == ("linked", "Anne Durand")
    assert talk.ends()[0] == 0
    assert enrolled.said()["name"] == "portable"
    assert enrolled.ends() == (0, "")

    house.json(who, "send", "Avant le deuxième", "Pour les deux.")
    house.json("anne-2", "send", "Avant le deuxième", "Du portable.")
    texts = {
        device: [m["text"] for m in house.json(device, "read", "Avant le deuxième") if "text" in m]
        for device in (who, "anne-2", "karim")
    }
    assert texts["anne-2"] == ["Pour les deux.", "Du portable."]
    assert texts[who][-3:] == ["Resté sur le premier.", "Pour les deux.", "Du portable."]
    assert texts["karim"][-3:] == texts[who][-3:]

    listed = {reply["name"]: reply for reply in house.json(who, "devices", "list")}
    assert listed["portable"]["this"] is False
    assert listed[""]["this"] is True
    (gone,) = house.json(who, "devices", "revoke", "portable", "--reason", "retired")
    assert gone["reason"] == "retired"
    house.json(who, "send", "Avant le deuxième", "Sans le portable.")
    refused = house.run("anne-2", "read", "Avant le deuxième")
    assert "Sans le portable." not in refused.stdout


def test_password_and_code_are_asked_for_and_a_wrong_one_is_refused(
    house: House, anne: tuple[str, str, Authenticator]
) -> None:
    who, address, _ = anne
    nothing = house.run(who, "account", "recovery-codes", "--code", "123456")
    assert (nothing.returncode, "password" in sentence(nothing)) == (3, True)
    wrong = house.run(
        prepared(house, "anne-3"), "devices", "link", address,
        "--password-file", password_file(house), "--code", "000000",
    )  # fmt: skip
    assert wrong.returncode == 3
    assert "not right" in wrong.stderr
    nonsense = house.run("anne-3", "devices", "link", "ABCDE", "--code", "000000",
        "--password-file", password_file(house))  # fmt: skip
    assert nonsense.returncode == 2
    assert house.run(who, "devices", "approve", "AAAA-AAAA-AAAA-AAAA").returncode == 1


def test_the_issuer_has_factors_of_its_own_resets_a_persons_and_closes_an_account(
    house: House, anne: tuple[str, str, Authenticator]
) -> None:
    who, _, _ = anne
    file = password_file(house)
    refused = house.run("admin", "admin", "reset", "Anne Durand", "--code", "123456",
        "--password-file", file)  # fmt: skip
    assert refused.returncode == 3
    authenticator = set_up(house, "admin", "admin")
    (device,) = [
        d for d in house.json("admin", "admin", "devices", "Anne Durand") if not d["revoked_at"]
    ]
    assert device["last_seen_at"]
    (reset,) = house.json("admin", "admin", "reset", "Anne Durand", "--password-file", file,
        "--code", authenticator.code())  # fmt: skip
    assert (reset["kind"], reset["name"]) == ("credentials-reset", "Anne Durand")
    shown = {reply["kind"]: reply for reply in house.json(who, "account", "show")}
    assert not shown["account-state"]["password"]

    house.enrol("marie", "Marie Petit", "--profession", "éducatrice")
    (closed,) = house.json("admin", "admin", "close", "Marie Petit", "--password-file", file,
        "--code", authenticator.code())  # fmt: skip
    assert (closed["kind"], closed["name"]) == ("account-closed", "Marie Petit")
    (marie,) = [p for p in house.json("admin", "admin", "people") if p["name"] == "Marie Petit"]
    assert marie["revoked"] == "left"


def test_another_passphrase_opens_the_same_vault(house: House, tmp_path: Path) -> None:
    house.enrol("odile", "Odile Martin", "--profession", "infirmier")
    new = tmp_path / "new"
    new.write_text("une autre phrase, plus longue\n", encoding="utf-8")
    house.json("odile", "passphrase", "--new-passphrase-file", str(new))
    assert house.run("odile", "conversations").returncode == 3
    vault = str(house.vault("odile"))
    assert pli("conversations", "--vault", vault, "--passphrase-file", str(new)).returncode == 0
    assert PASSPHRASE not in new.read_text(encoding="utf-8")


def test_an_account_is_closed_by_its_person(house: House) -> None:
    house.enrol("paula", "Paula Roux", "--profession", "psychologue")
    house.json("karim", "people")
    house.json("karim", "new", "Avec Paula", "Paula Roux")
    house.json("paula", "read", "Avec Paula")
    own = set_up(house, "paula")
    file = password_file(house)
    wrong = house.run(
        "paula", "account", "close", "--yes", "--password-file", file, "--code", "000000"
    )
    assert wrong.returncode == 3
    (closed,) = house.json("paula", "account", "close", "--yes", "--password-file", file,
        "--code", own.code())  # fmt: skip
    assert (closed["kind"], closed["name"]) == ("account-closed", "Paula Roux")
    assert house.run("paula", "send", "Avec Paula", "Encore là ?").returncode != 0
    (sent,) = house.json("karim", "send", "Avec Paula", "Au revoir Paula.")
    assert sent["state"] == "stored"


@pytest.mark.parametrize(
    ("lang", "typed", "agreed"),
    [
        ("fr", "O", True),
        ("fr", "oui", True),
        ("fr", "", False),
        ("en", "y", True),
        ("en", "o", False),
    ],
)
async def test_a_question_is_answered_in_the_language_it_is_asked_in(
    lang: i18n.Language, typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed + "\n"))
    i18n.use(lang)
    try:
        assert await dialogue.agreed("?") is agreed
    finally:
        i18n.use("en")


def test_a_password_that_is_too_short_is_called_a_password(house: House, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_text("court\n", encoding="utf-8")
    done = house.run("karim", "account", "password", "--new-password-file", str(short))
    assert (done.returncode, "account password" in sentence(done)) == (3, True)
