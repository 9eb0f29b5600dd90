"""The root of the command line: the commands, and how everything that goes wrong is told."""

import contextlib
import os
import sys
from collections.abc import Sequence

import click

from ..errors import EXIT_FAILED, EXIT_USAGE, PliError
from ..i18n import _
from . import (
    account,
    admin,
    audit,
    authority,
    bot,
    connection,
    conversations,
    demo,
    devices,
    joining,
    records,
)
from .options import Settings, common
from .output import tell

INTERRUPTED = 130


class _InOrder(click.Group):
    """Lists its commands as they were added: what one needs first stands first."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    name="pli",
    cls=_InOrder,
    help=_("Sealed messages for care teams, tied to the record of the person cared for."),
    epilog=_(
        "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 passphrase, 4 relay away, "
        "5 disk full. See also: pli COMMAND --help."
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="pli", message="%(prog)s %(version)s")
@common
def cli() -> None:
    """What `help` says is for people."""


for command in (
    *joining.COMMANDS,
    *conversations.COMMANDS,
    *records.COMMANDS,
    *account.COMMANDS,
    *devices.COMMANDS,
    *connection.COMMANDS,
    *authority.COMMANDS,
    *audit.COMMANDS,
    admin.COMMAND,
    bot.COMMAND,
    demo.COMMAND,
):
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line; the exit code. Nothing gets out as an exception."""
    settings = Settings(debug="--debug" in arguments)
    try:
        result = cli.main(
            args=list(arguments), prog_name="pli", standalone_mode=False, obj=settings
        )
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except PliError as error:
        tell(str(error))
        return error.exit_code
    except click.UsageError as error:
        return _usage(error)
    except click.ClickException as error:
        tell(error.format_message())
        return EXIT_FAILED
    except (click.Abort, KeyboardInterrupt):
        tell(_("Interrupted."))
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_went_away()
    except Exception as error:
        if settings.debug:
            raise
        tell(
            _("Something went wrong inside Pli (%(what)s); nothing that was sent is lost.")
            % {"what": type(error).__name__},
            " ",
            _("Try again; if it comes back, tell those who look after Pli."),
        )
        return EXIT_FAILED


def say_which_languages(wish: str) -> None:
    """PLI_LANG asks for a language that there is not: a notice, and the work goes on."""
    tell(
        _("PLI_LANG asks for “%(wish)s”, but Pli speaks only French (fr) and English (en).")
        % {"wish": wish[:20]}
    )


def _usage(error: click.UsageError) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return EXIT_USAGE
    path = error.ctx.command_path if error.ctx else "pli"
    message = error.format_message()
    tell(
        message if message.endswith((".", "?", "!")) else message + ".",
        " ",
        _("See: %(command)s --help") % {"command": path},
    )
    return EXIT_USAGE


def _reader_went_away() -> int:
    """`pli read … | head`: no complaint, also not by Python when it closes stdout."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_FAILED
