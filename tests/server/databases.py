"""Databases for tests: an SQLite file or a PostgreSQL database each, made by copying a prepared one."""

import asyncio
import atexit
import functools
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import sqlalchemy as sa

from pli_server import folder as folders
from pli_server.settings import FILE_NAME
from pli_server.settings_file import template
from pli_server.storage.database import Database, Use
from pli_server.storage.url import DatabaseURL

T = TypeVar("T")

SQLITE, POSTGRESQL = "sqlite", "postgresql"
ENGINES = (SQLITE, pytest.param(POSTGRESQL, marks=pytest.mark.needs_postgresql))


def new_folder(folder: Path, engine: str = SQLITE) -> str:
    """A relay's folder with a database of its own; returns its first establishment code."""
    made, code = _prepared(engine)
    shutil.copytree(made, folder)
    if engine == POSTGRESQL:
        url = new_database(template_of=_template_name())
        (folder / FILE_NAME).write_text(template("relay.test", "127.0.0.1:0", database_url=url))
    return code


def drop_folder(folder: Path) -> None:
    """Its PostgreSQL database goes; the folder is the test's own."""
    from pli_server.settings import load

    url = load(folder).database_url
    if url is not None:
        drop_database(url.reveal())


@functools.cache
def _prepared(engine: str) -> tuple[Path, str]:
    """A relay's folder as `init` makes it, made once: a schema takes longer than most tests."""
    made = tempfile.mkdtemp(prefix="pli-template-")
    atexit.register(shutil.rmtree, made, True)
    folder, text = Path(made) / "relay", template("relay.test", "127.0.0.1:0")
    if engine == SQLITE:
        return folder, folders.make(folder, text)
    run_elsewhere(_execute(_server_url(), f'CREATE DATABASE "{_template_name()}"'))
    url = _url_of(_template_name())
    return folder, _elsewhere(folders.make, folder, text, DatabaseURL(url))


def new_database(template_of: str | None = None) -> str:
    """An empty PostgreSQL database, or a copy of another one; returns its URL."""
    name = f"pli_test_{uuid.uuid4().hex}"
    copied = "" if template_of is None else f' TEMPLATE "{template_of}"'
    run_elsewhere(_execute(_server_url(), f'CREATE DATABASE "{name}"{copied}'))
    return _url_of(name)


def drop_database(url: str) -> None:
    name = urlsplit(url).path.strip("/")
    run_elsewhere(_execute(_server_url(), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))


def forget_templates() -> None:
    """At the end of a run."""
    if _template_name.cache_info().currsize:
        drop_database(_url_of(_template_name()))


def ask(database: Database, use: Use, function: Callable[[sa.Connection], T]) -> T:
    """Call a function with a connection of its own."""

    def call() -> T:
        lane = database.lane(use)
        try:
            return lane.run(function)
        finally:
            lane.close()

    return _elsewhere(call)


@functools.cache
def _template_name() -> str:
    return f"pli_template_{os.getpid()}_{uuid.uuid4().hex[:8]}"


def _server_url() -> str:
    return os.environ["PLI_TEST_POSTGRES"]


def _url_of(name: str) -> str:
    return urlunsplit(urlsplit(_server_url())._replace(path=f"/{name}"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def run_elsewhere(coroutine: Coroutine[Any, Any, T]) -> T:
    return _elsewhere(asyncio.run, coroutine)


def _elsewhere(function: Callable[..., T], *arguments: object) -> T:
    """On a thread without an event loop of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()
