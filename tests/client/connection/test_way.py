"""The way to the relay: addresses, TLS with the system's or an own CA, HTTP proxies, HTTP answers."""

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme

from pli_client.connection import Connection, Disconnected, RelayAddress
from pli_client.connection import dialling as dialling_module
from pli_client.errors import (
    InvalidInput,
    MissingExtra,
    Offline,
    PliError,
    ProxyFailed,
    UntrustedCertificate,
)

from .proxy import ConnectProxy
from .relay import FakeRelay, Pause, Peer

VARIABLES = [
    f(name)
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy", "no_proxy")
    for f in (str.lower, str.upper)
]


@pytest.fixture(autouse=True)
def no_proxies_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


def served_as(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    return served_as(authority, "localhost")


async def script(peer: Peer) -> None:
    """Answers to whatever name it is called by."""
    assert peer.websocket.request is not None
    await peer.welcome(peer.websocket.request.headers["Host"].split(":")[0])
    await peer.until_closed()


async def first_error(connection: Connection, pause: Pause) -> PliError:
    async with connection:
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        return connection.state.error


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "loopback"),
    [
        ("wss://relais.example", "relais.example", False),
        ("wss://relais.example:8443/pli", "relais.example", False),
        ("ws://localhost:1", "localhost", True),
        ("ws://127.0.0.9", "127.0.0.9", True),
        ("ws://[::1]:8000", "::1", True),
        (" wss://10.0.0.1 ", "10.0.0.1", False),
    ],
)
def test_addresses_that_are_good(url: str, host: str, loopback: bool) -> None:
    address = RelayAddress.parse(url)
    assert (address.host, address.loopback) == (host, loopback)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relais.example",
        "https://relais.example",
        "wss://",
        "wss://relais.example:port",
        "wss://[::1",
        "wss://moi@relais.example",
        "wss://relais.example?x=1",
        "wss://relais.example#x",
        "ws://relais.example",
        "ws://10.0.0.1",
        "ws://localhost.evil.example",
        "ws://127.0.0.1.evil.example",
    ],
)
def test_addresses_that_are_refused_before_anything_is_sent(url: str) -> None:
    with pytest.raises(InvalidInput):
        Connection(url)


# --- TLS --------------------------------------------------------------------------------------


async def test_an_own_ca_is_trusted_when_it_is_named(tls: ssl.SSLContext, pem: str) -> None:
    async with FakeRelay(script, tls) as relay, Connection(relay.url, ca=pem) as connection:
        await connection.online(10)


@pytest.mark.parametrize("own", [False, True])
async def test_a_certificate_of_an_unknown_ca_needs_a_person(
    tls: ssl.SSLContext, own: bool
) -> None:
    ca = trustme.CA().cert_pem.bytes().decode() if own else None
    async with (
        FakeRelay(script, tls) as relay,
        Connection(relay.url, ca=ca, pause=Pause()) as connection,
    ):
        with pytest.raises(UntrustedCertificate):
            await connection.online(10)
        assert isinstance(connection.state, Disconnected)
        assert connection.state.retry_in is not None  # it may be mended meanwhile


async def test_a_certificate_of_another_name_is_not_taken(authority: trustme.CA, pem: str) -> None:
    tls = served_as(authority, "other.example")
    async with (
        FakeRelay(script, tls) as relay,
        Connection(relay.url, ca=pem, pause=Pause()) as connection,
    ):
        with pytest.raises(UntrustedCertificate):
            await connection.online(10)


@pytest.mark.parametrize("ca", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAA\n"])
async def test_a_ca_file_without_a_certificate_is_not_the_systems_trust(ca: str) -> None:
    async with Connection("wss://localhost:1", ca=ca, pause=Pause()) as connection:
        with pytest.raises(UntrustedCertificate):
            await connection.online(10)


async def test_what_does_not_speak_tls_is_away(pem: str) -> None:
    async with FakeRelay(script) as relay:
        pause = Pause()
        url = relay.url.replace("ws://", "wss://")
        error = await first_error(Connection(url, ca=pem, pause=pause), pause)
        assert isinstance(error, Offline)


# --- proxies ----------------------------------------------------------------------------------


@pytest.fixture
async def far_relay(authority: trustme.CA) -> AsyncIterator[FakeRelay]:
    """Only a proxy knows the way to its name."""
    async with FakeRelay(script, served_as(authority, "relais.test")) as relay:
        yield relay


async def test_the_connection_goes_through_a_proxy(far_relay: FakeRelay, pem: str) -> None:
    async with (
        ConnectProxy(far_relay.port) as proxy,
        Connection("wss://relais.test", ca=pem, proxy=proxy.url) as connection,
    ):
        await connection.online(10)
        assert proxy.asked == ["CONNECT relais.test:443 HTTP/1.1"]


async def test_the_environments_proxy_is_used(
    far_relay: FakeRelay, pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(far_relay.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with Connection("wss://relais.test", ca=pem) as connection:
            await connection.online(10)
        assert len(proxy.asked) == 1


async def test_the_environments_proxy_is_not_asked_for_this_computer(
    tls: ssl.SSLContext, pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeRelay(script, tls) as relay, ConnectProxy(relay.port) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with Connection(relay.url, ca=pem) as connection:
            await connection.online(10)
        assert proxy.asked == []
        # Named, it is used even then.
        async with Connection(relay.url, ca=pem, proxy=proxy.url) as connection:
            await connection.online(10)
        assert len(proxy.asked) == 1


async def test_no_proxy_means_none(pem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ConnectProxy(1) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        pause = Pause()
        connection = Connection("wss://relais.test", ca=pem, proxy=False, pause=pause)
        assert isinstance(await first_error(connection, pause), Offline)
        assert proxy.asked == []


async def test_a_proxys_refusal_is_told_apart_from_the_relays(pem: str) -> None:
    async with ConnectProxy(1, status="407 Proxy Authentication Required") as proxy:
        pause = Pause()
        connection = Connection("wss://relais.test", ca=pem, proxy=proxy.url, pause=pause)
        error = await first_error(connection, pause)
        assert isinstance(error, ProxyFailed)
        assert "407" in error.cause


@pytest.mark.parametrize("proxy", ["nonsense", "ftp://127.0.0.1:1", "http://"])
async def test_a_proxy_whose_address_cannot_be_read(pem: str, proxy: str) -> None:
    pause = Pause()
    connection = Connection("wss://relais.test", ca=pem, proxy=proxy, pause=pause)
    assert isinstance(await first_error(connection, pause), ProxyFailed)


async def test_a_proxy_does_not_see_the_certificate_trusted_in_the_relays_place(
    far_relay: FakeRelay,
) -> None:
    async with (
        ConnectProxy(far_relay.port) as proxy,
        Connection("wss://relais.test", proxy=proxy.url, pause=Pause()) as connection,
    ):
        with pytest.raises(UntrustedCertificate):
            await connection.online(10)


async def test_a_socks_proxy_without_its_library_says_what_to_install(
    pem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import websockets.asyncio.client

    async def missing(*_args: object, **_options: object) -> None:
        raise ImportError("connecting through a SOCKS proxy requires python-socks")

    monkeypatch.setattr(websockets.asyncio.client, "connect_socks_proxy", missing)
    pause = Pause()
    connection = Connection("wss://relais.test", ca=pem, proxy="socks5h://127.0.0.1:1", pause=pause)
    error = await first_error(connection, pause)
    assert isinstance(error, MissingExtra)
    assert "pli[socks]" in str(error)


# --- what else may answer ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 302 Found\r\nLocation: ws://localhost:1/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", ""),
        (b"", ""),
    ],
)
async def test_what_is_no_relay_is_away(answer: bytes, shown: str) -> None:
    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    async with server:
        pause = Pause()
        port = server.sockets[0].getsockname()[1]
        error = await first_error(Connection(f"ws://localhost:{port}", pause=pause), pause)
        assert isinstance(error, Offline)
        assert shown in error.cause


async def test_a_relay_that_never_opens_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling_module, "OPEN_TIMEOUT", 0.01)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    async with server:
        pause = Pause()
        port = server.sockets[0].getsockname()[1]
        error = await first_error(Connection(f"ws://localhost:{port}", pause=pause), pause)
        assert isinstance(error, Offline)
