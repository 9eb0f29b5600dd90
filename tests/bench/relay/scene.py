"""A stock relay with an establishment, people and groups, ready for a workload."""

import asyncio
import os
import sqlite3
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import encode
from tests.server.people import TestDevice, TestEstablishment, TestPerson, commit, mls
from tests.server.processes import RelayProcess, make_folder

from . import cluster as clusters
from .figures import Processes
from .thin_client import ThinClient

PAYLOAD: Final = 1024
"""Bytes of a message, header and all."""


@dataclass
class Scene:
    """A relay of one or more processes, and who is on it."""

    folder: Path
    nodes: list[RelayProcess]
    establishment: TestEstablishment
    tls: ssl.SSLContext | None
    tokens: dict[bytes, bytes] = field(default_factory=dict)
    clients: list[ThinClient] = field(default_factory=list)
    cluster: clusters.Cluster | None = None

    @property
    def processes(self) -> Processes:
        return Processes(tuple(node.process.pid for node in self.nodes))

    async def signed(
        self, device: TestDevice, on_row: Callable[[ThinClient, f.Row], None] | None = None
    ) -> ThinClient:
        """A connection of the device, with the token of the one before."""
        token, node = self.tokens.get(device.id), self.nodes[len(self.clients) % len(self.nodes)]
        client = await ThinClient.signed(node.url, device, self.tls, token, on_row)
        assert client.token is not None
        self.tokens[device.id] = client.token
        self.clients.append(client)
        return client

    def hang_up(self) -> None:
        """Cut all connections: what comes after the measuring is nobody's any more."""
        for client in self.clients:
            client.close()

    async def group(self, creator: ThinClient, devices: Sequence[TestDevice]) -> bytes:
        """A group of the creator and these devices, in epoch 1; the creator has its first row."""
        group = os.urandom(16)
        done = asyncio.get_running_loop().create_future()
        creator.on_row = done.set_result
        first = commit(group, 0, tuple(device.id for device in devices))
        await creator.ask(lambda rid: f.CreateGroup(rid, group, os.urandom(16), first, b"welcome"))
        acknowledge(creator, await done)
        creator.on_row = None
        return group

    def devices(self, count: int, of_each: int = 1) -> list[TestDevice]:
        """New devices of new people."""
        people: list[TestPerson] = []
        while len(people) * of_each < count:
            people.append(self.establishment.person())
        return [people[number // of_each].device() for number in range(count)]

    async def missing(self, send_ids: Sequence[bytes]) -> int:
        """How many of these are not in the relay's database."""
        held = _send_ids(self.folder) if self.cluster is None else await self.cluster.send_ids()
        return sum(send_id not in held for send_id in set(send_ids))

    def stop(self) -> None:
        """Stop all nodes in order; raises RuntimeError where one did not end well."""
        for node in self.nodes:
            code, logged = node.stop()
            if code:
                raise RuntimeError(f"the relay ended with {code}: {logged[-2000:]}")


def _send_ids(folder: Path) -> set[bytes]:
    database = sqlite3.connect(folder / "relay.db")
    try:
        return {row[0] for row in database.execute("SELECT send_id FROM rows")}
    finally:
        database.close()


@asynccontextmanager
async def running(tls: bool, nodes: int = 0) -> AsyncIterator[Scene]:
    """A stock relay on a new folder, with an establishment; stopped at the end.

    Args:
        nodes: so many on PostgreSQL and NATS; 0: one on SQLite, as `init` makes it.
    """
    with tempfile.TemporaryDirectory(prefix="pli-bench-") as name:
        beside, folder = Path(name), Path(name) / "relay"
        options, context = _tls(beside) if tls else ((), None)
        if nodes:
            async with clusters.running(beside, nodes, options) as made:
                yield await _opened(
                    Scene(folder, made.nodes, TestEstablishment(), context, cluster=made), made.code
                )
            return
        code = make_folder(folder, *options)
        process = RelayProcess.start(folder)
        try:
            yield await _opened(Scene(folder, [process], TestEstablishment(), context), code)
        finally:
            if process.process.poll() is None:
                process.stop()


async def _opened(scene: Scene, code: str) -> Scene:
    """With its establishment registered."""
    issuer, greeting = await ThinClient.greeted(scene.nodes[0].url, scene.tls)
    await issuer.register(scene.establishment, greeting, code)
    issuer.close()
    return scene


def _tls(folder: Path) -> tuple[tuple[str, ...], ssl.SSLContext]:
    """The options of `init` for a certificate that the context trusts."""
    chain, key, context = certificate(folder)
    return ("--certificate", str(chain), "--key", str(key)), context


def certificate(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate for loopback: its chain, its key, and a context that trusts it."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    issued.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return chain, key, context


async def join(member: ThinClient) -> None:
    """Take the Welcome that waits."""
    welcome = await member.push()
    assert isinstance(welcome, f.WelcomeWaiting), welcome
    member.send(f.AcknowledgeWelcome(welcome.item))
    await member.ask(f.GetGroups)


def acknowledge(client: ThinClient, row: f.Row) -> None:
    client.send(f.Acknowledge((f.Acknowledgement(row.group, row.position.seq),)))


class Sender:
    """Sends messages of PAYLOAD bytes to one group, each naming the one before it."""

    def __init__(self, client: ThinClient, group: bytes) -> None:
        self._client = client
        self._previous: bytes | None = None
        self._message = mls(group, 1, body=bytes(PAYLOAD - len(group) - 60))

    def send(self, begin: Callable[[bytes], None]) -> bytes:
        """Send one; `begin` is told its send id first."""
        send_id = os.urandom(16)
        begin(send_id)
        self._client.write(encode(f.Send(1, send_id, self._previous, self._message)))
        self._previous = send_id
        return send_id
