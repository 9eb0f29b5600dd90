"""A relay that would have a vault wiped: it needs a statement that the vault's own trust accepts."""

from collections.abc import Callable, Iterable

import pytest

from pli_client.errors import SignInRefused
from pli_client.vault import Vault
from pli_client.vault.header import HEADER_FILE
from pli_protocol.identity import (
    DeviceRevocation,
    RevocationEntry,
    RevocationList,
    SigningKey,
    make_authority,
    make_issuer,
    sign,
)
from pli_protocol.relay.frames import (
    ListPart,
    RefusalTold,
    Refused,
    RelayFrame,
    SignedIn,
)

from ..system.actor import Actor
from ..system.revocations import own_word
from ..system.test_revocation import refusal_of
from ..system.world import PASSPHRASE, World
from .proxy import hostile_relay

pytestmark = pytest.mark.processes

Forge = Callable[[Actor], tuple[bytes, bytes | None]]
"""(a revocation list, a person's statement) of the relay's making."""


def list_of(establishment: bytes, device: bytes, key: SigningKey, issuer: bytes) -> bytes:
    entry = RevocationEntry("device", device, "stolen", 1_900_000_000)
    return sign(
        RevocationList(establishment, 9, bytes(32), (entry,), 1_900_000_000), key, (issuer,)
    )


def nothing(_actor: Actor) -> tuple[bytes, bytes | None]:
    return b"", None


def by_a_key_of_its_own(actor: Actor) -> tuple[bytes, bytes | None]:
    """A whole establishment of the same name, with issuer and list."""
    own = actor.engine.own
    root, key = SigningKey.generate(), SigningKey.generate()
    authority = make_authority(own.device.person.establishment_name, root, 1_700_000_000)
    issuer = make_issuer(root, authority, key.public, now=1_700_000_000)
    return list_of(own.device.person.establishment, own.device_id, key, issuer), None


def under_the_issuers_name(actor: Actor) -> tuple[bytes, bytes | None]:
    own = actor.engine.own
    establishment = own.device.person.establishment
    return list_of(establishment, own.device_id, SigningKey.generate(), own.chain[2]), None


def by_the_device_itself(actor: Actor) -> tuple[bytes, bytes | None]:
    """A device's key is not its person's."""
    own = actor.engine.own
    body = DeviceRevocation(
        own.device.person.establishment, own.person_id, own.device_id, "stolen", 1_900_000_000
    )
    return b"", sign(body, own.key, own.chain[1:])


def garbage(_actor: Actor) -> tuple[bytes, bytes | None]:
    return b"\x95" + bytes(500), b"\x93"


@pytest.mark.parametrize(
    "forge",
    [nothing, by_a_key_of_its_own, under_the_issuers_name, by_the_device_itself, garbage],
)
async def test_a_refused_sign_in_with_a_forged_statement_or_none_wipes_nothing(
    world: World, forge: Forge
) -> None:
    async with hostile_relay(world) as relay:
        chloe = await world.open("chloe")
        await chloe.client.online()
        data, statement = forge(chloe)
        told: list[type] = []

        def refuse(frame: RelayFrame) -> Iterable[RelayFrame]:
            match frame:
                case SignedIn(rid):
                    return (Refused("sign-in-failed", rid),)
                case ListPart(rid, _, _, _):
                    told.append(ListPart)
                    return (ListPart(rid, 9, len(data), data),)
                case RefusalTold(rid, _, person):
                    told.append(RefusalTold)
                    return (RefusalTold(rid, statement, person),)
            return (frame,)

        relay.change = refuse
        await relay.cut()
        assert type(await refusal_of(chloe)) is SignInRefused
        assert set(told) == {ListPart, RefusalTold}
        await chloe.close()
        assert (world.vault("chloe") / HEADER_FILE).exists()
        relay.change = lambda frame: (frame,)
        chloe = await world.open("chloe")
        await chloe.client.online()


async def test_a_colleagues_word_about_ones_device_wipes_nothing(world: World) -> None:
    """Bruno says it of a device that is not his; the relay brings it to Chloé as hers."""
    async with hostile_relay(world) as relay:
        bruno, chloe = await world.open("bruno"), await world.open("chloe")
        for actor in (bruno, chloe):
            await actor.client.online()
        word = await own_word(bruno, chloe.engine.own.device_id, "stolen")

        def refuse(frame: RelayFrame) -> Iterable[RelayFrame]:
            match frame:
                case SignedIn(rid):
                    return (Refused("sign-in-failed", rid),)
                case RefusalTold(rid, _, person):
                    return (RefusalTold(rid, word, person),)
            return (frame,)

        await bruno.close()
        relay.change = refuse
        await relay.cut()
        assert type(await refusal_of(chloe)) is SignInRefused
        await chloe.close()
        async with await Vault.open(world.vault("chloe"), PASSPHRASE):
            pass


async def test_a_list_that_never_ends_is_given_up(world: World) -> None:
    async with hostile_relay(world) as relay:
        chloe = await world.open("chloe")
        await chloe.client.online()
        asked = 0

        def refuse(frame: RelayFrame) -> Iterable[RelayFrame]:
            nonlocal asked
            match frame:
                case SignedIn(rid):
                    return (Refused("sign-in-failed", rid),)
                case ListPart(rid, _, _, _):
                    asked += 1
                    return (ListPart(rid, asked, 2**50, b"x" * 100),)
            return (frame,)

        relay.change = refuse
        await relay.cut()
        assert type(await refusal_of(chloe)) is SignInRefused
        assert asked <= 6
        await chloe.close()
