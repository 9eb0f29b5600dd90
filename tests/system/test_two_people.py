"""Two people and a real relay, by the SDK: the thinnest whole line."""

import pli_client

from .actor import QUICK
from .world import PASSPHRASE, PATIENCE, World


async def test_a_message_goes_from_one_person_to_another(world: World) -> None:
    await world.relay.start()
    async with (
        pli_client.connect(world.vault("amelie"), PASSPHRASE, timing=QUICK) as amelie,
        pli_client.connect(world.vault("bruno"), PASSPHRASE, timing=QUICK) as bruno,
    ):
        team = await amelie.start("Étage 2", ["Bruno Leroy"])
        sent = await team.send("Mme Petit a bien dormi.")
        await sent.stored(PATIENCE)
        await bruno.settled(PATIENCE)
        conversation = await bruno.conversation("Étage 2")
        shown = [m.text for m in await conversation.page() if m.kind == "post"]
        assert shown == ["Mme Petit a bien dormi."]
