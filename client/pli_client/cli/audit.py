"""`pli audit`: what is kept of the relay's log, a head to hand over, a head to compare."""

from pathlib import Path
from typing import Final

import click

from ..errors import FileUnreadable, FileUnwritable, system_reason
from ..i18n import _
from .conversations import wait_option
from .options import common
from .output import say
from .rendering import show
from .session import Reply, carry_out

_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group("audit", help=_("The relay's audit log: what was seen of it, and whether it holds."))
@common
def audit() -> None:
    """What `help` says is for people."""


@audit.command("status", help=_("Show the log's newest proven head, and all contradictions."))
@wait_option
@common
def status(wait: float) -> int:
    return carry_out("audit-status", show, wait=wait)


@audit.command(
    "head", help=_("Give out the log's newest proven head, for a colleague or a witness.")
)
@click.option("--out", type=_FILE, metavar=_("FILE"), help=_("Write it to a new file."))
@wait_option
@common
def head(out: Path | None, wait: float) -> int:
    def write(reply: Reply) -> None:
        if out is None:
            return
        try:
            with out.open("x", encoding="utf-8") as file:
                file.write(reply["file"])
        except OSError as error:
            raise FileUnwritable(name=out.name, reason=system_reason(error)) from None

    def shown(reply: Reply) -> None:
        show(reply) if out is not None else say(reply["file"].rstrip())

    return carry_out("audit-head", shown, keep=write, wait=wait)


@audit.command(
    "check", help=_("Compare a head from a colleague or a witness with the relay's log.")
)
@click.argument("file", type=_FILE, metavar=_("FILE"))
@wait_option
@common
def check(file: Path, wait: float) -> int:
    from pli_protocol.transparency import MAX_FILE

    try:
        with file.open(encoding="utf-8") as opened:
            text = opened.read(MAX_FILE)
    except (OSError, ValueError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else _("not a text")
        raise FileUnreadable(name=file.name, reason=reason) from None
    return carry_out("audit-check", show, file=text, wait=wait)


COMMANDS: Final = (audit,)
