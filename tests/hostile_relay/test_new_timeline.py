"""A relay that pretends to have been restored: it is brought ciphertext that it had, and nothing else."""

from collections.abc import Iterable

import msgspec
import pytest

from pli_protocol.relay.frames import (
    BringRows,
    LogHeld,
    Refused,
    RelayFrame,
    Send,
    SignedIn,
)

from ..faults.cast import Cast
from ..system.world import TITLE, World
from .proxy import hostile_relay

pytestmark = pytest.mark.processes

FUTURE = 2**42


async def test_a_pretended_timeline_brings_a_relay_nothing_that_it_had_not_carried(
    world: World,
) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        amelie = await cast.open("amelie")
        await cast.open("bruno")
        conversation = await amelie.conversation(TITLE)
        await cast.say(amelie, conversation, "Un", "Deux", "Trois")
        await cast.settled()
        asked = len(relay.asked)

        def pretend(frame: RelayFrame) -> Iterable[RelayFrame]:
            if isinstance(frame, SignedIn):
                yield msgspec.structs.replace(frame, timeline=FUTURE)
            elif isinstance(frame, Refused) and frame.rid in rids():
                yield LogHeld(frame.rid or 0, 0, bytes(32), 0, 1)
            else:
                yield frame

        def rids() -> set[int]:
            return {frame.rid for frame in relay.asked if isinstance(frame, BringRows)}

        relay.change = pretend
        await relay.cut()
        await relay.until(
            lambda: any(isinstance(f, BringRows) and f.rows for f in relay.asked[asked:])
        )
        new = relay.asked[asked:]
        brought = [row for f in new if isinstance(f, BringRows) for row in f.rows]
        carried = {bytes(payload) for (payload,) in world.relay.query("SELECT payload FROM rows")}
        assert {row.message for row in brought} <= carried
        assert not [frame for frame in new if isinstance(frame, Send)], "nothing is sealed before"
