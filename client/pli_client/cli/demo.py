"""`pli demo`: see pli_client.demo."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import click

from ..errors import MissingExtra
from ..i18n import _
from .options import common, settings
from .output import tell
from .session import run

RELAY_NEEDS: Final = ("sqlalchemy", "alembic", "prometheus_client", "pyotp")
"""What the extra `server` brings, without which no relay starts."""


@click.command("demo", help=_("Play a care team's hand-over on a real relay, sealed end to end."))
@click.option(
    "--scenario",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar=_("FILE"),
    help=_("Another scenario (see docs/demo.md)."),
)
@click.option("--keep", is_flag=True, help=_("Leave the relay up, to go on by hand."))
@common
def demo(scenario: Path | None, keep: bool) -> int:
    if any(find_spec(module) is None for module in RELAY_NEEDS):
        raise MissingExtra("server")
    from ..demo.runner import play
    from ..demo.scenario import DEFAULT

    asked = settings()
    code = run(play(scenario or DEFAULT, keep=keep, as_json=asked.json, progress=tell))
    sys.stdout.flush()
    return int(code)


COMMAND: Final = demo
