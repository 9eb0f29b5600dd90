"""From a command to its work: by the process that has the vault, or here, for as long as it takes.

Work is a `Request` (a name and JSON arguments) and gives replies, which are JSON objects; so it is the
same whether it is handed over (pli_client.handover) or done here. Replies of kind `notice` go to stderr
and may set the exit code; the others are the answer.
"""

import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pli_protocol.secret import Secret

from ..errors import PliError, VaultBusy, VaultMissing, VaultWiped
from ..i18n import _
from . import passphrases
from .options import Settings, settings
from .output import say_json, show_progress, tell

if TYPE_CHECKING:
    from ..client import Client
    from ..handover import Handler, Request

Reply = dict[str, Any]
Show = Callable[[Reply], None]

VAULT_FILE = "vault.json"
_TRIES = 20
_PAUSE = 0.25
_SILENCE = 3.0
"""Seconds without a word, after which one says what is waited for."""


def carry_out(
    command: str, show: Show, *, nothing: str = "", keep: Show | None = None, **arguments: Any
) -> int:
    """Do a command's work on the vault, show its replies; the exit code.

    Args:
        nothing: what people are told on stderr where the answer is empty: silence looks like a fault.
        keep: what is done with each reply before it is shown, also as JSON.
    """
    from ..handover import Request

    asked = settings()
    request = Request(command, arguments)
    if not (asked.folder() / VAULT_FILE).exists():
        raise no_vault(asked.folder())
    answer = Answer(asked, show, keep)
    if not run(hand_over(asked.folder(), request, answer)):
        passphrase = passphrases.known(asked)
        run(_work_here(asked.folder(), passphrase, request, answer))
    if nothing and not (answer.given or answer.exit_code or asked.json):
        tell(nothing)
    return answer.exit_code


def no_vault(folder: Path) -> PliError:
    """Why there is none in a folder: there never was, or it was wiped."""
    from ..vault.wiping import wiped

    reason = wiped(folder)
    return VaultMissing(folder=folder) if reason is None else VaultWiped(reason)


def run(work: Awaitable[Any]) -> Any:
    """Run to the end; Ctrl-C cancels it and everything it opened is closed."""

    import asyncio

    async def main() -> Any:
        # A service manager's SIGTERM ends as Ctrl-C does: what is open is closed.
        task = asyncio.current_task()
        assert task is not None
        with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows; not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await work

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class Answer:
    """Where replies go."""

    def __init__(self, asked: Settings, show: Show, keep: Show | None = None) -> None:
        self._asked, self._show, self._keep = asked, show, keep
        self.exit_code = 0
        self.given = False

    def take(self, reply: Reply) -> None:
        if reply.get("kind") == "notice":
            tell(str(reply.get("text", "")))
            self.exit_code = int(reply.get("exit_code", 0)) or self.exit_code
        elif reply.get("kind") == "progress":
            if not self._asked.json:
                show_progress(str(reply["name"]), int(reply["done"]), int(reply["total"]))
        else:
            self.given = True
            if self._keep is not None:
                self._keep(reply)
            say_json(reply) if self._asked.json else self._show(reply)
        sys.stdout.flush()


async def hand_over(folder: Path, request: "Request", answer: Answer) -> bool:
    """Whether the process that has the vault did it; False: nobody has it, nothing was done."""
    from ..errors import HandoverFailed
    from ..handover import ADDRESS_FILE, SOCKET_FILE, call

    if not any((folder / name).exists() for name in (SOCKET_FILE, ADDRESS_FILE)):
        return False
    begun = False
    try:
        async for reply in call(folder, request):
            begun = True
            answer.take(reply)
    except HandoverFailed:
        if begun:
            raise
        return False
    return True


async def _work_here(folder: Path, passphrase: Secret, request: "Request", answer: Answer) -> None:
    from .work import perform

    async def here() -> None:
        async with opened(folder, passphrase) as client, saying_that_it_waits(client):
            async for reply in perform(client, request):
                answer.take(reply)

    await when_free(folder, request, answer, here)


@contextlib.asynccontextmanager
async def saying_that_it_waits(client: "Client") -> AsyncIterator[None]:
    """A word on stderr where the relay takes its time: silence looks like a fault."""
    import asyncio

    def say() -> None:
        from ..connection.state import Online

        if not isinstance(client.state, Online):
            tell(_("Waiting for the relay…"))

    timer = asyncio.get_running_loop().call_later(_SILENCE, say)
    try:
        yield
    finally:
        timer.cancel()


async def when_free(
    folder: Path, request: "Request", answer: Answer, here: Callable[[], Awaitable[None]]
) -> None:
    """Do the work here, or have it done by who has the vault; another short command ends soon.

    Raises:
        VaultBusy: somebody keeps the vault and takes no work.
    """
    import asyncio

    for _try in range(_TRIES):
        try:
            return await here()
        except VaultBusy:
            if await hand_over(folder, request, answer):
                return
            await asyncio.sleep(_PAUSE)
    raise VaultBusy()


async def patiently(work: Callable[[], Awaitable[None]]) -> None:
    """Long work on a vault that a short command may have at this moment."""
    import asyncio

    for _try in range(_TRIES):
        try:
            return await work()
        except VaultBusy:
            await asyncio.sleep(_PAUSE)
    raise VaultBusy()


@contextlib.asynccontextmanager
async def opened(folder: Path, passphrase: Secret) -> AsyncIterator["Client"]:
    """The vault, open, with other commands' work taken over while it is."""
    from .. import connect
    from .work import perform

    async with (
        connect(folder, passphrase) as client,
        taking_over(folder, lambda request: perform(client, request)),
    ):
        yield client


@contextlib.asynccontextmanager
async def taking_over(folder: Path, handler: "Handler") -> AsyncIterator[None]:
    """Take other commands' work; what was begun is done before the vault is closed."""
    import asyncio

    from ..handover import Handover

    under_way = 0
    quiet = asyncio.Event()
    quiet.set()

    async def counted(request: "Request") -> AsyncIterator[Reply]:
        nonlocal under_way
        under_way += 1
        quiet.clear()
        try:
            async for reply in handler(request):
                yield reply
        finally:
            under_way -= 1
            if not under_way:
                quiet.set()

    try:
        handover = await Handover.serve(folder, counted)
    except OSError:
        # No way to listen (a file system without sockets): this process works alone.
        yield
        return
    async with handover:
        try:
            yield
        finally:
            await quiet.wait()
