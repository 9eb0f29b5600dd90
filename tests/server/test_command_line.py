"""`pli-server`: one line when it listens, one sentence when it cannot, exit codes."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner

from pli_server.command_line import cli

from .people import TestEstablishment
from .processes import RelayProcess
from .raw_client import RawClient


def call(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def one_sentence(text: str) -> bool:
    return text.count("\n") == 1 and "Traceback" not in text and text.startswith("pli-server: ")


def test_init_writes_commented_settings_and_prints_a_code(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    code, out, _ = call("init", folder, "--name", "pli.example", "--listen", "127.0.0.1:9000")
    assert code == 0
    assert "Establishment code, valid once: " in out
    text = (folder / "relay.toml").read_text()
    assert 'name = "pli.example"' in text
    assert sum(line.startswith("#") for line in text.splitlines()) > 10
    code, out, _ = call("establishment-code", folder)
    assert (code, len(out.strip())) == (0, 27)


@pytest.mark.parametrize(
    ("options", "address"),
    [
        (("--listen", "127.0.0.1:18443", "--name", "localhost"), "ws://localhost:18443"),
        (("--listen", "127.0.0.1:18443"), "ws://127.0.0.1:18443"),
        (("--listen", "[::1]:18443"), "ws://[::1]:18443"),
        (("--listen", "127.0.0.1:80"), "ws://127.0.0.1"),
        (("--listen", "127.0.0.1:18443", "--name", "pli.example"), "wss://pli.example"),
        (("--listen", "127.0.0.1:0"), None),
        (("--listen", "0.0.0.0:8443", "--name", "pli.example"), "wss://pli.example:8443"),
        (("--listen", "0.0.0.0:443", "--name", "pli.example"), "wss://pli.example"),
    ],
)
def test_init_tells_the_address_to_give_out(
    tmp_path: Path, options: tuple[str, ...], address: str | None
) -> None:
    if options[1].startswith("0.0.0.0"):
        options = (*options, "--certificate", "chain.pem", "--key", "key.pem")
    _, out, _ = call("init", tmp_path / "text", *options)
    assert ("Address for its clients: " in out) == (address is not None)
    if address is not None:
        assert f"Address for its clients: {address}\n" in out
    _, out, _ = call("init", tmp_path / "json", *options, "--json")
    assert json.loads(out)["address"] == address


def test_json_is_one_object(tmp_path: Path) -> None:
    code, out, _ = call("init", tmp_path / "relay", "--json")
    shown = json.loads(out)
    assert (code, shown["event"], shown["name"]) == (0, "initialised", "127.0.0.1")
    code, out, _ = call("establishment-code", tmp_path / "relay", "--json")
    assert json.loads(out)["code"] != shown["code"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("listen", '"nonsense"'), "HOST:PORT"),
        (("listen", '"0.0.0.0:0"'), "loopback only"),
        (("listen", "7"), "listen"),
        (("nmae", '"x"'), "nmae"),
        (("certificate", '"/no/such/file"'), "both"),
        (("name", '""'), "name"),
        (("name", '"unfinished'), "cannot be read"),
    ],
)
def test_wrong_settings_are_one_sentence(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    folder = tmp_path / "relay"
    call("init", folder, "--listen", "127.0.0.1:0")
    path = folder / "relay.toml"
    key, value = change
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key} =")]
    path.write_text("\n".join([f"{key} = {value}", *lines]))
    result = subprocess.run(
        [sys.executable, "-m", "pli_server", "run", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert said in result.stderr
    assert one_sentence(result.stderr)


@pytest.mark.parametrize(
    ("arguments", "said", "expected"),
    [
        (("run", "{}/none"), "pli-server init", 1),
        (("establishment-code", "{}/none"), "pli-server init", 1),
        (("init", "{}"), "not empty", 1),
        (("init", "{}/new", "--listen", "0.0.0.0:1"), "--name", 1),
        (("init", "{}/new", "--listen", "x"), "HOST:PORT", 1),
        (("init", "{}/new", "--key", "k.pem"), "both", 1),
        (("init", "{}/file/new"), "cannot be made", 1),
        (("nonsense",), "No such command", 2),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...], said: str, expected: int
) -> None:
    (tmp_path / "file").write_text("")
    code, _, error = call(*(argument.format(tmp_path) for argument in arguments))
    assert (code, said in error) == (expected, True)
    if expected == 1:
        assert one_sentence(error)


@pytest.mark.processes
def test_the_process_says_when_it_listens_and_stops_on_a_signal(tmp_path: Path) -> None:
    call("init", tmp_path / "relay", "--name", "localhost", "--listen", "127.0.0.1:0")
    relay = RelayProcess.start(tmp_path / "relay")
    assert relay.url.startswith("ws://127.0.0.1:")
    assert relay.address == relay.url.replace("127.0.0.1", "localhost")
    second = subprocess.run(
        [sys.executable, "-m", "pli_server", "run", str(tmp_path / "relay")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second.returncode, one_sentence(second.stderr)) == (1, True)
    assert "already" in second.stderr
    relay.process.send_signal(signal.SIGINT)
    _, log = relay.process.communicate(timeout=30)
    assert relay.process.returncode == 0
    assert "Traceback" not in log


@pytest.mark.processes
async def test_a_relay_with_certificates_speaks_tls_and_a_code_works_while_it_runs(
    tmp_path: Path,
) -> None:
    import ssl

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    with (tmp_path / "chain.pem").open("wb") as file:
        for part in certificate.cert_chain_pems:
            file.write(part.bytes())
    folder = tmp_path / "relay"
    code, _, error = call(
        *("init", folder, "--name", "localhost", "--listen", "127.0.0.1:0"),
        *("--certificate", tmp_path / "chain.pem", "--key", tmp_path / "key.pem"),
    )
    assert (code, error) == (0, "")
    relay = RelayProcess.start(folder)
    assert relay.url.startswith("wss://")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    _, out, _ = call("establishment-code", folder)
    client = await RawClient.open(relay.url, ssl=context)
    await client.register(TestEstablishment(), out.strip())
    await client.close()
    status, log = relay.stop()
    assert (status, "Traceback" in log) == (0, False)


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        call("init", tmp_path / "relay", "--listen", f"127.0.0.1:{port}")
        result = subprocess.run(
            [sys.executable, "-m", "pli_server", "run", str(tmp_path / "relay")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ},
        )
    assert (result.returncode, one_sentence(result.stderr)) == (1, True)
