"""What every command understands: which vault, which passphrase, JSON or text, which language."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..i18n import LANGUAGES, _

VAULT_VARIABLE: Final = "PLI_VAULT"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class Settings:
    """The options that a command line gave, before or after the command's name."""

    vault: Path | None = None
    passphrase_file: Path | None = None
    passphrase_fd: int | None = None
    json: bool = False
    debug: bool = False

    def folder(self) -> Path:
        """The vault's folder: --vault, PLI_VAULT, else the platform's data folder."""
        import os

        if self.vault is not None:
            return self.vault
        named = os.environ.get(VAULT_VARIABLE)
        if named:
            return Path(named)
        import platformdirs

        return Path(platformdirs.user_data_dir("pli", appauthor=False)) / "vault"


def settings() -> Settings:
    """The settings of the command that runs."""
    return click.get_current_context().ensure_object(Settings)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    if value is not None and value is not False and parameter.name != "lang":
        setattr(context.ensure_object(Settings), parameter.name or "", value)
    return value


def _option(*names: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(*names, expose_value=False, callback=_keep, **more)


def common(function: Function) -> Function:
    """Give a command the options that all have."""
    for option in reversed(_COMMON):
        function = option(function)
    return function


_COMMON: Final = (
    _option(
        "--vault",
        type=click.Path(path_type=Path, file_okay=False),
        metavar=_("DIR"),
        help=_("The vault's folder (else PLI_VAULT, else the usual data folder)."),
    ),
    _option(
        "--passphrase-file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar=_("FILE"),
        help=_("Read the passphrase from the first line of this file."),
    ),
    _option(
        "--passphrase-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help=_("Read the passphrase from the first line of this file descriptor."),
    ),
    _option("--json", is_flag=True, help=_("One JSON object per line, and nothing else.")),
    _option("--lang", type=click.Choice(LANGUAGES), help=_("French or English.")),
    _option("--debug", is_flag=True, hidden=True),
)
