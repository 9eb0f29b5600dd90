"""What systemd is told, on a socket like its own."""

import asyncio
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pli_server import service_manager

from .processes import RelayProcess, make_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="systemd is Linux'")


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(10)
        monkeypatch.setenv(service_manager.ADDRESS, address)
        yield listening


def test_a_state_is_one_datagram(systemd: socket.socket) -> None:
    assert service_manager.tell(service_manager.READY)
    assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/no/such/socket"])
def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv(service_manager.ADDRESS, address)
    assert not service_manager.tell(service_manager.READY)


async def test_the_watchdog_is_told_again_and_again(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(service_manager.WATCHDOG, "2000")
    alive = asyncio.create_task(service_manager.keep_alive())
    for _ in range(3):
        assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
    alive.cancel()


@pytest.mark.parametrize("asked", [None, "0", "nonsense"])
async def test_without_a_watchdog_it_ends(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, asked: str | None
) -> None:
    monkeypatch.delenv(service_manager.WATCHDOG, raising=False)
    if asked is not None:
        monkeypatch.setenv(service_manager.WATCHDOG, asked)
    await service_manager.keep_alive()


@pytest.mark.processes
def test_a_relay_says_when_it_is_ready_and_when_it_stops(
    systemd: socket.socket, tmp_path: Path
) -> None:
    make_folder(tmp_path / "relay")
    relay = RelayProcess.start(tmp_path / "relay")
    assert systemd.recv(100) == b"READY=1"
    assert relay.stop()[0] == 0
    assert systemd.recv(100) == b"STOPPING=1"
