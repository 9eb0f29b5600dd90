"""`pli audit` on a vault of a real exchange: status, a head handed over, a head that contradicts."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pli_client.cli.work import perform
from pli_client.client import Client
from pli_client.errors import InvalidInput
from pli_client.handover import Request
from pli_client.store import log_heads
from pli_protocol.identity import SigningKey
from pli_protocol.transparency import HeadFile, head_code, sign_head

from ...system.fixtures import template, world
from ...system.team import together
from ...system.world import World
from .processes import House, sentence

__all__ = ["template", "world"]

pytestmark = pytest.mark.processes


async def replies(client: Client, command: str, **arguments: object) -> list[dict[str, object]]:
    request = Request(command, {"wait": 10, **arguments})
    return [reply async for reply in perform(client, request)]


@pytest.fixture
async def pair(world: World) -> AsyncIterator[tuple[Client, Client]]:
    async with together(world, "amelie", "bruno") as (amelie, bruno):
        yield amelie, bruno


async def given(client: Client) -> HeadFile:
    found = await replies(client, "audit-head")
    head = HeadFile.decode(str(found[-1]["file"]))
    assert found[-1]["code"] == head_code(head.signed.head)
    return head


async def test_a_colleagues_head_agrees_and_is_told_by_the_same_code(
    pair: tuple[Client, Client],
) -> None:
    amelie, bruno = pair
    head = await given(amelie)
    (reply,) = await replies(bruno, "audit-check", file=head.encode())
    assert (reply["agrees"], reply["code"]) == (True, head_code(head.signed.head))
    status = await replies(bruno, "audit-status")
    assert [r["kind"] for r in status] == ["audit"]
    assert status[0]["contradictions"] == []


async def test_a_head_of_a_forked_log_is_told_kept_and_warned_of_once(
    world: World, pair: tuple[Client, Client]
) -> None:
    amelie, _ = pair
    head = await given(amelie)
    key = SigningKey.from_seed(bytes.fromhex((world.relay.folder / "audit.key").read_text()))
    forged = msgspec.structs.replace(head.signed.head, root=bytes(32))
    forked = HeadFile(head.relay, head.log_key, sign_head(head.relay, forged, key))
    reply, notice = await replies(amelie, "audit-check", file=forked.encode())
    assert (reply["agrees"], reply["reason"]) == (False, "forked")
    assert notice["exit_code"] == 1
    (kept,) = await amelie.vault.read(log_heads.contradictions)
    assert kept.other == forked.signed
    assert kept.ours is not None
    warned = [r for r in await replies(amelie, "conversations") if r["kind"] == "notice"]
    assert len(warned) == 1
    assert not [r for r in await replies(amelie, "conversations") if r["kind"] == "notice"]
    status = await replies(amelie, "audit-status")
    assert json.dumps(status[0]["contradictions"]).count("signature") == 2


async def test_what_is_no_head_of_this_relay_is_refused_with_a_reason(
    pair: tuple[Client, Client],
) -> None:
    amelie, _ = pair
    head = await given(amelie)
    other = SigningKey.generate()
    unsigned = HeadFile(head.relay, other.public, head.signed)
    elsewhere = HeadFile("other", other.public, sign_head("other", head.signed.head, other))
    for text in ("", "{}", "[1]", unsigned.encode(), elsewhere.encode()):
        with pytest.raises(InvalidInput):
            await replies(amelie, "audit-check", file=text)
    twice = HeadFile(head.relay, other.public, sign_head(head.relay, head.signed.head, other))
    reply, _ = await replies(amelie, "audit-check", file=twice.encode())
    assert reply["reason"] == "another-key"


def test_a_head_file_reads_as_it_was_written(tmp_path: Path) -> None:
    from pli_protocol.transparency import EMPTY_ROOT, TreeHead

    key = SigningKey.generate()
    head = HeadFile("r", key.public, sign_head("r", TreeHead(1, 0, EMPTY_ROOT, 5), key))
    assert HeadFile.decode(head.encode()) == head
    for wrong in (head.encode().replace('"size": 0', '"size": -1'), head.encode()[:-9], "x" * 9000):
        with pytest.raises(ValueError, match="not a head"):
            HeadFile.decode(wrong)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_head_is_written_to_its_file_whatever_is_shown(
    house: House, tmp_path: Path, options: list[str]
) -> None:
    out = tmp_path / "head"
    done = house.run("claire", "audit", "head", "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    head = HeadFile.decode(out.read_text(encoding="utf-8"))
    assert head_code(head.signed.head) in done.stdout
    again = house.run("claire", "audit", "head", "--out", str(out), *options)
    assert (again.returncode != 0, "head" in sentence(again)) == (True, True)
