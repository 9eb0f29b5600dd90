"""What a relay can do while a device is linked: refuse and delay. Not: put another device, or itself, in."""

import asyncio
import time
from collections.abc import Callable, Iterable

import msgspec
import pytest

from pli_client.linking import (
    LetterForged,
    LinkingOver,
    WrongLinkingCode,
    approve,
    link,
    waiting,
)
from pli_client.store import linking as store
from pli_client.vault import Vault
from pli_protocol.identity import SigningKey, make_device
from pli_protocol.identity.linking import (
    AccountAddress,
    Letter,
    LinkingRequest,
    new_key,
    seal_letter,
)
from pli_protocol.identity.password import Cost, derive
from pli_protocol.relay.frames import AnswerLinking, Linking, LinkingAnswer, RelayFrame

from ..faults.cast import Cast
from ..server.credentials import Authenticator
from ..system.actor import Actor
from ..system.world import CHEAP, PASSPHRASE, World
from .proxy import HostileRelay, hostile_relay

pytestmark = pytest.mark.processes

PASSWORD = "cinq mots au hasard"
COST = Cost(memory=1024, passes=1, lanes=1)


class Scene:
    """Amélie with both factors, and her new device."""

    def __init__(self, world: World, cast: Cast, relay: HostileRelay) -> None:
        self.world, self.cast, self.relay = world, cast, relay
        self.amelie: Actor
        self.factors: Authenticator
        self.shown: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def begins(self) -> None:
        self.amelie = await self.cast.open("amelie")
        await self.amelie.engine.connection.online()
        own = self.amelie.engine.own.device.person
        self.factors = Authenticator(bytes(derive(PASSWORD, own.establishment, own.account, COST)))
        await self.factors.set_up(self.amelie.engine.connection.request)  # type: ignore[arg-type]

    async def links(self, **options: float | Callable[[], float]) -> None:
        """The new device asks; `shown` is its code."""
        own = self.amelie.engine.own.device.person
        address = AccountAddress(own.establishment, own.account, self.amelie.engine.row.relay_url)

        def tell(step: str, code: str) -> None:
            if step == "asked":
                self.shown.set_result(code)

        vault = await Vault.create(self.world.vault("amelie-2"), PASSPHRASE, kdf=CHEAP)
        async with vault:
            try:
                await link(
                    vault,
                    address.text(),
                    PASSWORD,
                    self.factors.code(),
                    tell=tell,
                    cost=COST,
                    **options,  # type: ignore[arg-type]
                )
            finally:
                assert await vault.read(store.linked) == []

    def nothing_was_signed(self) -> bool:
        return not any(isinstance(frame, AnswerLinking) for frame in self.relay.asked)


@pytest.mark.parametrize("part", ["device_key", "kem_key", "both"])
async def test_a_request_that_the_relay_swaps_gets_no_certificate(world: World, part: str) -> None:
    changes = {"device_key": SigningKey.generate().public, "kem_key": new_key().public}
    if part != "both":
        changes = {part: changes[part]}

    def swap(frame: RelayFrame) -> Iterable[RelayFrame]:
        if isinstance(frame, Linking) and frame.request is not None:
            request = LinkingRequest.decode(frame.request)
            forged = msgspec.structs.replace(request, **changes)
            frame = Linking(frame.rid, forged.encode())
        return (frame,)

    async with hostile_relay(world) as relay, Cast(world) as cast:
        scene = Scene(world, cast, relay)
        await scene.begins()
        relay.change = swap
        linking = asyncio.create_task(scene.links())
        code = await scene.shown
        with pytest.raises(WrongLinkingCode):
            await approve(scene.amelie.engine, await waiting(scene.amelie.engine), code, "portable")
        assert scene.nothing_was_signed()
        assert await scene.amelie.engine.read(store.linked) == []
        linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)


async def test_a_request_for_another_account_is_not_even_shown(world: World) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        scene = Scene(world, cast, relay)
        await scene.begins()
        own = scene.amelie.engine.own.device.person
        stranger = LinkingRequest(
            1, own.establishment, bytes(16), bytes(32), new_key().public, bytes(16), 0
        )
        for request in (stranger.encode(), b"nonsense"):
            relay.change = lambda frame, r=request: (  # type: ignore[misc]
                Linking(frame.rid, r) if isinstance(frame, Linking) else frame,
            )
            with pytest.raises(WrongLinkingCode):
                await waiting(scene.amelie.engine)


async def test_an_old_request_that_the_relay_kept_is_refused(world: World) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        scene = Scene(world, cast, relay)
        await scene.begins()
        linking = asyncio.create_task(scene.links(clock=lambda: time.time() - 3600))
        await scene.shown
        with pytest.raises(LinkingOver):
            await waiting(scene.amelie.engine)
        linking.cancel()
        await asyncio.gather(linking, return_exceptions=True)


@pytest.mark.parametrize("letter", ["own", "colleague's", "for another request", "nonsense"])
async def test_a_letter_that_the_relay_made_is_refused(world: World, letter: str) -> None:
    """It can seal one, since it sees the key; it cannot sign for the account."""
    async with hostile_relay(world) as relay, Cast(world) as cast:
        scene = Scene(world, cast, relay)
        await scene.begins()
        bruno = await cast.open("bruno")

        def answer(frame: RelayFrame) -> Iterable[RelayFrame]:
            if isinstance(frame, LinkingAnswer):
                sealed = _forged(letter, relay, scene.amelie, bruno)
                return (msgspec.structs.replace(frame, sealed=sealed),)
            return (frame,)

        relay.change = answer
        with pytest.raises(LetterForged):
            await scene.links()


def _forged(kind: str, relay: HostileRelay, amelie: Actor, bruno: Actor) -> bytes:
    request: bytes = next(frame.request for frame in relay.asked if hasattr(frame, "request"))
    asked = LinkingRequest.decode(request)
    if kind == "nonsense":
        return b"nonsense"
    row = (bruno if kind == "colleague's" else amelie).engine.row
    identity = row.identity if kind != "own" else SigningKey.generate()
    certificate = make_device(identity, row.chain[1], asked.device_key, now=int(time.time()))
    made = Letter(
        1,
        (certificate, row.chain[1], row.chain[2]),
        bytes(identity.seed),
        row.authority,
        (),
        None,
        None,
        None,
        "portable",
    )
    if kind == "for another request":
        request = msgspec.structs.replace(asked, nonce=bytes(16)).encode()
    return seal_letter(made, request)


async def test_a_request_that_nobody_answers_is_over(world: World) -> None:
    async with hostile_relay(world) as relay, Cast(world) as cast:
        scene = Scene(world, cast, relay)
        await scene.begins()
        with pytest.raises(LinkingOver):
            await scene.links(lasts=0.2)
