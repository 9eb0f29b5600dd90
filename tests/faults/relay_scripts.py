"""What people do while the relay is killed under them: one short script per kind of write."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeVar

from websockets.exceptions import ConnectionClosed

from pli_client.engine import sending
from pli_client.enrolment import enrol
from pli_client.errors import Offline, RelayRefused
from pli_client.files import upload
from pli_client.issuer import Issuer, NotAChange, open_authority
from pli_client.linking import add_when_ready, approve, link, waiting
from pli_client.store import device, groups
from pli_client.vault import Vault
from pli_protocol.identity.linking import AccountAddress
from pli_protocol.identity.password import Cost, derive
from pli_protocol.relay.frames import (
    BlobPart,
    CloseAccount,
    GetBlob,
    RenewRecoveryCodes,
    ResetCredentials,
)

from ..server.credentials import Authenticator
from ..server.people import TestEstablishment
from ..server.raw_client import RawClient, Refused
from ..system.partnering import ELSEWHERE, sign_a_partner
from ..system.world import AUTHORITY_PASSPHRASE, CHEAP, PASSPHRASE, TITLE
from .cast import Cast

T = TypeVar("T")
QUICK_COST: Final = Cost(memory=1024, passes=1, lanes=1)
Script = Callable[[Cast], Awaitable[None]]


async def everyday(cast: Cast) -> None:
    """Sign-in, messages both ways, a colleague added, another conversation."""
    amelie, bruno, chloe = [await cast.open(who) for who in ("amelie", "bruno", "chloe")]
    conversation = await amelie.conversation(TITLE)
    await asyncio.gather(
        cast.say(amelie, conversation, *(f"Amélie {i}" for i in range(4))),
        cast.say(bruno, conversation, *(f"Bruno {i}" for i in range(4))),
    )
    await amelie.add(conversation, cast.name("chloe"))
    assert await chloe.conversation(TITLE) == conversation
    await cast.say(chloe, conversation, "Chloé est là")
    for actor in (amelie, bruno):
        await actor.received("Chloé est là")
    urgent = await bruno.start("Urgence", cast.name("chloe"))
    await cast.say(bruno, urgent, "Viens vite")
    await chloe.received("Viens vite")


async def first_sign_in(cast: Cast) -> None:
    """David, enrolled but never seen, comes and is added."""
    amelie, david = await cast.open("amelie"), await cast.open("david")
    await david.ready()
    conversation = await amelie.conversation(TITLE)
    await amelie.add(conversation, cast.name("david"))
    assert await david.conversation(TITLE) == conversation
    await cast.say(david, conversation, "Bonjour de David")


async def partnering(cast: Cast) -> None:
    """The administrator signs a partner; a professional's device hears of it."""
    amelie = await cast.open("amelie")
    async with await Issuer.open(cast.world.folder / "admin", PASSPHRASE) as issuer:
        await _insist(lambda: sign_a_partner(cast.world, issuer))
        assert [p.state for p in await issuer.partners.all()] == ["waiting"]

    async def known() -> bool | None:
        return [p.name for p in await amelie.client.partners()] == [ELSEWHERE] or None

    await amelie.client.until(known, None)


async def joining(cast: Cast) -> None:
    """Somebody new is invited and enrols."""
    async with cast.world.issuer() as issuer:
        invited = await issuer.invite(name="Élise Petit", profession="Éducatrice")
        folder = cast.world.folder / "elise"
        async with await Vault.create(folder, PASSPHRASE, kdf=CHEAP) as vault:
            device = await _insist(lambda: enrol(vault, invited.invitation, pause=_briefly))
        assert device.person.name == "Élise Petit"
        assert [row.name for row in await issuer.people()].count("Élise Petit") == 1


async def revoking(cast: Cast) -> None:
    """Chloé's account is revoked while she is a member; the others remove her and go on."""
    amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
    conversation = await amelie.conversation(TITLE)
    await amelie.add(conversation, cast.name("chloe"))
    await bruno.members(conversation, *(cast.name(who) for who in ("amelie", "bruno", "chloe")))
    cast.revoked.add("chloe")
    async with cast.world.issuer() as issuer:
        await issuer.revoke((await issuer.find(cast.name("chloe"))).account, "left")
        await bruno.members(conversation, cast.name("amelie"), cast.name("bruno"))
    await cast.say(amelie, conversation, "Sans Chloé")
    await bruno.received("Sans Chloé")


async def certifying(cast: Cast) -> None:
    """Bruno gets another name while he is at work."""
    amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
    await bruno.client.online()
    async with cast.world.issuer() as issuer:
        account = (await issuer.find(cast.name("bruno"))).account
        await issuer.change(account, profession="Infirmier")
        await cast.relay_was_killed()
        said = "SELECT 1 FROM people WHERE account = ? AND profession = 'Infirmier'"
        for actor in (amelie, bruno):
            await actor.until(lambda db: db.execute(said, (account,)).fetchone())


async def handing_over(cast: Cast) -> None:
    """The authority hands over to another one; Amélie confirms it, and everybody goes on."""
    amelie = await cast.open("amelie")
    await amelie.client.online()
    old, _ = open_authority(cast.world.folder / "admin" / "authority.json", AUTHORITY_PASSPHRASE)
    new = cast.world.folder / "new-authority.json"
    async with await Issuer.open(cast.world.folder / "admin", PASSPHRASE) as issuer:
        change = await issuer.begin_authority(new, AUTHORITY_PASSPHRASE, before=old, kdf=CHEAP)

        async def publish() -> None:
            with suppress(NotAChange):  # it was taken, and the answer lost
                await issuer.publish_authority(change)

        await _insist(publish)
    number, _change = await amelie.until(device.pending_authority_change)
    await amelie.client.trust_authority(number)
    assert len(amelie.engine.around.trust.authority_changes) == 1
    await cast.say(amelie, await amelie.conversation(TITLE), "Sous la nouvelle autorité")


async def leaving(cast: Cast) -> None:
    """Bruno leaves while Amélie is away; when she is back, her device removes his."""
    bruno = await cast.open("bruno")
    conversation = await bruno.conversation(TITLE)
    await cast.say(bruno, conversation, "Au revoir")
    await bruno.engine.write(lambda work: sending.queue_leave(work, conversation))
    await bruno.until(lambda db: groups.all_groups(db)[0].state == "left")
    amelie = await cast.open("amelie")
    await amelie.members(conversation, cast.name("amelie"))


async def coming_back(cast: Cast) -> None:
    """Bruno's group state is lost; Amélie adds his device again."""
    bruno = await cast.open("bruno")
    await bruno.vault.write(lambda db: db.execute("DELETE FROM mls_state"))
    await bruno.close()
    amelie, bruno = await cast.open("amelie"), await cast.open("bruno")
    conversation = await amelie.conversation(TITLE)
    await cast.say(bruno, conversation, "De retour")
    await amelie.received("De retour")


async def attaching(cast: Cast) -> None:
    """A file of several parts goes up and comes down whole."""
    amelie = await cast.open("amelie")
    data, blob = os.urandom(200_000), os.urandom(32)
    path = cast.world.folder / "sealed"
    path.write_bytes(data)
    relay = amelie.engine.connection
    await relay.online()
    await _insist(lambda: upload(relay, blob, path))
    held = b""
    while len(held) < len(data):
        part = GetBlob(0, blob, len(held))
        found: BlobPart = await _insist(partial(relay.request, part))  # type: ignore[arg-type]
        held += found.data
    assert held == data


async def securing(cast: Cast) -> None:
    """Amélie sets up both factors; the issuer, who has its own, erases them and closes David's account."""
    cast.revoked.add("david")
    amelie = await cast.open("amelie")
    own, issuers = Authenticator(), Authenticator()
    await amelie.engine.connection.online()

    async def work() -> None:
        await amelie.engine.connection.online()
        await own.set_up(amelie.engine.connection.request)  # type: ignore[arg-type]
        await own.step_up(amelie.engine.connection.request)  # type: ignore[arg-type]
        await amelie.engine.connection.request(RenewRecoveryCodes(0))

    async def reset() -> None:
        async with cast.world.issuer() as issuer, issuer.online() as relay:
            await issuers.set_up(relay.request)  # type: ignore[arg-type]
            await issuers.step_up(relay.request)  # type: ignore[arg-type]
            await relay.request(ResetCredentials(0, amelie.engine.row.account))
            david = (await issuer.find(cast.name("david"))).account
            await relay.request(CloseAccount(0, david))

    await _insist(work)
    await _insist(reset)


async def linking(cast: Cast) -> None:
    """Amélie links a further device, which then stands in her conversation."""
    amelie = await cast.open("amelie")
    await amelie.engine.connection.online()
    own = amelie.engine.own.device.person
    password = derive("cinq mots", own.establishment, own.account, QUICK_COST)
    factors = Authenticator(bytes(password))
    await _insist(lambda: factors.set_up(amelie.engine.connection.request))  # type: ignore[arg-type]
    address = AccountAddress(own.establishment, own.account, amelie.engine.row.relay_url).text()
    approving: list[asyncio.Task[bytes]] = []

    async def look(code: str) -> bytes:
        return await approve(amelie.engine, await waiting(amelie.engine), code, "bureau")

    def tell(step: str, code: str) -> None:
        if step == "asked":
            approving.append(asyncio.create_task(look(code)))

    async def ask(vault: Vault) -> None:
        await amelie.engine.connection.online()
        await link(vault, address, "cinq mots", factors.code(), tell=tell, cost=QUICK_COST)

    async with await Vault.create(cast.world.vault("amelie-2"), PASSPHRASE, kdf=CHEAP) as vault:
        await _insist(lambda: ask(vault))
    await asyncio.gather(*approving, return_exceptions=True)
    new = await cast.open("amelie-2")
    await new.ready()
    assert await add_when_ready(amelie.engine)
    conversation = await amelie.conversation(TITLE)
    assert await new.conversation(TITLE) == conversation
    await cast.say(amelie, conversation, "Aux deux appareils")
    await new.received("Aux deux appareils")


async def intruding(cast: Cast) -> None:
    """Somebody whom no establishment here has enrolled tries to sign in."""
    amelie = await cast.open("amelie")
    stranger = await RawClient.open(cast.world.relay.url)
    with suppress(Refused, ConnectionClosed):
        await stranger.sign_in(TestEstablishment().person().device())
    await stranger.close()
    await cast.relay_was_killed()
    await cast.say(amelie, await amelie.conversation(TITLE), "Après l'intrus")


async def sweeping(cast: Cast) -> None:
    """The relay clears what is old and signs a head of its log, beside the day's work."""
    amelie = await cast.open("amelie")
    await cast.relay_was_killed()
    await cast.say(amelie, await amelie.conversation(TITLE), "Après le ménage")


async def _briefly(_seconds: float) -> None:
    """Look again for the answer without the ten seconds that a real device waits."""
    await asyncio.sleep(0.05)


async def _insist(work: Callable[[], Awaitable[T]]) -> T:
    """Again after a lost connection, as the engine does."""
    while True:
        try:
            return await work()
        except Offline:
            await asyncio.sleep(0)
        except RelayRefused as refused:
            if refused.refusal != "try-later":
                raise


SCRIPTS: Final[dict[str, Script]] = {
    "attempt": securing,
    "authority-change": handing_over,
    "blob": attaching,
    "blob-fetch": attaching,
    "certificate": certifying,
    "close-account": securing,
    "enrolment-answer": joining,
    "enrolment-request": joining,
    "head": sweeping,
    "key-packages": first_sign_in,
    "leave": leaving,
    "linking-answer": linking,
    "linking-request": linking,
    "partner": partnering,
    "password": securing,
    "recovery-codes": securing,
    "reset-credentials": securing,
    "return": coming_back,
    "revocations": revoking,
    "second-factor": securing,
    "sign-in-failed": intruding,
    "sweep": sweeping,
    "totp": securing,
}
"""By kind of write; `everyday` for all others."""
