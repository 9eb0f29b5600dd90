"""A disk that fails on demand: strace injects errors into the system calls of a running process."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

WRITES = "write,pwrite64,ftruncate,fallocate"
SYNCS = "fsync,fdatasync"


@asynccontextmanager
async def failing(pid: int, calls: str, error: str, log: Path) -> AsyncIterator[None]:
    """While the block runs, these calls of the process fail with this error (EIO, ENOSPC)."""
    log.write_bytes(b"")
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-q", "-o", str(log), "-p", str(pid)),
        *("-e", f"trace={calls}", "-e", f"inject={calls}:error={error}", "-e", "signal=none"),
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        await _attached(pid, tracer, tracer.stderr)
        yield
    finally:
        if tracer.returncode is None:
            tracer.terminate()
        await tracer.wait()


async def _attached(
    pid: int, tracer: asyncio.subprocess.Process, stderr: asyncio.StreamReader
) -> None:
    """Until all threads are traced: the kernel says so, strace with -q does not."""
    async with asyncio.timeout(20):
        while not _traced(pid):
            if tracer.returncode is not None:
                said = (await stderr.read()).decode()
                refuse = (
                    pytest.fail
                    if "strace" in os.environ.get("PLI_TEST_REQUIRE", "")
                    else pytest.skip
                )
                refuse(f"strace may not attach to a running process here: {said.strip()}")
            await asyncio.sleep(0.01)


def _traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks)


def injected(log: Path) -> int:
    """How many calls failed by our doing."""
    return log.read_text(errors="replace").count("(INJECTED)")
