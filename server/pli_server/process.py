"""The relay as a process: log, event loop, signals, exit code."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from . import folder as folders
from . import sweep
from .errors import EXIT_STORAGE
from .listener import Listener
from .relay import Relay
from .settings import Settings, address_to_give
from .storage.faults import describe

log = logging.getLogger(__name__)


def run(folder: Path, settings: Settings, listen: str | None, as_json: bool) -> int:
    """Serve until a signal; returns the exit code (0, or 3 when the storage failed)."""
    if listen is not None:
        settings = msgspec.structs.replace(settings, listen=listen)
    _configure_log()

    def ready(url: str) -> None:
        address = address_to_give(settings, int(url.rpartition(":")[2]))
        if as_json:
            shown = {"event": "listening", "url": url, "name": settings.name, "address": address}
            click.echo(json.dumps(shown))
        else:
            click.echo(f"Relay '{settings.name}' listens on {url}; its clients use {address}")
        sys.stdout.flush()

    _raise_file_limit()
    with folders.locked(folder), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(serve(folder, settings, ready))


async def serve(
    folder: Path,
    settings: Settings,
    ready: Callable[[str], None],
    stop: asyncio.Event | None = None,
) -> int:
    """Start, say where, serve until `stop` (or a signal) or the storage fails, and stop in order."""
    stop = stop or asyncio.Event()
    _on_signals(stop)
    asyncio.get_running_loop().set_exception_handler(_name_nobody)
    relay = Relay(folder, settings)
    await relay.start()
    listener = Listener(relay)
    sweeping: asyncio.Task[None] | None = None
    try:
        ready(await listener.start())
        sweeping = asyncio.create_task(sweep.run(relay), name="pli sweep")
        waits = [asyncio.create_task(event.wait()) for event in (stop, relay.failed)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
    finally:
        if sweeping is not None:
            sweeping.cancel()
        await listener.stop()
        await relay.stop()
    if relay.failed.is_set():
        log.critical("stopped: the storage failed; check the disk before starting again")
        return EXIT_STORAGE
    log.info("stopped")
    return 0


def _raise_file_limit() -> None:
    """Each connection is an open file, and the usual limit is 1024: less than one address may open."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _name_nobody(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody caught. asyncio would print it with addresses and with whatever data it quotes."""
    error = context.get("exception")
    what = "no exception" if error is None else describe(error)
    log.error("a fault outside of any request: %s", what)


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop.set)
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


def _configure_log() -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
