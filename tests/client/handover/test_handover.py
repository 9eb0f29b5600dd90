"""Handing a command to the process that has the vault: replies stream, strangers get nothing."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pli_client import handover as handover_module
from pli_client.errors import HandoverFailed, WrongPassphrase
from pli_client.handover import (
    ADDRESS_FILE,
    LONGEST_LINE,
    SOCKET_FILE,
    HandedOverError,
    Handover,
    Reply,
    Request,
    call,
)
from pli_client.i18n import Language

WAYS = [True] if sys.platform == "win32" else [False, True]


class Owner:
    """What a command line does in the vault's owner."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.started = asyncio.Event()

    async def __call__(self, request: Request) -> AsyncGenerator[Reply, None]:
        match request.command:
            case "echo":
                yield {"args": request.args}
                yield {"language": request.language}
            case "fail":
                yield {"before": 1}
                raise WrongPassphrase()
            case "bug":
                raise KeyError("secret detail")
            case "many":
                for number in range(2000):
                    yield {"number": number, "text": "é" * 500}
            case "huge":
                yield {"text": "x" * LONGEST_LINE}
            case "wait":
                self.started.set()
                try:
                    yield {"waiting": True}
                    await asyncio.Event().wait()
                finally:
                    self.stopped.set()


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture(params=WAYS, ids=lambda tcp: "tcp" if tcp else "socket")
async def served(
    request: pytest.FixtureRequest, tmp_path: Path, owner: Owner
) -> AsyncIterator[Path]:
    async with await Handover.serve(tmp_path, owner, tcp=request.param):
        yield tmp_path


async def replies(folder: Path, request: Request) -> list[Reply]:
    return [reply async for reply in call(folder, request)]


async def test_a_command_and_its_replies_go_over(served: Path) -> None:
    args = {"text": "Bonjour à tous\n", "urgent": True, "files": ["a", "b"]}
    assert await replies(served, Request("echo", args, "en")) == [
        {"args": args},
        {"language": "en"},
    ]
    assert await replies(served, Request("nothing")) == []


async def test_an_error_of_the_owner_reaches_the_caller_in_its_language(served: Path) -> None:
    seen: list[Reply] = []

    async def ask(language: Language) -> None:
        async for reply in call(served, Request("fail", {}, language)):
            seen.append(reply)

    texts: dict[Language, str] = {"fr": "La phrase secrète est fausse.", "en": "The passphrase is"}
    for language, text in texts.items():
        with pytest.raises(HandedOverError) as raised:
            await ask(language)
        assert (raised.value.code, raised.value.exit_code) == ("wrong-passphrase", 3)
        assert str(raised.value).startswith(text)
    assert seen == [{"before": 1}] * 2


@pytest.mark.parametrize("command", ["bug", "huge"])
async def test_a_bug_of_the_owner_is_an_error_and_tells_no_detail(
    served: Path, command: str
) -> None:
    with pytest.raises(HandedOverError) as raised:
        await replies(served, Request(command))
    assert raised.value.code == "error"
    assert "secret detail" not in str(raised.value)
    assert len(await replies(served, Request("echo"))) == 2


async def test_many_replies_stream_in_order(served: Path) -> None:
    numbers = [reply["number"] async for reply in call(served, Request("many"))]
    assert numbers == list(range(2000))


async def test_callers_do_not_wait_for_one_another(served: Path, owner: Owner) -> None:
    waiting = call(served, Request("wait"))
    assert await anext(waiting) == {"waiting": True}
    assert len(await replies(served, Request("echo"))) == 2
    await waiting.aclose()


async def test_a_caller_that_hangs_up_ends_its_command(served: Path, owner: Owner) -> None:
    waiting = call(served, Request("wait"))
    await anext(waiting)
    assert not owner.stopped.is_set()
    await waiting.aclose()
    await owner.stopped.wait()


async def test_a_request_that_is_none_is_not_answered(served: Path) -> None:
    for nonsense in (b"hello\n", b"{}\n", b"\n", b"x" * (LONGEST_LINE + 10), b""):
        reader, writer = await connected(served)
        writer.write(nonsense)
        with contextlib.suppress(OSError):
            await writer.drain()
            writer.write_eof()
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()
    assert len(await replies(served, Request("echo"))) == 2


async def connected(folder: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if (folder / ADDRESS_FILE).exists():
        address = msgspec.json.decode((folder / ADDRESS_FILE).read_bytes())
        reader, writer = await asyncio.open_connection("127.0.0.1", address["port"])
        assert await handover_module._owner_knows(reader, writer, address["token"])
        return reader, writer
    assert sys.platform != "win32"
    return await asyncio.open_unix_connection(str(folder / SOCKET_FILE))


async def test_over_tcp_only_the_token_opens(tmp_path: Path, owner: Owner) -> None:
    async with await Handover.serve(tmp_path, owner, tcp=True):
        file = tmp_path / ADDRESS_FILE
        address = msgspec.json.decode(file.read_bytes())
        assert len(address["token"]) == 64
        good = file.read_bytes()
        for token in ("", "0" * 64, address["token"][:-1]):
            file.write_bytes(msgspec.json.encode({**address, "token": token}))
            with pytest.raises(HandoverFailed):
                await replies(tmp_path, Request("echo"))
        file.write_bytes(good)
        assert len(await replies(tmp_path, Request("echo"))) == 2


async def test_whoever_took_a_dead_owners_port_learns_neither_token_nor_command(
    tmp_path: Path,
) -> None:
    """On a computer of several people the port of a stale address may be anybody's."""
    heard = asyncio.Queue[bytes]()

    async def squat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        writer.write(os.urandom(32).hex().encode() + b"0" * 64 + b"\n")
        with contextlib.suppress(OSError):
            await writer.drain()
            heard.put_nowait(first + await reader.read())
        writer.close()

    squatter = await asyncio.start_server(squat, "127.0.0.1", 0)
    token = os.urandom(32).hex()
    address = {"port": squatter.sockets[0].getsockname()[1], "token": token}
    (tmp_path / ADDRESS_FILE).write_bytes(msgspec.json.encode(address))
    async with squatter:
        with pytest.raises(HandoverFailed):
            await replies(tmp_path, Request("echo", {"text": "Mme Petit"}))
        async with asyncio.timeout(10):
            learned = await heard.get()
    assert token.encode() not in learned
    assert b"Mme Petit" not in learned
    assert len(learned.splitlines()) == 1


async def test_a_callers_proof_is_good_for_one_connection(tmp_path: Path, owner: Owner) -> None:
    async with await Handover.serve(tmp_path, owner, tcp=True):
        address = msgspec.json.decode((tmp_path / ADDRESS_FILE).read_bytes())
        answers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", address["port"])
            writer.write(bytes(32).hex().encode() + b"\n")
            answers.append(await reader.readline())
            # What the owner said itself is no caller's proof.
            writer.write(answers[0][64:] + b'{"command": "echo"}\n')
            with contextlib.suppress(OSError):
                assert await reader.read() == b""
            writer.close()
        assert answers[0] != answers[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists instead of modes")
@pytest.mark.parametrize("tcp", WAYS)
async def test_only_the_owner_may_open_socket_or_token(
    tmp_path: Path, owner: Owner, tcp: bool
) -> None:
    async with await Handover.serve(tmp_path, owner, tcp=tcp):
        (file,) = tmp_path.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEERCRED is Linux's")
async def test_another_user_is_not_served_on_the_socket(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Handover.serve(tmp_path, owner, tcp=False):
        assert len(await replies(tmp_path, Request("echo"))) == 2
        mine = os.geteuid()
        # Both sides look: to each, the other is now somebody else.
        monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        with pytest.raises(HandoverFailed):
            await replies(tmp_path, Request("echo"))
        reader, writer = await connected(tmp_path)
        writer.write(msgspec.json.encode(Request("echo")) + b"\n")
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()


async def test_where_nobody_listens_the_call_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(HandoverFailed):
        await replies(tmp_path, Request("echo"))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no UNIX sockets")
async def test_what_a_dead_owner_left_is_replaced(tmp_path: Path, owner: Owner) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / SOCKET_FILE))
    (tmp_path / ADDRESS_FILE).write_bytes(b'{"port": 1, "token": "x"}')
    with pytest.raises(HandoverFailed):
        await replies(tmp_path, Request("echo"))
    async with await Handover.serve(tmp_path, owner, tcp=False):
        assert len(await replies(tmp_path, Request("echo"))) == 2


async def test_a_folder_whose_path_is_too_long_for_a_socket_is_served_too(
    tmp_path: Path, owner: Owner
) -> None:
    folder = tmp_path / ("dossier" * 20)
    folder.mkdir()
    async with await Handover.serve(folder, owner):
        assert (folder / ADDRESS_FILE).exists()
        assert len(await replies(folder, Request("echo"))) == 2


async def test_closing_ends_what_is_under_way(tmp_path: Path, owner: Owner) -> None:
    handover = await Handover.serve(tmp_path, owner)
    waiting = call(tmp_path, Request("wait"))
    await anext(waiting)
    await handover.close()
    assert owner.stopped.is_set()
    with pytest.raises(HandoverFailed):
        await anext(waiting)


async def test_more_callers_than_there_is_room_for_are_turned_away(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover_module, "MOST_CALLERS", 1)
    async with await Handover.serve(tmp_path, owner):
        first = call(tmp_path, Request("wait"))
        await anext(first)
        with pytest.raises(HandoverFailed):
            await replies(tmp_path, Request("echo"))
        await first.aclose()


CALLER = """
import asyncio, pathlib, sys
from pli_client.handover import Request, call
async def main():
    async for reply in call(pathlib.Path(sys.argv[1]), Request("echo", {"a": 1}, "fr")):
        print(reply)
asyncio.run(main())
"""


async def test_another_process_is_served(served: Path) -> None:
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", CALLER, str(served)],
        capture_output=True,
        text=True,
    )
    assert run.stdout.splitlines() == ["{'args': {'a': 1}}", "{'language': 'fr'}"], run.stderr
