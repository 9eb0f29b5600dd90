"""The examples of docs/sdk.md run, in their order, on real parts."""

import asyncio
import re
import textwrap
from pathlib import Path
from typing import Any

import pli_client

from .actor import QUICK
from .world import PASSPHRASE, PATIENCE, World

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)


async def run(block: str, names: dict[str, Any]) -> None:
    """An example as the body of a function; what it defines is there for the next ones."""
    body = textwrap.indent(block, "    ")
    exec(f"async def example():\n{body}    globals().update(locals())", names)
    await names["example"]()


async def test_the_examples_of_the_sdk_page_run(world: World, tmp_path: Path) -> None:
    await world.relay.start()
    names: dict[str, Any] = {
        "folder": world.vault("amelie"),
        "bot_folder": world.vault("dui"),
        "passphrase": PASSPHRASE,
        "pli_client": pli_client,
    }
    opening, *examples, filing = BLOCKS
    await run(opening, names)
    async with (
        pli_client.connect(world.vault("amelie"), PASSPHRASE, timing=QUICK) as me,
        pli_client.connect(world.vault("bruno"), PASSPHRASE, timing=QUICK) as bruno,
    ):
        names["me"] = me
        for example in examples:
            await run(example, names)
        assert "Étage 2" in names["titles"]
        assert "Chloé Martin" in names["names"]
        assert [message.text for message in names["found"]] == ["Mme Petit a bien dormi."]
        assert names["saved"].read_bytes() == names["photo"].read_bytes()
        await me.settled(PATIENCE)
        assert len(await me.record("urn:oid:1.2.3|4821")) == 2
        await the_bot_answers_once(names["acknowledge_urgent"], bruno, me)
    await run(filing, names)
    assert len(list((world.vault("dui") / "outbox").glob("*.json"))) == 2


async def the_bot_answers_once(bot: Any, bruno: pli_client.Client, me: pli_client.Client) -> None:
    await bruno.settled(PATIENCE)
    running = asyncio.create_task(bot(bruno))
    team = await me.conversation("Étage 2, jour")

    async def answers() -> list[pli_client.StoredMessage] | None:
        page = await team.page(limit=100)
        found = [m for m in page if m.text.startswith("Bien reçu")]
        return found or None

    (answer,) = await me.until(answers, PATIENCE)
    assert answer.in_reply_to is not None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
