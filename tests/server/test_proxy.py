"""Behind a reverse proxy: whose connection it is, and whom nobody believes."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from pli_server.errors import OperatorError
from pli_server.proxy import client, networks
from pli_server.settings import FILE_NAME, Limits, load

from .conftest import Server, running
from .raw_client import RawClient

PROXY, OTHER = ("10.0.0.1", 40_000), ("192.0.2.9", 40_000)
TRUSTED = networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (OTHER, [], "192.0.2.9"),
        (OTHER, ["198.51.100.7"], "192.0.2.9"),
        (PROXY, ["198.51.100.7"], "198.51.100.7"),
        (PROXY, ["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
        (PROXY, ["203.0.113.1", "198.51.100.7, 10.2.2.2"], "198.51.100.7"),
        (PROXY, ["198.51.100.7, 10.2.2.2, 10.3.3.3"], "198.51.100.7"),
        (PROXY, ["10.9.9.9"], "10.9.9.9"),
        (PROXY, ["2001:db8::1"], "2001:db8::/64"),
        (PROXY, ["::ffff:198.51.100.7"], "198.51.100.7"),
        (PROXY, ["198.51.100.7, unknown"], "10.0.0.1"),
        (PROXY, ["198.51.100.7:4000"], "10.0.0.1"),
        (PROXY, ["", " , "], "10.0.0.1"),
        (PROXY, [], "10.0.0.1"),
        (("fd00::5", 1, 0, 0), ["198.51.100.7"], "198.51.100.7"),
        (("::ffff:10.0.0.1", 1, 0, 0), ["198.51.100.7"], "198.51.100.7"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_last_hop_that_is_no_trusted_proxy_counts(
    peer: tuple[str, int], forwarded: list[str], expected: str
) -> None:
    assert client(TRUSTED, peer, forwarded) == expected


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert client((), PROXY, ["198.51.100.7"]) == "10.0.0.1"


@pytest.mark.parametrize("texts", [["0.0.0.0/0"], ["::/0"], ["proxy.example"], ["10.0.0.1/8"]])
def test_everybody_and_names_are_no_proxies(tmp_path: Path, texts: list[str]) -> None:
    (tmp_path / FILE_NAME).write_text(f'name = "x"\ntrusted_proxies = {texts}')
    with pytest.raises(OperatorError, match="trusted_proxies"):
        load(tmp_path)


def test_plain_behind_a_proxy_needs_to_know_which(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('name = "x"\nplain_behind_proxy = true')
    with pytest.raises(OperatorError, match="trusted_proxies"):
        load(tmp_path)


async def opens(server: Server, *addresses: str) -> RawClient:
    headers = [("X-Forwarded-For", address) for address in addresses]
    return server._kept(await RawClient.open(server.url, additional_headers=headers))


async def refused(server: Server, *addresses: str) -> bool:
    headers = [("X-Forwarded-For", address) for address in addresses]
    async with connect(server.url, compression=None, proxy=None, additional_headers=headers) as ws:
        await ws.wait_closed()
        return ws.close_code == 1013


async def test_behind_a_trusted_proxy_each_client_has_its_own_limit(tmp_path: Path) -> None:
    limits = Limits(connections_per_address=2, unsigned_per_address=2)
    async with running(tmp_path / "relay", limits=limits, trusted_proxies=("127.0.0.1",)) as server:
        for _ in range(2):
            await opens(server, "198.51.100.7")
        await opens(server, "198.51.100.8")
        assert await refused(server, "198.51.100.7")
        # What the client wrote itself stands to the left of what the proxy saw.
        assert await refused(server, "203.0.113.1", "198.51.100.7")


async def test_a_client_that_is_no_trusted_proxy_cannot_choose_its_address(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(connections_per_address=2)
    for number in range(2):
        await opens(server, f"198.51.100.{number}")
    assert await refused(server, "198.51.100.9")


async def test_plain_on_an_open_address_is_for_the_proxies_only(tmp_path: Path) -> None:
    async with running(
        tmp_path / "relay", plain_behind_proxy=True, trusted_proxies=("127.0.0.2",)
    ) as server:
        with pytest.raises((OSError, EOFError, WebSocketException)):
            await RawClient.open(server.url)
        behind = await RawClient.open(server.url, local_addr=("127.0.0.2", 0))
        await behind.close()
        assert server.relay.metrics.turned_away["not a proxy"] == 1
