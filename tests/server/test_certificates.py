"""A renewed certificate is served without a restart; a bad one changes nothing."""

import asyncio
import logging
import os
import signal
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from pli_server.certificates import Certificates
from pli_server.errors import OperatorError

from .conftest import Server, running
from .people import TestEstablishment
from .processes import RelayProcess, make_folder
from .raw_client import RawClient

AUTHORITY = trustme.CA()


def write(folder: Path, authority: trustme.CA = AUTHORITY) -> int:
    """A new certificate and key in the folder; returns the serial number."""
    made = authority.issue_cert("localhost", "127.0.0.1")
    (folder / "chain.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    made.private_key_pem.write_to_path(folder / "key.pem")
    served = ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())
    return _serial(served)


def _serial(der: bytes) -> int:
    from cryptography import x509

    return x509.load_der_x509_certificate(der).serial_number


async def served(url: str) -> int:
    """The serial number of the certificate that a new connection gets."""
    return await asyncio.to_thread(_served, url)


def _served(url: str) -> int:
    port = int(url.rpartition(":")[2])
    pem = ssl.get_server_certificate(("127.0.0.1", port), timeout=10)
    return _serial(ssl.PEM_cert_to_DER_cert(pem))


async def test_new_connections_get_the_new_one_and_open_ones_stay(tmp_path: Path) -> None:
    first = write(tmp_path)
    home = TestEstablishment()
    files = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
    async with running(tmp_path / "relay", **files) as server:
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        early = await RawClient.open(server.url, ssl=context)
        assert await served(server.url) == first
        second = write(tmp_path)
        server._listener.reload()
        assert await served(server.url) == second
        await early.register(home, server.code)
        late = await RawClient.open(server.url, ssl=context)
        await late.sign_in_issuer(home)
        await early.close()
        await late.close()


@pytest.mark.parametrize("bad", ["chain.pem", "key.pem", "missing"])
async def test_a_bad_new_pair_leaves_the_old_one_and_is_told(
    tmp_path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = write(tmp_path)
    files = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
    async with running(tmp_path / "relay", **files) as server:
        if bad == "missing":
            (tmp_path / "key.pem").unlink()
        else:
            kept = (tmp_path / bad).read_bytes()
            write(tmp_path)
            (tmp_path / bad).write_bytes(kept)
        server._listener.reload()
        assert await served(server.url) == first
        text = server.relay.metrics.text().decode()
    assert 'pli_certificate_reads_total{result="refused"} 1.0' in text
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "the old certificate goes on" in caplog.text


def test_files_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    write(tmp_path)
    certificates = Certificates(tmp_path / "chain.pem", tmp_path / "key.pem")
    certificates.reload_changed()
    assert certificates.read == {}
    write(tmp_path)
    certificates.reload_changed()
    certificates.reload_changed()
    assert certificates.read == {"done": 1}
    (tmp_path / "key.pem").unlink()
    certificates.reload_changed()
    certificates.reload_changed()
    assert certificates.read == {"done": 1, "refused": 1}


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_what_is_no_certificate_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    write(tmp_path)
    (tmp_path / "chain.pem").unlink()
    if content is not None:
        (tmp_path / "chain.pem").write_bytes(content)
    with pytest.raises(OperatorError, match="certificate"):
        Certificates(tmp_path / "chain.pem", tmp_path / "key.pem")


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(tmp_path: Path) -> None:
    write(tmp_path)
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    (tmp_path / "key.pem").write_bytes(sealed)
    with pytest.raises(OperatorError, match="key"):
        Certificates(tmp_path / "chain.pem", tmp_path / "key.pem")


async def test_the_end_of_the_certificate_is_a_figure(tmp_path: Path) -> None:
    write(tmp_path)
    certificates = Certificates(tmp_path / "chain.pem", tmp_path / "key.pem")
    files = {"certificate": str(tmp_path / "chain.pem"), "key": str(tmp_path / "key.pem")}
    async with running(tmp_path / "relay", **files) as server:
        text = server.relay.metrics.text().decode()
    (line,) = [line for line in text.splitlines() if line.startswith("pli_certificate_expires")]
    assert float(line.split()[1]) == certificates.expires > 0


@pytest.mark.processes
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGHUP")
async def test_sighup_reads_it_again_and_stops_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    folder = tmp_path / "relay"
    make_folder(folder)
    settings = folder / "relay.toml"
    lines = f'certificate = "{tmp_path}/chain.pem"\nkey = "{tmp_path}/key.pem"\n'
    settings.write_text(lines + settings.read_text())
    relay = RelayProcess.start(folder)
    second = write(tmp_path)
    os.kill(relay.process.pid, signal.SIGHUP)
    assert relay.process.stderr is not None
    while "read again" not in await asyncio.to_thread(relay.process.stderr.readline):
        assert relay.process.poll() is None
    assert await served(relay.url) == second
    assert relay.stop()[0] == 0


async def test_without_a_certificate_sighup_changes_nothing(server: Server) -> None:
    server._listener.reload()
    await server.open()
