"""Checks of the machine: the folder's permissions, disk, flushes, open files, memory."""

import os
import shutil
import stat
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from .findings import Finding, Situation, fail, ok, warn

GIB: Final = 2**30
SPACE_WARN, SPACE_FAIL = 5 * GIB, GIB // 4
"""Bytes free below which there is something to do; on a small disk a tenth, a hundredth of it."""
INODES_WARN: Final = 0.05
FLUSHES: Final = 20
FLUSH_WARN_MS, FLUSH_FAIL_MS = 20.0, 200.0
SPARE_FILES: Final = 256
"""Open files besides connections: database, blobs, log."""
MEMORY_WARN: Final = GIB // 4


def permissions(situation: Situation) -> Iterable[Finding]:
    """The folder is for the relay's user alone, and usable."""
    folder = situation.folder
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield fail(
            "permissions", f"{folder} cannot be used by this user", "run as the relay's user"
        )
        return
    if sys.platform == "win32":
        yield ok("permissions", "the folder can be used")
        return
    owner = folder.stat().st_uid
    top = [folder, *folder.iterdir()]
    if any(stat.S_IMODE(path.stat().st_mode) & 0o077 for path in top):
        yield fail("permissions", "others may read the relay's files", f"chmod -R go= {folder}")
    elif any(path.stat().st_uid != owner for path in top):
        yield fail(
            "permissions",
            "files in the folder belong to different users",
            f"chown -R {owner} {folder}",
        )
    elif os.geteuid() != owner:
        # What it writes (a database's log, a lock) would be another user's.
        yield warn(
            "permissions",
            "this is not the relay's user",
            f"runuser -u '#{owner}' -- pli-server doctor {folder}",
        )
    else:
        yield ok("permissions", "the relay's user alone")


def disk_space(situation: Situation) -> Iterable[Finding]:
    """Bytes and inodes that are left."""
    usage = shutil.disk_usage(situation.folder)
    text = f"{_gib(usage.free)} free of {_gib(usage.total)}"
    remedy = "free some space, or shorten [retention] days"
    if usage.free < min(SPACE_FAIL, usage.total // 100):
        yield fail("disk space", text, remedy)
    elif usage.free < min(SPACE_WARN, usage.total // 10):
        yield warn("disk space", text, remedy)
    else:
        yield ok("disk space", text)
    if hasattr(os, "statvfs"):
        found = os.statvfs(situation.folder)
        if found.f_files and found.f_favail < found.f_files * INODES_WARN:
            yield warn(
                "inodes", f"{found.f_favail} left", "remove files, or make a file system anew"
            )


def flushes(situation: Situation) -> Iterable[Finding]:
    """How long this disk takes to flush: every answer of the relay waits for one."""
    times = []
    with tempfile.NamedTemporaryFile(dir=situation.folder, prefix=".doctor-") as file:
        for _ in range(FLUSHES):
            file.write(bytes(4096))
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - begun) * 1000)
    median = statistics.median(times)
    text = f"{median:.2f} ms each"
    if median > FLUSH_FAIL_MS:
        yield fail(
            "flushes", text, "use a local disk, not a network file system; look for a dying one"
        )
    elif median > FLUSH_WARN_MS:
        yield warn("flushes", text, "people wait for each flush: a faster disk helps")
    else:
        yield ok("flushes", text)


def open_files(situation: Situation) -> Iterable[Finding]:
    """Each connection is an open file."""
    if sys.platform == "win32":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = situation.settings.limits.connections + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield warn(
            "open files",
            f"{hard} for this user, {needed} for as many connections as the settings allow",
            "LimitNOFILE= in the systemd unit, or lower [limits] connections",
        )
    else:
        yield ok("open files", f"enough for {situation.settings.limits.connections} connections")


def memory(_: Situation) -> Iterable[Finding]:
    """What the system could still give (Linux)."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        return
    values = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(values["MemAvailable"].split()[0]) * 1024
    if available < MEMORY_WARN:
        yield warn("memory", f"{available // 2**20} MiB available", "add memory, or stop something")
    else:
        yield ok("memory", f"{_gib(available)} available")


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
