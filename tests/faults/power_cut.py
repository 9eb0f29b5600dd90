"""A power cut, simulated: what a process wrote and flushed is recorded by strace, and its files are rebuilt
from what was flushed before the cut, alone or with any part of what was not.

`kill -9` finds no missing fsync: the kernel still has what was written. A power cut does not.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "write,writev,sendto,sendmsg,pwrite64,pwritev,ftruncate,fsync,fdatasync"
COMMAND = (
    "strace",
    "-f",
    "-y",
    "-xx",
    "-s",
    "1000000",
    "-e",
    f"trace={CALLS}",
    "-e",
    "signal=none",
)

_CALL = re.compile(r"^(\d+) +(\w+)\(\d+<([^>]*)>(.*)$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>")
_QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_SYNCS = {"fsync", "fdatasync"}


@dataclass(frozen=True)
class Write:
    """Bytes written to a file; `offset` None: at its end."""

    path: str
    data: bytes
    offset: int | None


@dataclass(frozen=True)
class Truncate:
    """A file cut or extended to a length."""

    path: str
    length: int


@dataclass(frozen=True)
class SyncBegun:
    """From here on writes may miss the flush."""

    path: str


@dataclass(frozen=True)
class SyncDone:
    """What was written before it began is on the disk."""

    path: str


@dataclass(frozen=True)
class Sent:
    """Bytes that begin to leave by a socket."""

    socket: str
    data: bytes


Event = Write | Truncate | SyncBegun | SyncDone | Sent


def events(log: Path) -> list[Event]:
    """What strace recorded, in its order. A call that another thread interrupted counts from its begin."""
    found: list[Event] = []
    syncing: dict[str, str] = {}
    for line in log.read_text(errors="replace").splitlines():
        if resumed := _RESUMED.match(line):
            if resumed[2] in _SYNCS:
                found += _done(syncing.pop(resumed[1]), line)
            continue
        if (call := _CALL.match(line)) is None:
            continue
        thread, name, shown, rest = call.groups()
        target = _text(shown)
        if name in _SYNCS:
            found.append(SyncBegun(target))
            if rest.endswith("<unfinished ...>"):
                syncing[thread] = target
            else:
                found += _done(target, line)
        else:
            found += _written(name, target, rest)
    return found


def _done(path: str, line: str) -> list[Event]:
    return [SyncDone(path)] if line.endswith("= 0") else []


def _written(name: str, target: str, rest: str) -> Iterator[Event]:
    data = b"".join(_bytes(quoted) for quoted in _QUOTED.findall(rest))
    if target.startswith(("socket:", "TCP:")):
        yield Sent(target, data)
    elif name == "ftruncate":
        length = re.match(r", (\d+)", rest)
        assert length is not None, rest
        yield Truncate(target, int(length[1]))
    elif target.startswith("/"):
        offset = re.search(r", \d+, (\d+)(?:\)| <unfinished)", rest) if name == "pwrite64" else None
        assert name != "pwritev", "not used by SQLite"
        yield Write(target, data, None if offset is None else int(offset[1]))


def _bytes(quoted: str) -> bytes:
    return bytes.fromhex(quoted.replace("\\x", ""))


def _text(shown: str) -> str:
    return _bytes(shown).decode() if shown.startswith("\\x") else shown


@dataclass
class Disk:
    """Files as a disk would hold them: flushed content, and changes that may or may not have got there."""

    flushed: dict[str, bytearray] = field(default_factory=dict)
    waiting: dict[str, list[Write | Truncate]] = field(default_factory=dict)
    _syncing: dict[str, list[int]] = field(default_factory=dict)
    _lengths: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path) -> "Disk":
        """All files of a folder, taken as flushed."""
        files = {str(p): bytearray(p.read_bytes()) for p in folder.rglob("*") if p.is_file()}
        return cls(files, _lengths={path: len(data) for path, data in files.items()})

    def apply(self, event: Event) -> None:
        """One more thing happened."""
        match event:
            case Write(path, data, offset):
                end = self._lengths.get(path, 0)
                place = end if offset is None else offset
                self._lengths[path] = max(end, place + len(data))
                self.waiting.setdefault(path, []).append(Write(path, data, place))
            case Truncate(path, length):
                self._lengths[path] = length
                self.waiting.setdefault(path, []).append(event)
            case SyncBegun(path):
                self._syncing.setdefault(path, []).append(len(self.waiting.get(path, ())))
            case SyncDone(path):
                self._flush(path, self._syncing[path].pop(0))
            case Sent():
                pass

    def _flush(self, path: str, count: int) -> None:
        for change in self.waiting.get(path, [])[:count]:
            change_file(self.flushed.setdefault(path, bytearray()), change)
        self.waiting[path] = self.waiting.get(path, [])[count:]
        self._syncing[path] = [max(0, other - count) for other in self._syncing[path]]

    def after_cut(self, chance: random.Random | None) -> dict[str, bytes]:
        """What is found after the power comes back.

        Args:
            chance: which of the unflushed changes got there, some of them in part; None: none of them.
        """
        files = {path: bytearray(data) for path, data in self.flushed.items()}
        for path, changes in self.waiting.items():
            for change in changes if chance is not None else ():
                assert chance is not None
                luck = chance.random()
                if luck < 0.4:
                    change_file(files.setdefault(path, bytearray()), change)
                elif luck < 0.5 and isinstance(change, Write):
                    torn = Write(
                        path, change.data[: chance.randrange(len(change.data))], change.offset
                    )
                    change_file(files.setdefault(path, bytearray()), torn)
        return {path: bytes(data) for path, data in files.items()}


def change_file(content: bytearray, change: Write | Truncate) -> None:
    """Apply one change to a file's content."""
    if isinstance(change, Truncate):
        del content[change.length :]
        content.extend(bytes(change.length - len(content)))
        return
    assert change.offset is not None
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def rebuilt(files: dict[str, bytes], folder: Path, target: Path) -> None:
    """Write a folder's files as they were found into another place; shared memory is gone with the power."""
    for path, data in files.items():
        if path.startswith(f"{folder}/") and not path.endswith(("-shm", ".lock")):
            place = target / Path(path).relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)


def messages(sent: Sequence[bytes]) -> Iterator[bytes]:
    """The WebSocket messages (unmasked, whole frames) in what left by one socket, after the upgrade."""
    stream = b"".join(sent)
    start = stream.index(b"\r\n\r\n") + 4
    while start + 2 <= len(stream):
        length, body = stream[start + 1], start + 2
        if length == 126:
            length, body = int.from_bytes(stream[start + 2 : start + 4], "big"), start + 4
        elif length == 127:
            length, body = int.from_bytes(stream[start + 2 : start + 10], "big"), start + 10
        if stream[start] == 0x82 and body + length <= len(stream):
            yield stream[body : body + length]
        start = body + length
