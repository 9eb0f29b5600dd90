"""Fixtures that put a test into a world of its own; the folders' conftest.py name them."""

import asyncio
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .actor import reconnect_quickly
from .relay_process import free_port
from .world import World, copy, make_template


@functools.cache
def _template(base: Path) -> tuple[Path, int]:
    """Once per run. The port is part of it: the vaults know the relay by it."""
    reconnect_quickly()
    port = free_port()
    asyncio.run(make_template(base / "template", port))
    return base / "template", port


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The folder of an establishment to copy, and the port of its relay."""
    return _template(tmp_path_factory.getbasetemp())


@pytest.fixture
async def world(template: tuple[Path, int], tmp_path: Path) -> AsyncIterator[World]:
    """A copy of the template; the relay is not started."""
    folder, port = template
    async with copy(folder, tmp_path / "world", port) as copied:
        yield copied
