"""What all commands share: the folder's argument, `--json`, and errors in one sentence."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from .errors import EXIT_REFUSED, OperatorError

F = TypeVar("F", bound=Callable[..., Any])

FOLDER = click.argument("folder", type=click.Path(path_type=Path))
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def one_sentence(command: F) -> F:
    """An OperatorError becomes one line on standard error and its exit code."""

    @wraps(command)
    def run(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except OperatorError as error:
            click.echo(f"pli-server: {error}", err=True)
            raise SystemExit(error.exit_code) from None
        except OSError as error:
            click.echo(f"pli-server: {error.strerror or error}: {error.filename}", err=True)
            raise SystemExit(EXIT_REFUSED) from None

    return run  # type: ignore[return-value]
