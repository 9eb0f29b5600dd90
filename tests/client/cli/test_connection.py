"""`pli connection`: an enrolled vault's way to the relay is shown and changed without the relay."""

import asyncio
import json
from pathlib import Path

import pytest
import trustme

from pli_client import i18n
from pli_client.cli.main import run
from pli_client.store.access import Access, read_access
from pli_client.vault import Database, Kdf, Vault, passphrase
from pli_protocol.identity import Invitation
from pli_protocol.secret import Secret

from .processes import PASSPHRASE, pli, sentence

RELAY = "wss://relais.exemple"
CODE = Invitation(Secret(b"s" * 16), b"e" * 16, RELAY).text()
MALFORMED = [
    "proxy.exemple:3128", "http://proxy.exemple", "ftp://proxy.exemple:21", "http://:3128", "",
    "http://proxy.exemple:99999", "http://proxy.exemple:3128/path", "http://a proxy:3128",
    "http://user@proxy.exemple:3128",
]  # fmt: skip


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(i18n, "_current", "en")


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n", encoding="utf-8")
    return file


@pytest.fixture(params=["device", "issuer"])
def table(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(tmp_path: Path, table: str) -> Path:
    def keep(db: Database) -> None:
        if table == "device":
            db.execute(
                "INSERT INTO device (one, relay_url, relay_name, identity_key, signature_key,"
                " created_at) VALUES (1, ?, 'relais', x'00', x'00', 0)",
                (RELAY,),
            )
        else:
            db.execute(
                "INSERT INTO issuer (one, establishment, name, relay_url, relay_name, authority,"
                " certificate, signature_key, enrolment_key, enrolment_statement, created_at)"
                " VALUES (1, x'00', 'E', ?, 'relais', x'00', x'00', x'00', x'00', x'00', 0)",
                (RELAY,),
            )

    folder = tmp_path / "vault"
    make_vault(folder, keep)
    return folder


def make_vault(folder: Path, keep: object = None) -> None:
    async def work() -> None:
        cheap = Kdf(memory=8, passes=1, lanes=1)
        async with await Vault.create(folder, passphrase(PASSPHRASE), kdf=cheap) as vault:
            if callable(keep):
                await vault.write(keep)

    asyncio.run(work())


def kept(folder: Path) -> Access | None:
    async def work() -> Access | None:
        async with await Vault.open(folder, passphrase(PASSPHRASE)) as vault:
            return await vault.read(read_access)

    return asyncio.run(work())


@pytest.fixture
def options(folder: Path, passphrase_file: Path) -> list[str]:
    return ["--vault", str(folder), "--passphrase-file", str(passphrase_file)]


@pytest.fixture
def command(table: str) -> list[str]:
    return ["connection"] if table == "device" else ["admin", "connection"]


def test_the_way_to_the_relay_is_shown(
    options: list[str], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, *options]) == 0
    shown = capsys.readouterr().out
    assert RELAY in shown
    assert "relais" in shown
    assert "as the environment says" in shown
    assert "the system's" in shown


def test_certificates_and_proxy_are_changed_each_alone_and_forgotten(
    options: list[str],
    command: list[str],
    folder: Path,
    ca: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy = "http://moi:secret@proxy.exemple:3128"
    text = ca.read_text(encoding="ascii")
    for changes, expected in (
        (["--proxy", proxy], (None, proxy)),
        (["--ca-file", str(ca)], (text, proxy)),
        ([], (text, proxy)),
        (["--no-proxy"], (text, None)),
        (["--no-ca", "--proxy", "socks5://[::1]:1080"], (None, "socks5://[::1]:1080")),
    ):
        assert run([*command, *changes, *options, "--json"]) == 0
        assert kept(folder) == Access(RELAY, "relais", *expected)
        out = capsys.readouterr().out
        assert "secret" not in out
        reply = json.loads(out)
        shown = expected[1] and expected[1].replace(":secret", "")
        assert reply == {
            "kind": "connection",
            "relay": RELAY,
            "name": "relais",
            "proxy": shown,
            "own_ca": expected[0] is not None,
        }


@pytest.mark.parametrize("table", ["device"], indirect=True)
@pytest.mark.parametrize("proxy", MALFORMED)
def test_a_malformed_proxy_is_refused_and_nothing_changes(
    options: list[str], folder: Path, ca: Path, proxy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["connection", "--ca-file", str(ca), "--proxy", proxy, *options]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert kept(folder) == Access(RELAY, "relais", None, None)


@pytest.mark.parametrize("content", [None, b"", b"not PEM", b"\xff\x00", b"-----BEGIN x-----\n"])
@pytest.mark.parametrize("before", ["connection", "join", "admin init"])
def test_a_file_without_certificates_is_refused_and_no_vault_is_made(
    tmp_path: Path,
    passphrase_file: Path,
    before: str,
    content: bytes | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    assert refused(before, ["--ca-file", str(file)], tmp_path / "v", passphrase_file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "file.pem" in line
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize("proxy", MALFORMED)
@pytest.mark.parametrize("before", ["join", "admin init"])
def test_a_malformed_proxy_is_refused_before_a_vault_is_made(
    tmp_path: Path,
    passphrase_file: Path,
    before: str,
    proxy: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert refused(before, ["--proxy", proxy], tmp_path / "v", passphrase_file) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "http://proxy.example:3128" in line
    assert not (tmp_path / "v").exists()


def refused(before: str, options: list[str], folder: Path, passphrase_file: Path) -> int:
    rest = {
        "connection": [],
        "join": [CODE],
        "admin init": ["--relay", RELAY, "--code", "c", "--name", "E"],
    }[before]
    vault = ["--vault", str(folder), "--passphrase-file", str(passphrase_file)]
    return run([*before.split(), *rest, *options, *vault])


@pytest.mark.parametrize(
    "pair", [["--no-proxy", "--proxy", "http://p:1"], ["--no-ca", "--ca-file", "f"]]
)
def test_an_option_and_its_opposite_are_refused(
    pair: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["connection", *pair]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_vault_that_nobody_joined_with_says_so(
    tmp_path: Path, passphrase_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_vault(tmp_path / "v")
    vault = ["--vault", str(tmp_path / "v"), "--passphrase-file", str(passphrase_file)]
    assert run(["connection", "--proxy", "http://p:1", *vault]) == 1
    assert "pli join" in capsys.readouterr().err


@pytest.mark.processes
@pytest.mark.parametrize("table", ["device"], indirect=True)
def test_a_process_keeps_the_proxy_or_refuses_it_in_one_sentence(
    options: list[str], folder: Path
) -> None:
    done = pli("connection", "--proxy", "http://p.exemple:3128", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "http://p.exemple:3128" in done.stdout
    refusal = pli("connection", "--proxy", "p.exemple", *options)
    assert refusal.returncode == 2
    assert sentence(refusal)
    assert kept(folder) == Access(RELAY, "relais", None, "http://p.exemple:3128")


@pytest.mark.parametrize("command", ["inbox", "search", "record"])
def test_an_empty_answer_is_said_to_people_and_not_to_programs(
    tmp_path: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from pli_client.cli import session

    async def nothing(*_arguments: object) -> bool:
        return True

    monkeypatch.setattr(session, "hand_over", nothing)
    (tmp_path / session.VAULT_FILE).write_text("{}", encoding="utf-8")
    words = [command, "--vault", str(tmp_path), *([] if command == "inbox" else ["x"])]
    assert run(words) == 0
    said = capsys.readouterr()
    assert (said.out, len(said.err.splitlines())) == ("", 1)
    assert run([*words, "--json"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")
