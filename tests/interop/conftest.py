"""The processes that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .process import DriverProcess


@pytest.fixture(scope="module")
def driver() -> Iterator[DriverProcess]:
    """One driver of ours."""
    with DriverProcess() as process:
        yield process
