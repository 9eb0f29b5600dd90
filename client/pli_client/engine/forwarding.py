"""Handing proofs to the DUI's bot, in the service conversation with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..store import conversations, people
from ..vault import transaction
from . import founding, records, sending
from .work import Work

if TYPE_CHECKING:
    from .engine import Engine

FORWARD: Final = transaction("forward")


async def forward(engine: Engine, conversation_id: bytes) -> bool:
    """Queue what waits to be forwarded from this conversation; False: nothing was done."""
    if not await engine.read(lambda db: conversations.intents(db, conversation_id, "forward")):
        return False
    bots = await engine.read(people.bots)
    if not bots:
        return False
    bot = bots[0]
    claimed: list[tuple[bytes, bytes, bytes]] | None = None
    if await engine.read(lambda db: conversations.service_with(db, bot.person_id)) is None:
        if not engine.housekeeping.may_look_for(bot.person_id):
            return False
        claimed = await engine.claim([bot.address, engine.own.address])
        if not any(account == bot.account for account, _device, _package in claimed):
            engine.housekeeping.bot_is_away(bot.person_id)
            return False
    return await engine.write(
        lambda work: _queue(work, conversation_id, bot, claimed), name=FORWARD
    )


def _queue(
    work: Work,
    conversation_id: bytes,
    bot: people.KnownPerson,
    claimed: list[tuple[bytes, bytes, bytes]] | None,
) -> bool:
    done = False
    for intent in conversations.intents(work.db, conversation_id, "forward"):
        body = records.forward_body(work, intent)
        conversations.end_intents(work.db, [intent.id])
        done = True
        if body is None:
            continue
        service = conversations.service_with(work.db, bot.person_id)
        if service is None:
            service = founding.start(
                work,
                "",
                [bot.account],
                "service",
                service_with=bot.person_id,
                persons=[bot.person_id],
                claimed=claimed,
            )
        sending.queue(work, service, body)
    return done
