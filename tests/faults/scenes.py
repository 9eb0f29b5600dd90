"""Around the client that is killed: who it is, what was before, what the others do meanwhile."""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from pli_client.issuer import Issuer

from ..system.partnering import sign_a_partner
from ..system.revocations import aged, declare
from ..system.world import PASSPHRASE, TITLE
from . import victim
from .cast import Cast

Part = Callable[[Cast], Coroutine[None, None, None]]


async def nothing(_cast: Cast) -> None:
    """The others are away."""


async def bruno_writes(cast: Cast) -> None:
    bruno = await cast.open("bruno")
    await cast.say(bruno, await bruno.conversation(TITLE), *(f"Bruno {i}" for i in range(3)))


async def chloe_is_there(cast: Cast) -> None:
    await cast.open("bruno")
    await cast.open("chloe")


async def bruno_invites_all(cast: Cast) -> None:
    """Bruno waits until David can be added, then starts a conversation with him and Amélie."""
    bruno = await cast.open("bruno")
    david = await bruno.person(cast.name("david"))
    await bruno.client.online()
    while not await bruno.engine.claim([david.address]):
        await bruno.engine.changed(0.05)
    conversation = await bruno.start("Étage 2", cast.name("david"), cast.name("amelie"))
    await cast.say(bruno, conversation, "Bienvenue à l'étage 2")


async def bruno_invites_amelie(cast: Cast) -> None:
    bruno = await cast.open("bruno")
    conversation = await bruno.start("Étage 2", cast.name("amelie"))
    await cast.say(bruno, conversation, "Bienvenue à l'étage 2")


async def bruno_is_there(cast: Cast) -> None:
    await cast.open("bruno")


async def state_is_lost(cast: Cast) -> None:
    """Amélie's group state is gone, as after damage; so is nothing else."""
    amelie = await cast.open("amelie")
    await amelie.vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    await amelie.close()


async def bruno_refounded(cast: Cast) -> None:
    """While Amélie was away Bruno lost his state and re-founded the conversation."""
    bruno = await cast.open("bruno")
    await bruno.vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    await bruno.close()
    bruno = await cast.open("bruno", victim.HURRIED)
    await cast.say(bruno, await bruno.conversation(TITLE), "Nouveau groupe")
    await bruno.close()


async def chloe_was_revoked(cast: Cast) -> None:
    cast.revoked.add("chloe")
    async with await Issuer.open(cast.world.folder / "admin", PASSPHRASE) as issuer:
        await issuer.revoke((await issuer.find(cast.name("chloe"))).account, "left")
        await issuer.publish()


async def amelies_certificate_is_old(cast: Cast) -> None:
    await aged(cast.world, "amelie", 300)


async def bruno_lost_a_device(cast: Cast) -> None:
    bruno = await cast.open("bruno")
    await declare(bruno, os.urandom(16), "lost")
    await bruno.close()


async def a_partner_was_signed(cast: Cast) -> None:
    async with await Issuer.open(cast.world.folder / "admin", PASSPHRASE) as issuer:
        await sign_a_partner(cast.world, issuer)


async def amelie_attaches(cast: Cast) -> None:
    """Two notes go to the DUI, one with the record from the start."""
    amelie = await cast.open("amelie")
    team = await amelie.client.conversation(TITLE)
    for text in ("Pansement refait", "Glycémie 1,2"):
        sent = await team.send(text, record=victim.RECORD, note_type="INTERV")
        await sent.stored()
        cast.acknowledged.append(sent.message_id)


@dataclass(frozen=True)
class Scene:
    """`script` runs in the victim's process while `others` act; `before` comes before it."""

    script: str
    victim: str = "amelie"
    before: Part = nothing
    others: Part = nothing


SEND: Final = Scene("sending")
RECEIVE: Final = Scene("receiving", others=bruno_writes)
COMMIT: Final = Scene("committing", others=chloe_is_there)
REMOVE: Final = Scene("removing", others=bruno_is_there)
CREATE: Final = Scene("creating", others=chloe_is_there)
JOIN: Final = Scene("being_added", others=bruno_invites_amelie)
FIRST: Final = Scene("first_sign_in", victim="david", others=bruno_invites_all)
LEAVE: Final = Scene("leaving")
FILE: Final = Scene("sending_a_file", others=bruno_is_there)
ATTACH: Final = Scene("attaching")
RETURN: Final = Scene("returning", before=state_is_lost, others=bruno_is_there)
REFOUND: Final = Scene("refounding", before=state_is_lost)
REFOUNDED: Final = Scene("receiving", before=bruno_refounded, others=bruno_writes)
REVOKED: Final = Scene("revocations", before=chloe_was_revoked)
PARTNER: Final = Scene("partners", before=a_partner_was_signed)
RENEW: Final = Scene("sending", before=amelies_certificate_is_old)
DECLARED: Final = Scene("declarations", before=bruno_lost_a_device)
BOT: Final = Scene("filing", victim="dui", others=amelie_attaches)

SCENES: Final[dict[str, tuple[Scene, ...]]] = {
    "answer": (BOT,),
    "ask-return": (RETURN,),
    "claim": (COMMIT,),
    "commit": (COMMIT, REMOVE),
    "create": (CREATE,),
    "directory": (FIRST,),
    "dui-remember": (BOT,),
    "engine": (FIRST,),
    "event-cursor": (BOT,),
    "forward": (ATTACH,),
    "join": (JOIN, RETURN),
    "key-packages": (FIRST,),
    "leave": (LEAVE,),
    "outcome": (CREATE,),
    "partners": (PARTNER,),
    "pin-relay": (FIRST,),
    "queue": (SEND,),
    "receive": (SEND, RECEIVE, COMMIT),
    "refound": (REFOUND,),
    "refounded": (REFOUNDED,),
    "renew": (RENEW,),
    "revocations": (REVOKED,),
    "seal": (SEND,),
    "start": (CREATE,),
    "statements": (DECLARED,),
    "stored": (SEND,),
    "token": (FIRST, SEND),
    "uploaded": (FILE,),
    "want": (COMMIT,),
}
"""By transaction: in which scenes the client is killed there. One that is not named gets SEND."""

__all__ = ["SCENES", "SEND", "Scene"]
