"""A person with two devices: both are in every conversation, and one can be taken away."""

from pathlib import Path

import msgspec

from pli_client.store.device import read_device
from pli_client.vault import Database, Vault
from pli_protocol.identity import SigningKey, make_device

from .team import posts, settle, together
from .world import CHEAP, PASSPHRASE, PATIENCE, PEOPLE, World


async def second_device(world: World, who: str, name: str) -> Path:
    """A vault for another device of the same person, approved at the relay: linking without its letter."""
    async with await Vault.open(world.vault(who), PASSPHRASE) as vault:
        row = await vault.read(read_device)
        assert row is not None
        establishments = await vault.read(
            lambda db: db.execute("SELECT * FROM establishments").fetchall()
        )
        now = await vault.read(lambda db: db.execute("SELECT created_at FROM device").fetchone())
    key = SigningKey.generate()
    chain = (
        make_device(row.identity, row.chain[1], key.public, now=now[0] // 1000),
        *row.chain[1:],
    )

    def fill(db: Database) -> None:
        marks = ", ".join("?" * len(establishments[0]))
        db.executemany(f"INSERT INTO establishments VALUES ({marks})", establishments)
        db.execute(
            """INSERT INTO device (one, relay_url, relay_name, establishment, account, device_id,
                   identity_key, signature_key, chain, created_at)
               VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                row.relay_url,
                row.relay_name,
                establishments[0][0],
                row.account,
                _device_id(key),
                bytes(row.identity.seed),
                bytes(key.seed),
                msgspec.msgpack.encode(chain),
                now[0],
            ),
        )

    async with await Vault.create(world.folder / name, PASSPHRASE, kdf=CHEAP) as vault:
        await vault.write(fill)
    world.relay.approve(row.account, _device_id(key))
    return world.folder / name


def _device_id(key: SigningKey) -> bytes:
    from pli_protocol.relay.log import device_id

    return device_id(key.public)


async def test_both_devices_of_a_person_read_and_write(world: World) -> None:
    await second_device(world, "bruno", "bruno-2")
    async with together(world, "amelie", "bruno", "bruno-2") as (amelie, phone, desk):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("aux deux")).stored(PATIENCE)
        await settle(amelie, phone, desk)
        one, two = await phone.conversation("Étage 2"), await desk.conversation("Étage 2")
        await (await one.send("du téléphone")).stored(PATIENCE)
        await (await two.send("du bureau")).stored(PATIENCE)
        await settle(amelie, phone, desk)
        everything = ["aux deux", "du téléphone", "du bureau"]
        for conversation in (team, one, two):
            assert await posts(conversation) == everything
        assert len(await team.members()) == 2
        own = [m.own for m in await two.page() if m.kind == "post"]
        assert own == [False, True, True]


async def test_a_new_device_is_added_to_the_conversations_of_its_person(world: World) -> None:
    async with together(world, "amelie", "bruno") as (amelie, phone):
        team = await amelie.start("Étage 2", [PEOPLE["bruno"].name])
        await (await team.send("avant le bureau")).stored(PATIENCE)
        await settle(amelie, phone)
    await second_device(world, "bruno", "bruno-2")
    async with together(world, "amelie", "bruno", "bruno-2") as (amelie, phone, desk):

        async def there() -> bool | None:
            return any(c.title == "Étage 2" for c in await desk.conversations()) or None

        await desk.until(there, PATIENCE)
        team = await amelie.conversation("Étage 2")
        await (await team.send("au bureau aussi")).stored(PATIENCE)
        await settle(amelie, phone, desk)
        assert await posts(await desk.conversation("Étage 2")) == ["au bureau aussi"]
        devices = {m.person.name: m.devices for m in await team.members()}
        assert devices[PEOPLE["bruno"].name] == 2
