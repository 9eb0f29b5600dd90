"""Groups too large for a frame: key packages of many devices, commits and Welcomes that go as blobs."""

import functools

import pytest

from pli_client.engine.profile import SUITE
from pli_client.payloads import LARGEST
from pli_protocol.relay.frames import MAX_INLINE
from pli_server.handlers.key_packages import MAX_KEY_PACKAGE
from pli_server.settings import Limits

from ..bench import wire
from .team import posts, settle, together
from .test_devices import second_device
from .world import PATIENCE, PEOPLE, World


@pytest.mark.parametrize(("devices", "commit_is_blob"), [(5, False), (9, True)])
async def test_people_with_many_devices_are_reached_on_all_of_them(
    world: World, devices: int, commit_is_blob: bool
) -> None:
    """Of five each, commit and Welcome fit a frame, but not one frame; a relay takes ten devices."""
    vaults = [f"{who}-{n}" for who in ("amelie", "bruno") for n in range(2, devices + 1)]
    for name in vaults:
        await second_device(world, name.split("-")[0], name)
    async with together(world, "amelie", "bruno", *vaults) as clients:
        amelie = clients[0]
        team = await amelie.start("Partout", [PEOPLE["bruno"].name])
        await (await team.send("à tous les appareils")).stored(PATIENCE)
        await settle(*clients)
        for client in clients:
            there = await client.conversation("Partout")
            assert await posts(there) == ["à tous les appareils"]
        blobs = world.relay.query("SELECT is_blob FROM rows WHERE epoch = 0 ORDER BY group_no")
        assert blobs[-1] == (int(commit_is_blob),)


@pytest.mark.parametrize("what", ["founding commit", "founding Welcome", "update, fresh", "state"])
def test_a_group_of_a_thousand_fits_what_relay_and_clients_take(what: str) -> None:
    """By two small ones: what a member adds is the same for each."""
    sizes = {n: _sizes(n) for n in (32, 64)}
    each = (sizes[64][what] - sizes[32][what]) / 32
    assert each > 0
    thousand = sizes[64][what] + each * (Limits().members_per_group - 64)
    assert Limits().members_per_group >= 1000
    assert thousand < min(Limits().handshake_bytes, LARGEST, 8 * 1024 * 1024)
    assert sizes[64][what] > MAX_INLINE


def test_the_key_packages_of_one_persons_devices_fit_a_frame() -> None:
    size = _sizes(10)["key package"]
    longest_names = 3 * 64 * 4 * 2
    """A name, a profession and an establishment's name of 64 letters, in issuer and subject."""
    assert size + longest_names < MAX_KEY_PACKAGE
    assert Limits().devices_per_account * (MAX_KEY_PACKAGE + 64) < 64 * 1024 - 1024


@functools.cache
def _sizes(members: int) -> dict[str, int]:
    found = wire.measure(SUITE.number, members)
    return {row["what"]: row["bytes"] for row in found if "bytes" in row}
