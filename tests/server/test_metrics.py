"""Figures to watch: they count what happens, and no label holds an identity."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pli_protocol.relay import frames as f
from pli_server import sweep
from pli_server.errors import OperatorError
from pli_server.metrics import LABELS
from pli_server.relay import now_ms
from pli_server.samples import Samples
from pli_server.settings import Metrics
from pli_server.watching import Watching

from .conftest import Server
from .people import TestEstablishment
from .raw_client import RawClient, Refused
from .team import joins, team


@asynccontextmanager
async def watched(server: Server, **options: Any) -> AsyncIterator[str]:
    """The port of the figures, open."""
    relay = server.relay
    metrics = Metrics(**{"listen": "127.0.0.1:0", **options})
    relay.settings = msgspec.structs.replace(relay.settings, metrics=metrics)
    watching, url = Watching(relay), asyncio.get_running_loop().create_future()
    await watching.start(url.set_result)
    try:
        yield await asyncio.wait_for(url, 10)
    finally:
        await watching.stop()


async def get(url: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


def samples(text: str) -> dict[str, float]:
    return {
        ",".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_what_happens_is_counted(server: Server, home: TestEstablishment) -> None:
    a, b = await joins(server, home), await joins(server, home)
    made = await team(a, b)
    await made.says(a)
    await b.client.push(f.Row)
    with pytest.raises(Refused):
        await a.client.ask(f.GetBlob(a.client.rid(), bytes(32), 0))
    stranger = await RawClient.open(server.url)
    async with watched(server) as url:
        status, text = await get(f"{url}/metrics")
    await stranger.close()
    found = samples(text)
    assert status == 200
    assert found["pli_connections,device"] == 2
    assert found["pli_connections,greeted"] == 1
    assert found["pli_frames_total,Send"] == 1
    assert found["pli_refusals_total,not-found"] == 1
    assert found["pli_rows_total,commit"] == found["pli_rows_total,application"] == 1
    assert found["pli_deliveries_total"] == 3
    assert found["pli_write_batch_jobs_count"] >= 5
    assert found["pli_write_seconds_sum"] > 0
    assert found["pli_read_seconds_count"] > 0
    assert found["process_resident_memory_bytes"] > 2**20


async def test_no_label_holds_an_identity(server: Server, home: TestEstablishment) -> None:
    a, b = await joins(server, home, "Zoé Durand"), await joins(server, home)
    made = await team(a, b)
    await made.says(a)
    text = server.relay.metrics.text().decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert set(sample.labels) <= LABELS, sample
    for word in ("Zoé", "Durand", home.name, "127.0.0.1", "relay.test", str(server.folder)):
        assert word not in text
    for identifier in (a.id, b.id, a.device.account, made.group, home.id):
        assert identifier.hex()[:8] not in text
        assert repr(identifier)[2:-1] not in text


async def test_samples_are_taken_of_disk_and_database(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await team(a, b)
    await a.client.ask(f.PutBlob(a.client.rid(), bytes(32), 0, 5, b"bytes"))
    taken = Samples(server.relay)
    await taken.take()
    found = samples(server.relay.metrics.text().decode())
    assert {name: found[f"pli_{name}"] for name in ("establishments", "accounts", "devices")} == {
        "establishments": 1,
        "accounts": 2,
        "devices": 2,
    }
    assert (found["pli_groups"], found["pli_blobs"], found["pli_blobs_bytes"]) == (1, 1, 5)
    assert 0 < found["pli_disk_free_bytes"] < found["pli_disk_total_bytes"]
    assert found["pli_audit_entries"] > 3


async def test_what_retention_took_is_counted(server: Server, home: TestEstablishment) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await (await team(a, b)).says(a)
    server.clock = lambda: now_ms() + 200 * 86_400_000
    await sweep.sweep(server.relay)
    found = samples(server.relay.metrics.text().decode())
    assert found["pli_swept_total,rows"] == 2
    assert found["pli_sweep_time_seconds"] == pytest.approx(server.clock() / 1000, abs=60)


async def test_health_says_whether_the_storage_failed(server: Server) -> None:
    async with watched(server) as url:
        assert await get(f"{url}/health") == (200, "ok\n")
        assert (await get(f"{url}/else"))[0] == 404
        run = server.relay.readers.run

        async def lost(_: object) -> None:
            raise ConnectionError

        server.relay.readers.run = lost  # type: ignore[method-assign, assignment]
        assert await get(f"{url}/health") == (503, "the database does not answer\n")
        server.relay.readers.run = run  # type: ignore[method-assign]
        server.relay.failed.set()
        assert await get(f"{url}/health") == (503, "the storage failed\n")


async def test_another_address_than_loopback_is_refused(server: Server) -> None:
    with pytest.raises(OperatorError, match="exposed"):
        async with watched(server, listen="0.0.0.0:0"):
            pass
    async with watched(server, listen="0.0.0.0:0", exposed=True) as url:
        assert url.startswith("http://0.0.0.0:")


async def test_a_taken_port_is_tried_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pli_server.watching.AGAIN_SECONDS", 0.01)
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]

    async def freed() -> None:
        while "is taken" not in caplog.text:  # noqa: ASYNC110  the log is what an operator sees
            await asyncio.sleep(0)
        taken.close()
        await taken.wait_closed()

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(freed())
        async with watched(server, listen=f"127.0.0.1:{port}") as url:
            assert await get(f"{url}/health") == (200, "ok\n")
