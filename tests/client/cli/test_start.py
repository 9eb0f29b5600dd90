"""Starting `pli`: quick, in the right language, one clear sentence for what is wrong, no traceback."""

import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pli_client.cli.demo import RELAY_NEEDS
from pli_protocol.identity import Invitation
from pli_protocol.secret import Secret

from .processes import notice, pli, sentence

pytestmark = pytest.mark.processes

PROJECT = Path(__file__).parents[3] / "pyproject.toml"
HEAVY = {
    "argon2",
    "asyncio",
    "cryptography",
    "msgspec",
    "nacl",
    "pli_client.client",
    "pli_client.vault",
    "platformdirs",
    "segno",
    "sqlcipher3",
    "ssl",
    "websockets",
}


def test_help_needs_none_of_the_heavy_modules() -> None:
    listing = (
        "import sys, atexit, json; sys.argv = ['pli', '--help'];"
        "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr));"
        "from pli_client.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", listing], capture_output=True, encoding="utf-8", timeout=60
    )
    loaded = set(json.loads(done.stderr))
    assert "pli_client.cli.main" in loaded
    assert loaded & HEAVY == set()


def test_help_takes_little_processor_time() -> None:
    """The budget is 250 ms; processor time does not count what else the machine does."""

    def used() -> float:
        before = os.times()
        pli("--help")
        after = os.times()
        return (
            after.children_user
            + after.children_system
            - (before.children_user + before.children_system)
        )

    assert statistics.median(used() for _ in range(5)) < 0.25


@pytest.mark.parametrize(
    ("arguments", "env", "word"),
    [
        ((), {"PLI_LANG": "fr"}, "Utilisation"),
        ((), {"PLI_LANG": "en"}, "Usage"),
        (("--lang", "en"), {"PLI_LANG": "fr"}, "Usage"),
        (("--lang=fr",), {"PLI_LANG": "en"}, "Utilisation"),
        ((), {"PLI_LANG": "", "LC_ALL": "en_GB.UTF-8"}, "Usage"),
        ((), {"PLI_LANG": "", "LC_ALL": "de_DE.UTF-8"}, "Utilisation"),
        ((), {"PLI_LANG": "", "LC_ALL": "C", "LANG": ""}, "Utilisation"),
    ],
)
def test_help_speaks_the_language_asked_for(
    arguments: tuple[str, ...], env: dict[str, str], word: str
) -> None:
    done = pli(*arguments, "--help", **env)
    assert done.returncode == 0
    assert done.stdout.startswith(word)


COMMANDS = [
    "join", "conversations", "new", "send", "read", "inbox", "search", "attach", "detach", "record",
    "add", "remove", "leave", "rename", "people", "save", "connection", "demo", "bot dui",
    "admin init", "admin invite", "admin serve", "admin revoke", "admin people",
    "admin connection",
]  # fmt: skip


def helps(lang: str) -> dict[str, str]:
    """What each command says of itself."""
    program = (
        "import json, sys\n"
        "from pli_client.i18n import use\n"
        f"use({lang!r})\n"
        "from pli_client.cli.main import cli\n"
        "def walk(group, before):\n"
        "    for name, command in group.commands.items():\n"
        "        yield before + name, command.help\n"
        "        if hasattr(command, 'commands'): yield from walk(command, before + name + ' ')\n"
        "print(json.dumps(dict(walk(cli, ''))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", timeout=60
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_every_command_explains_itself_in_french_and_english() -> None:
    english, french = helps("en"), helps("fr")
    assert set(COMMANDS) <= set(english)
    assert [name for name in english if english[name] == french[name]] == []


def test_an_unknown_command_is_refused_in_one_sentence_with_code_2() -> None:
    done = pli("conversation")
    assert done.returncode == 2
    assert "conversation" in sentence(done)
    assert "--help" in sentence(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ("send",),
        ("send", "Relève"),
        ("send", "Relève", "texte", "--type", "OBS"),
        ("send", "Relève", "texte", "--file", "/no/such/file"),
        ("send", "Relève", "texte", "--file", ""),
        ("send", "Relève", "texte", "--record", ""),
        ("send", "Relève", "texte", "--record", " "),
        ("send", "Relève", "texte", "--reply-to", ""),
        ("read", "Relève", "--limit", "none"),
        ("inbox", "--frobnicate"),
        ("admin", "revoke", "Claire", "--reason", "boredom"),
        ("new", "title"),
        ("--lang", "de", "inbox"),
    ],
)
def test_wrong_usage_is_one_sentence_with_code_2(arguments: tuple[str, ...]) -> None:
    done = pli(*arguments)
    assert done.returncode == 2
    assert sentence(done)


def test_an_unknown_language_is_told_once_beside_the_answer(tmp_path: Path) -> None:
    done = pli("--version", lang="de")
    assert (done.returncode, done.stdout[:4]) == (0, "pli ")
    assert "« de »" in notice(done)
    assert "(fr)" in done.stderr
    assert "(en)" in done.stderr
    assert pli("--version", "--lang", "en", lang="de").stderr == ""
    assert pli("--version", lang="").stderr == ""


@pytest.mark.parametrize("command", [("conversations",), ("inbox",), ("read", "x"), ("people",)])
def test_a_missing_vault_is_named_with_what_to_do(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = pli(*command, "--vault", str(tmp_path / "none"))
    assert done.returncode == 1
    assert str(tmp_path / "none") in sentence(done)
    assert "pli join" in sentence(done)


def test_the_vault_may_be_named_by_a_variable_and_the_option_wins(tmp_path: Path) -> None:
    by_variable = pli("inbox", PLI_VAULT=str(tmp_path / "variable"))
    assert "variable" in sentence(by_variable)
    by_option = pli("inbox", "--vault", str(tmp_path / "option"), PLI_VAULT=str(tmp_path / "v"))
    assert "option" in sentence(by_option)


CODE = Invitation(Secret(b"s" * 16), b"e" * 16, "ws://127.0.0.1:9").text()


@pytest.mark.parametrize(
    "code",
    [
        "",
        "hello",
        CODE[:40],
        CODE[:-1] + ("0" if CODE[-1] != "0" else "1"),
        CODE.replace("-", "_"),
        CODE + CODE,
        "\x1b[2J" + CODE,
        "é" * 90,
    ],
)
def test_a_mangled_invitation_is_refused_before_a_passphrase_is_asked(
    tmp_path: Path, code: str
) -> None:
    done = pli("join", "-", "--vault", str(tmp_path / "v"), stdin=code)
    assert done.returncode == 2
    assert "\x1b" not in sentence(done)
    assert not (tmp_path / "v").exists()


def test_without_a_terminal_the_passphrase_must_come_from_a_file(tmp_path: Path) -> None:
    done = pli("join", CODE, "--vault", str(tmp_path / "v"))
    assert done.returncode == 3
    assert "--passphrase-file" in sentence(done)


def test_a_passphrase_is_never_taken_from_an_argument_or_a_variable(tmp_path: Path) -> None:
    done = pli("join", CODE, "--passphrase", "une phrase", "--vault", str(tmp_path / "v"))
    assert done.returncode == 2
    done = pli("join", CODE, "--vault", str(tmp_path / "v"), PLI_PASSPHRASE="une phrase longue")
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("content", "word"),
    [(None, "missing"), (b"", "empty"), (b"\xff\n", "UTF-8"), (b"ab\n", "short")],
)
def test_a_bad_passphrase_file_is_named(tmp_path: Path, content: bytes | None, word: str) -> None:
    file = tmp_path / "missing-file"
    if content is not None:
        file.write_bytes(content)
    arguments = ("--passphrase-file", str(file), "--vault", str(tmp_path / "v"))
    done = pli("join", CODE, *arguments)
    assert done.returncode == 3
    assert word in sentence(done)
    assert not (tmp_path / "v").exists()


def test_the_system_s_reasons_are_told_in_french(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", tmp_path / "missing" / "below"):
        done = pli("join", CODE, "--passphrase-file", str(file), lang="fr")
        assert "il n’existe pas" in sentence(done)
    (tmp_path / "file").touch()
    done = pli("join", CODE, "--passphrase-file", str(tmp_path / "file" / "below"), lang="fr")
    assert "ce n’est pas un répertoire" in sentence(done)


def test_a_founding_that_was_cut_short_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "authority.json").write_text("{}")
    done = pli("admin", "invite", "Claire", "--vault", str(tmp_path))
    assert done.returncode == 2
    assert "not finished" in sentence(done)
    assert "pli admin init" in sentence(done)


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    """As with plain `pip install pli`: what the relay needs is not there."""
    extra = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    brought = {re.split(r"[^a-z-]", line)[0].replace("-", "_") for line in extra["server"]}
    # What a relay on SQLite loads when it starts, and Alembic, which only a new folder asks for.
    loading = "import sys, json, pli_server.process; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", loading], timeout=60))
    assert brought & {*loaded, "alembic"} == set(RELAY_NEEDS)
    for module in RELAY_NEEDS:
        hidden = tmp_path / module
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(
            "import importlib.util\n"
            "found = importlib.util.find_spec\n"
            "importlib.util.find_spec = lambda name, package=None: (\n"
            f"    None if name == {module!r} else found(name, package))\n"
        )
        done = pli("demo", PYTHONPATH=str(hidden))
        assert done.returncode == 1
        assert "pip install 'pli[server]'" in sentence(done)


def test_a_bug_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import platformdirs\n"
        "def fail(*args, **more): raise KeyError('a secret')\n"
        "platformdirs.user_data_dir = fail\n"
    )
    done = pli("inbox", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert "KeyError" in sentence(done)
    assert "a secret" not in sentence(done)
    assert "Traceback" in pli("inbox", "--debug", PYTHONPATH=str(tmp_path)).stderr


def test_nothing_is_said_when_the_reader_goes_away() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pli_client", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as reading:
        assert reading.stdout is not None
        assert reading.stderr is not None
        reading.stdout.close()
        assert reading.stderr.read() == b""
