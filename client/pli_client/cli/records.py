"""Commands about usagers' records: attach, detach, record."""

from typing import Final

import click

from ..i18n import _
from .conversations import wait_option
from .options import common
from .rendering import show
from .session import carry_out

_RECORD = _("RECORD")


@click.command("attach", help=_("Attach a message to a usager's record; the DUI files it."))
@click.argument("message", metavar=_("MESSAGE"))
@click.argument("record", metavar=_RECORD)
@click.option(
    "--type",
    "note_type",
    type=click.Choice(["GEN", "OBS", "INTERV", "INST", "DEM-AVIS"]),
    help=_("The note's type in the cahier de liaison."),
)
@wait_option
@common
def attach(message: str, record: str, note_type: str | None, wait: float) -> int:
    return carry_out("attach", show, message=message, record=record, note_type=note_type, wait=wait)


@click.command("detach", help=_("Take a message off a record (its author or who attached it)."))
@click.argument("message", metavar=_("MESSAGE"))
@click.argument("record", metavar=_RECORD)
@click.option("--reason", default="", metavar=_("TEXT"), help=_("Why."))
@wait_option
@common
def detach(message: str, record: str, reason: str, wait: float) -> int:
    return carry_out("detach", show, message=message, record=record, reason=reason, wait=wait)


@click.command("record", help=_("Show the messages that stand in a record."))
@click.argument("record", metavar=_RECORD)
@wait_option
@common
def record(record: str, wait: float) -> int:
    nothing = _("No message stands in this record.")
    return carry_out("record", show, nothing=nothing, record=record, wait=wait)


COMMANDS: Final = (attach, detach, record)
