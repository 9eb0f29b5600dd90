"""A world as the version before left it: groups and key packages of suite 0x0003, on real parts."""

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest

from pli_client import client as sdk
from pli_client.engine import (
    candidates,
    coming_back,
    committing,
    founding,
    joining,
    key_package_stock,
    profile,
    returning,
)
from pli_protocol.mls.ciphersuite import suite

from .actor import reconnect_quickly
from .relay_process import free_port
from .world import PATIENCE, PEOPLE, World, copy, make_template

OLD = suite(0x0003)
TEAM = "Étage 2"
"""A conversation of Amélie, Bruno and Chloé."""

_MODULES = (
    profile,
    candidates,
    coming_back,
    committing,
    founding,
    joining,
    key_package_stock,
    returning,
    sdk,
)


@contextmanager
def before() -> Iterator[None]:
    """The client as it was: it knows the old suite only."""
    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(mock.patch.object(module, "SUITE", OLD))
        for module in (profile, returning):
            stack.enter_context(mock.patch.object(module, "SUITES", frozenset({OLD.number})))
        yield


async def make_old_template(folder: Path, port: int) -> None:
    """The template, by the client of before, and a conversation of three in which all have written."""
    with before():
        await make_template(folder, port)
        async with World(folder, port) as world:
            await world.relay.start()
            async with asyncio.timeout(PATIENCE):
                actors = [await world.open(who) for who in ("amelie", "bruno", "chloe")]
                others = [PEOPLE[who].name for who in ("bruno", "chloe")]
                team = await actors[0].start(TEAM, *others)
                await actors[0].stored(await actors[0].send(team, "avant, d’amelie"))
                for name, actor in zip(("bruno", "chloe"), actors[1:], strict=True):
                    await actor.conversation(TEAM)
                    await actor.stored(await actor.send(team, f"avant, de {name}"))
                for actor in actors:
                    await actor.settled()
                for actor in actors:
                    await actor.close()


@functools.cache
def _template(base: Path) -> tuple[Path, int]:
    """Once per run."""
    reconnect_quickly()
    port = free_port()
    asyncio.run(make_old_template(base / "old-suite", port))
    return base / "old-suite", port


@pytest.fixture(scope="session")
def old_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of such an establishment to copy, and the port of its relay."""
    return _template(tmp_path_factory.getbasetemp())


@pytest.fixture
async def old_world(old_template: tuple[Path, int], tmp_path: Path) -> AsyncIterator[World]:
    """A copy of it; the relay is not started."""
    folder, port = old_template
    async with copy(folder, tmp_path / "world", port) as copied:
        yield copied
