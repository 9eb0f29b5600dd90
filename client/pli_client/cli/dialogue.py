"""A command that asks in between: one vault, or one connection, for all of its questions and answers."""

import contextlib
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from pli_protocol.secret import Secret

from ..errors import EXIT_PASSPHRASE, HandoverFailed, PliError
from ..i18n import N_, _
from . import passphrases
from .options import Settings
from .output import tell

if TYPE_CHECKING:
    from ..handover import Handler

T = TypeVar("T")

Reply = dict[str, Any]
Local = Callable[[Path, Secret], "AbstractAsyncContextManager[Handler]"]
"""Opens the vault here, for a folder and its passphrase."""


class Ask(Protocol):
    """Has a request carried out; its replies."""

    async def __call__(self, command: str, **arguments: Any) -> list[Reply]: ...


class NoCode(PliError):
    code = "no-code"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("There is no terminal to ask for the code.")
    REMEDY = N_("Give it with --code, or on standard input.")


@contextlib.asynccontextmanager
async def dialogue(folder: Path, asked: Settings, local: Local) -> AsyncIterator[Ask]:
    """Requests to the process that has the vault; where none has, to the vault opened here."""
    async with contextlib.AsyncExitStack() as stack:
        handler: Handler | None = None

        async def ask(command: str, **arguments: Any) -> list[Reply]:
            from ..handover import Request

            nonlocal handler
            request = Request(command, arguments)
            if handler is None:
                handed = await _handed_over(folder, request)
                if handed is not None:
                    return handed
                passphrase = await _aside(passphrases.known, asked)
                handler = await stack.enter_async_context(local(folder, passphrase))
            return _answers([reply async for reply in handler(request)])

        yield ask


async def _aside(function: Callable[..., T], *arguments: Any) -> T:
    """On a thread: while a person types, the connection goes on answering."""
    import asyncio

    return await asyncio.to_thread(function, *arguments)


async def _handed_over(folder: Path, request: Any) -> list[Reply] | None:
    from ..handover import ADDRESS_FILE, SOCKET_FILE, call

    if not any((folder / name).exists() for name in (SOCKET_FILE, ADDRESS_FILE)):
        return None
    replies: list[Reply] = []
    try:
        async for reply in call(folder, request):
            replies.append(reply)
    except HandoverFailed:
        if replies:
            raise
        return None
    return _answers(replies)


def _answers(replies: list[Reply]) -> list[Reply]:
    """The notices are told; the rest is the answer."""
    for reply in replies:
        if reply["kind"] == "notice":
            tell(str(reply["text"]))
    return [reply for reply in replies if reply["kind"] != "notice"]


# --- what is typed ------------------------------------------------------------------------------

password_option: Final = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Read the account password from the first line of this file."),
)
code_option: Final = click.option(
    "--code",
    metavar=_("CODE"),
    help=_("The code of your second factor, or a recovery code (else it is asked for)."),
)


async def typed_password(file: Path | None, prompt: str | None = None) -> str:
    """The account password, from its file or the keyboard."""
    prompt = prompt or _("Account password: ")
    return await _aside(passphrases.password, file, prompt)


async def chosen_password(file: Path | None) -> str:
    """A new account password, typed twice."""
    return await _aside(passphrases.chosen_password, file)


async def typed_code(given: str | None, prompt: str | None = None) -> str:
    """A code: given, typed, or a line of standard input."""
    if given is not None:
        return given
    prompt = prompt or _("Code of your second factor: ")

    def read() -> str:
        if sys.stdin.isatty():
            click.echo(prompt, nl=False, err=True)
        return sys.stdin.readline().strip()

    code = await _aside(read)
    if not code:
        raise NoCode()
    return code


async def agreed(question: str) -> bool:
    """Whether a person says yes, in the language they are asked in; anything else is no."""

    choice = _("[y/N]")

    def read() -> str:
        click.echo(f"{question} {choice} ", nl=False, err=True)
        return sys.stdin.readline().strip().casefold()

    return await _aside(read) in _("y, yes").split(", ")
