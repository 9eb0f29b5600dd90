"""The relay as a process: log, event loop, signals, exit code."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from . import ends, service_manager, sweep
from . import folder as folders
from .addresses import address_to_give
from .backup import schedule
from .errors import EXIT_STORAGE
from .listener import Listener
from .log import configure
from .relay import Relay
from .samples import Samples
from .settings import Settings
from .storage.faults import describe
from .watching import Watching

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 20
"""How long a relay that stops waits for the disk."""

_M_MMAP_THRESHOLD: Final = -3
"""Of malloc.h: blocks above it are mapped by themselves; setting it keeps it from growing."""


def run(folder: Path, settings: Settings, listen: str | None, as_json: bool) -> int:
    """Serve until a signal; returns the exit code (0, or 3 when the storage failed)."""
    if listen is not None:
        settings = msgspec.structs.replace(settings, listen=listen)
    configure(settings.log)
    _raise_file_limit()
    _map_large_blocks()
    with folders.locked(folder) as tell, asyncio.Runner(loop_factory=_loop_factory()) as runner:

        def ready(url: str) -> None:
            tell(url=url)
            _say(settings, url, as_json)
            service_manager.tell(service_manager.READY)

        def watched(url: str) -> None:
            tell(metrics=url)

        return runner.run(serve(folder, settings, ready, watched=watched))


def _say(settings: Settings, url: str, as_json: bool) -> None:
    address = address_to_give(settings, int(url.rpartition(":")[2]))
    if as_json:
        shown = {"event": "listening", "url": url, "name": settings.name, "address": address}
        click.echo(json.dumps(shown))
    else:
        click.echo(f"Relay '{settings.name}' listens on {url}; its clients use {address}")
    sys.stdout.flush()


async def serve(
    folder: Path,
    settings: Settings,
    ready: Callable[[str], None],
    stop: asyncio.Event | None = None,
    *,
    watched: Callable[[str], None] = lambda url: None,
) -> int:
    """Start, say where, serve until `stop` (or a signal) or the storage fails, and stop in order.

    Args:
        ready: Told the URL once clients are served.
        watched: Told the URL of the figures, before that, or later where their port was taken.
    """
    stop, hurry = stop or asyncio.Event(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(_name_nobody)
    relay = Relay(folder, settings)
    await relay.start()
    listener, watching = Listener(relay), Watching(relay)
    _on_signals(stop, hurry, listener.reload)
    beside: list[asyncio.Task[None]] = []
    try:
        await watching.start(watched)
        ready(await listener.start())
        beside += [
            asyncio.create_task(sweep.run(relay), name="pli sweep"),
            asyncio.create_task(ends.run(relay), name="pli ends"),
            asyncio.create_task(listener.watch_certificate(), name="pli certificate"),
            asyncio.create_task(schedule.run(relay), name="pli backups"),
            asyncio.create_task(Samples(relay).run(), name="pli samples"),
            asyncio.create_task(service_manager.keep_alive(), name="pli watchdog"),
        ]
        for task in beside:
            task.add_done_callback(_ended)
        await _first(stop, relay.failed)
    finally:
        service_manager.tell(service_manager.STOPPING)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await watching.stop()
        await listener.stop(hurry)
        await _stopped(relay)
    if relay.failed.is_set():
        log.critical("stopped: the storage failed; check the disk before starting again")
        return EXIT_STORAGE
    log.info("stopped")
    return 0


def _ended(task: "asyncio.Task[None]") -> None:
    """What is done beside serving goes on for ever: an end by an error is told."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s ended: %s", task.get_name(), describe(error))


async def _first(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _stopped(relay: Relay) -> None:
    """Write what waits. A disk that does not come back would hold the process for ever."""
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            await relay.stop()
    except TimeoutError:
        log.critical("stopped: the disk did not take what was waiting; nothing of it was answered")
        # Its thread still waits for the disk, and would be waited for.
        os._exit(EXIT_STORAGE)


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual limit is 1024: less than one address may open."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _map_large_blocks() -> None:
    """A TLS connection holds a buffer of 256 KiB of which it touches a page or two. From the heap, where the
    C library begins to take such blocks once one was freed, it costs 20 KiB more for each connection."""
    if sys.platform != "linux":
        return
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl not
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 64 * 1024)


def _name_nobody(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught. asyncio would print it with addresses and with whatever data it quotes."""
    error = context.get("exception")
    what = "no exception" if error is None else describe(error)
    log.error("a fault outside of any request: %s", what)


def _on_signals(stop: asyncio.Event, hurry: asyncio.Event, reload: Callable[[], None]) -> None:
    """The first signal stops in order; the second does not wait for clients any more; SIGHUP reloads."""
    loop = asyncio.get_running_loop()

    def stopping() -> None:
        (hurry if stop.is_set() else stop).set()

    does: dict[int, Callable[[], None]] = {signal.SIGTERM: stopping, signal.SIGINT: stopping}
    if hasattr(signal, "SIGHUP"):
        does[signal.SIGHUP] = reload
    for number, function in does.items():
        try:
            loop.add_signal_handler(number, function)
        except (NotImplementedError, RuntimeError, ValueError):
            # Windows, or not the main thread: a signal ends the process without ceremony.
            return


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
