"""What a person and an establishment say about devices, in few words."""

from typing import Any

from pli_client.issuer import Issuer
from pli_client.store.device import read_device
from pli_protocol.identity import DeviceRevocation, sign
from pli_protocol.relay.frames import PublishRevocations

from .actor import Actor
from .world import PASSPHRASE, World


async def declare(actor: Actor, device_id: bytes, reason: Any, time: int = 1_900_000_000) -> bytes:
    """A person's own word about a device of theirs, brought to the relay; the statement."""
    statement = await own_word(actor, device_id, reason, time)
    await actor.client.online()
    await actor.engine.connection.request(PublishRevocations(0, statement))
    return statement


async def own_word(actor: Actor, device_id: bytes, reason: Any, time: int = 1_900_000_000) -> bytes:
    row = await actor.vault.read(read_device)
    assert row is not None
    own = actor.engine.own
    body = DeviceRevocation(own.device.person.establishment, own.person_id, device_id, reason, time)
    return sign(body, row.identity, row.chain[1:])


async def list_revokes(world: World, kind: str, name: str, reason: Any) -> None:
    """The establishment revokes a person of this name, or the device of an id in hexadecimal."""
    async with await Issuer.open(world.folder / "admin", PASSPHRASE) as issuer:
        if kind == "person":
            await issuer.revoke((await issuer.find(name)).account, reason)
        else:
            await issuer.revoke_device(bytes.fromhex(name), reason)
        await issuer.publish()
