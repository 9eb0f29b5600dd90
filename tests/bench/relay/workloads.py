"""The workloads: each on a fresh relay, and the same traffic through a bare one.

w1       20 pairs online, 8 messages in flight each; counted when the receiver has it
w1light  one pair, one in flight
w2       one sender to a room of 50, 8 in flight; counted at each of the 49 others
w3       memory for each idle signed-in connection, at 1,000
w4       a device that was away connects, signs in and fetches 5,000 messages
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from pli_protocol.relay import frames as f
from pli_protocol.relay.codec import decode_relay_frame
from tests.server.people import TestDevice

from . import scene as scenes
from .figures import Load, apart, measure, summary
from .scene import Scene, Sender, acknowledge, join
from .thin_client import ThinClient

Figures = dict[str, Any]
ROOM: Final = 50
AWAY: Final = 150
AWAY_MESSAGES: Final = 5_000
IDLE: Final = 1_000
ACKNOWLEDGE_EVERY: Final = 8
"""Rows that a receiver acknowledges together, as clients do that write in groups."""


async def pairs(
    scene: Scene, load: Load, count: int, in_flight: int
) -> Callable[[], Awaitable[None]]:
    """`count` pairs, each with `in_flight` messages under way for ever; returns what starts them."""
    senders = [await _pair(scene, load) for _ in range(count)]

    async def start() -> None:
        for sender in senders:
            for _ in range(in_flight):
                sender.send(load.begin)

    return start


async def _pair(scene: Scene, load: Load) -> Sender:
    one, two = scene.devices(2)
    sending, receiving = await scene.signed(one), await scene.signed(two)
    group = await scene.group(sending, [two])
    await join(receiving)
    sender = Sender(sending, group)
    sending.on_data = partial(_own, sending)

    def received(data: bytes) -> None:
        row = decode_relay_frame(data)
        assert isinstance(row, f.Row), row
        load.received(row.send_id, load.started.pop(row.send_id))
        if row.position.seq % ACKNOWLEDGE_EVERY == 0:
            acknowledge(receiving, row)
        if load.running:
            sender.send(load.begin)

    receiving.on_data = received
    return sender


def _own(client: ThinClient, data: bytes) -> None:
    """The sender's answers and its own rows."""
    frame = decode_relay_frame(data)
    if isinstance(frame, f.Row):
        if frame.position.seq % ACKNOWLEDGE_EVERY == 0:
            acknowledge(client, frame)
    else:
        assert isinstance(frame, f.Accepted), frame


async def w1(scene: Scene, warm_up: float, seconds: float, load: Load) -> Figures:
    start = await pairs(scene, load, 20, 8)
    return await _flow(scene, start, warm_up, seconds, load)


async def w1light(scene: Scene, warm_up: float, seconds: float, load: Load) -> Figures:
    start = await pairs(scene, load, 1, 1)
    return await _flow(scene, start, warm_up, seconds, load)


async def w2(scene: Scene, warm_up: float, seconds: float, load: Load) -> Figures:
    sender_device, *others = scene.devices(ROOM)
    sending = await scene.signed(sender_device)
    receiving = [await scene.signed(device) for device in others]
    group = await scene.group(sending, others)
    for client in receiving:
        await join(client)
    sender = Sender(sending, group)
    sending.on_data = partial(_own, sending)
    waiting: dict[bytes, int] = {}

    def begin(send_id: bytes) -> None:
        load.begin(send_id)
        waiting[send_id] = len(receiving)

    def received(client: ThinClient, data: bytes) -> None:
        row = decode_relay_frame(data)
        assert isinstance(row, f.Row), row
        load.received(row.send_id, load.started[row.send_id])
        if row.position.seq % ACKNOWLEDGE_EVERY == 0:
            acknowledge(client, row)
        waiting[row.send_id] -= 1
        if not waiting[row.send_id]:
            del waiting[row.send_id], load.started[row.send_id]
            if load.running:
                sender.send(begin)

    for client in receiving:
        client.on_data = partial(received, client)

    async def start() -> None:
        for _ in range(8):
            sender.send(begin)

    return await _flow(scene, start, warm_up, seconds, load)


async def _flow(
    scene: Scene,
    start: Callable[[], Awaitable[None]],
    warm_up: float,
    seconds: float,
    load: Load,
) -> Figures:
    with apart(scene.processes):
        await start()
        return await measure(load, scene.processes, warm_up, seconds)


async def w3(scene: Scene, warm_up: float, seconds: float, load: Load) -> Figures:
    """What the first 100 bring into memory is not counted."""
    devices = scene.devices(IDLE + 100)
    clients = [await scene.signed(device) for device in devices[:100]]
    await asyncio.sleep(1)
    before = scene.processes.rss()
    clients += [await scene.signed(device) for device in devices[100:]]
    await asyncio.sleep(min(warm_up, 4) + 1)
    after = scene.processes.rss()
    return {
        "delivered_per_s": None,
        "p50_ms": None,
        "p99_ms": None,
        "server_cpu_s_per_1000": None,
        "server_rss_mib": round(after / 2**20, 1),
        "kib_per_connection": round((after - before) / IDLE / 1024, 2),
    }


async def w4(scene: Scene, warm_up: float, seconds: float, load: Load) -> Figures:
    """One device after the other comes back and fetches everything; connecting is counted in."""
    sender_device, *away = scene.devices(AWAY)
    sending = await scene.signed(sender_device)
    clients = [await scene.signed(device) for device in away]
    group = await scene.group(sending, away)
    for client in clients:
        await join(client)
        client.close()
    await _fill(sending, group)
    with apart(scene.processes):
        return await _fetch_all(scene, away, warm_up, seconds, load)


async def _fill(sending: ThinClient, group: bytes) -> None:
    """AWAY_MESSAGES messages, 64 in flight."""
    sender, done = Sender(sending, group), asyncio.get_running_loop().create_future()
    left, accepted = AWAY_MESSAGES, 0

    def answered(data: bytes) -> None:
        nonlocal left, accepted
        frame = decode_relay_frame(data)
        if isinstance(frame, f.Row):
            if frame.position.seq % ACKNOWLEDGE_EVERY == 0:
                acknowledge(sending, frame)
            return
        assert isinstance(frame, f.Accepted), frame
        accepted += 1
        if left:
            left -= 1
            sender.send(lambda _: None)
        elif accepted == AWAY_MESSAGES:
            done.set_result(None)

    sending.on_data = answered
    for _ in range(64):
        left -= 1
        sender.send(lambda _: None)
    await done


async def _fetch_all(
    scene: Scene, away: list[TestDevice], warm_up: float, seconds: float, load: Load
) -> Figures:
    begin = time.perf_counter()
    cpu = took = used = 0.0
    rss = 0
    for device in away:
        now = time.perf_counter()
        if not load.measuring and now - begin >= warm_up:
            load.measuring, begin, cpu = True, now, scene.processes.cpu()
        await _fetch_one(scene, device, load)
        took = time.perf_counter() - begin
        if load.measuring and took >= seconds:
            break
    used, rss = scene.processes.cpu() - cpu, scene.processes.rss()
    return summary(load, took, used, rss)


async def _fetch_one(scene: Scene, device: TestDevice, load: Load) -> None:
    begin, got = time.perf_counter(), 0
    done = asyncio.get_running_loop().create_future()

    def row_came(client: ThinClient, row: f.Row) -> None:
        nonlocal got
        got += 1
        load.received(row.send_id, begin)
        if got % ACKNOWLEDGE_EVERY == 0 or got == AWAY_MESSAGES:
            acknowledge(client, row)
        if got == AWAY_MESSAGES:
            done.set_result(None)

    client = await scene.signed(device, row_came)
    await done
    client.close()


WORKLOADS: Final[dict[str, Callable[[Scene, float, float, Load], Awaitable[Figures]]]] = {
    "w1": w1,
    "w1light": w1light,
    "w2": w2,
    "w3": w3,
    "w4": w4,
}


async def run(name: str, warm_up: float, seconds: float, tls: bool, nodes: int = 0) -> Figures:
    """One run of a workload on a fresh relay."""
    load = Load()
    async with scenes.running(tls, nodes) as scene:
        figures = await WORKLOADS[name](scene, warm_up, seconds, load)
        scene.hang_up()
        scene.stop()
        return {"workload": name, **figures, "missing": await scene.missing(load.arrived)}
