"""Commands about conversations and messages: conversations, new, send, read, inbox, search…"""

import sys
from pathlib import Path
from typing import Final

import click

from ..i18n import _
from .options import common
from .rendering import show
from .session import carry_out

WAIT: Final = 20.0
"""Seconds that a command waits for the relay."""

_wait = click.option(
    "--wait",
    type=click.FloatRange(min=0, max=3600),
    default=WAIT,
    show_default=True,
    metavar=_("SECONDS"),
    help=_("How long to wait for the relay; 0: work with what is here."),
)
_CONVERSATION = _("CONVERSATION")
_PERSON = _("PERSON")


@click.command("conversations", help=_("List the conversations, the newest first."))
@_wait
@common
def conversations(wait: float) -> int:
    return carry_out("conversations", show, wait=wait)


@click.command("new", help=_("Open a conversation with these people (names, or see pli people)."))
@click.argument("title", metavar=_("TITLE"))
@click.argument("people", nargs=-1, required=True, metavar=_("PERSON…"))
@_wait
@common
def new(title: str, people: tuple[str, ...], wait: float) -> int:
    return carry_out("new", show, title=title, people=list(people), wait=wait)


@click.command("send", help=_("Write in a conversation. TEXT may be - to read it from stdin."))
@click.argument("conversation", metavar=_CONVERSATION)
@click.argument("text", required=False, metavar=_("[TEXT]"))
@click.option(
    "--record",
    metavar=_("RECORD"),
    help=_("Attach it to this record (system|id, or id alone once a system was used)."),
)
@click.option(
    "--type",
    "note_type",
    type=click.Choice(["GEN", "OBS", "INTERV", "INST", "DEM-AVIS"]),
    help=_("The note's type in the cahier de liaison."),
)
@click.option("--urgent", is_flag=True, help=_("Mark it as urgent."))
@click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    metavar=_("FILE"),
    help=_("Add a file; may be repeated."),
)
@click.option("--reply-to", metavar=_("MESSAGE"), help=_("The message that this one answers."))
@_wait
@common
def send(
    conversation: str,
    text: str | None,
    record: str | None,
    note_type: str | None,
    urgent: bool,
    files: tuple[Path, ...],
    reply_to: str | None,
    wait: float,
) -> int:
    if text == "-":
        text = sys.stdin.read().rstrip("\n")
    if not text and not files:
        raise click.UsageError(_("There is neither a text nor a file to send."))
    # An empty value is a variable that was never filled: what was meant would be left out unseen.
    for option, value in (("--record", record), ("--reply-to", reply_to)):
        if value is not None and not value.strip():
            raise click.UsageError(_("%(option)s has an empty value.") % {"option": option})
    if note_type and not record:
        raise click.UsageError(_("--type goes with --record."))
    return carry_out(
        "send",
        show,
        conversation=conversation,
        text=text or "",
        record=record,
        note_type=note_type,
        urgent=urgent,
        # The process that has the vault may work in another folder.
        files=[str(file.resolve()) for file in files],
        reply_to=reply_to,
        wait=wait,
    )


@click.command("read", help=_("Show a conversation's last messages and mark them as read."))
@click.argument("conversation", metavar=_CONVERSATION)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N")
@click.option("--all", "everything", is_flag=True, help=_("The whole conversation."))
@_wait
@common
def read(conversation: str, limit: int, everything: bool, wait: float) -> int:
    return carry_out(
        "read", show, conversation=conversation, limit=0 if everything else limit, wait=wait
    )


@click.command("inbox", help=_("Show what is unread everywhere, urgent messages first."))
@_wait
@common
def inbox(wait: float) -> int:
    return carry_out("inbox", show, nothing=_("Nothing to read."), wait=wait)


@click.command("search", help=_("Find messages with all these words; accents do not matter."))
@click.argument("words", nargs=-1, required=True, metavar=_("WORDS…"))
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N")
@common
def search(words: tuple[str, ...], limit: int) -> int:
    nothing = _("Nothing found.")
    return carry_out("search", show, nothing=nothing, words=" ".join(words), limit=limit)


@click.command("save", help=_("Save a message's files in a folder."))
@click.argument("message", metavar=_("MESSAGE"))
@click.argument(
    "folder", default=".", type=click.Path(file_okay=False, path_type=Path), metavar=_("[FOLDER]")
)
@_wait
@common
def save(message: str, folder: Path, wait: float) -> int:
    return carry_out("save", show, message=message, folder=str(folder.resolve()), wait=wait)


@click.command("cancel", help=_("Take back a message that waits to be sent, with its files."))
@click.argument("message", metavar=_("MESSAGE"))
@common
def cancel(message: str) -> int:
    return carry_out("cancel", show, message=message)


@click.command("people", help=_("List the people of the establishment, or of a partner."))
@click.option(
    "--establishment", metavar=_("NAME"), help=_("A partner establishment; see pli partners.")
)
@_wait
@common
def people(establishment: str | None, wait: float) -> int:
    return carry_out("people", show, establishment=establishment, wait=wait)


@click.command(
    "partners", help=_("List the partner establishments, whose people one can write to.")
)
@_wait
@common
def partners(wait: float) -> int:
    return carry_out("partners", show, nothing=_("No partners."), wait=wait)


@click.command("add", help=_("Add somebody to a conversation; they read what comes from now on."))
@click.argument("conversation", metavar=_CONVERSATION)
@click.argument("person", metavar=_PERSON)
@_wait
@common
def add(conversation: str, person: str, wait: float) -> int:
    return carry_out("add", show, conversation=conversation, person=person, wait=wait)


@click.command("remove", help=_("Remove somebody from a conversation; they read nothing more."))
@click.argument("conversation", metavar=_CONVERSATION)
@click.argument("person", metavar=_PERSON)
@_wait
@common
def remove(conversation: str, person: str, wait: float) -> int:
    return carry_out("remove", show, conversation=conversation, person=person, wait=wait)


@click.command("leave", help=_("Leave a conversation; what was read stays here."))
@click.argument("conversation", metavar=_CONVERSATION)
@_wait
@common
def leave(conversation: str, wait: float) -> int:
    return carry_out("leave", show, conversation=conversation, wait=wait)


@click.command("rename", help=_("Give a conversation another title."))
@click.argument("conversation", metavar=_CONVERSATION)
@click.argument("title", metavar=_("TITLE"))
@_wait
@common
def rename(conversation: str, title: str, wait: float) -> int:
    return carry_out("rename", show, conversation=conversation, title=title, wait=wait)


wait_option = _wait
COMMANDS: Final = (
    conversations,
    inbox,
    read,
    send,
    new,
    search,
    save,
    cancel,
    people,
    partners,
    add,
    remove,
    leave,
    rename,
)
__all__ = ["COMMANDS", "wait_option"]
