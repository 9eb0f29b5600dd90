"""Proofs that were tampered with: refused as such, whatever was changed; the bot lives on."""

import random

from msgspec.structs import replace

from pli_client.engine import records
from pli_client.vault import Database
from pli_protocol.content import Forward, Proof
from pli_protocol.content.proof import ProofError, verify_forward, verify_proof

from ..system.world import World
from .lone import alone

ROUNDS = 400


def _damaged(data: bytes, chance: random.Random) -> bytes:
    """One byte changed, removed or added somewhere."""
    at = chance.randrange(len(data))
    way = chance.randrange(3)
    if way == 0:
        return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
    return data[:at] + (b"" if way == 1 else chance.randbytes(1)) + data[at + 1 - way // 2 :]


async def test_a_damaged_proof_proves_nothing_and_breaks_nothing(world: World) -> None:
    async with alone(world, "bruno") as (bruno,):

        def look(db: Database) -> bytes:
            row = db.execute(
                "SELECT message_id FROM messages WHERE kind = 'post' AND signed IS NOT NULL"
            ).fetchone()
            assert row is not None
            return bytes(row[0])

        message_id = await bruno.read(look)
        proof = await bruno.write(lambda work: records.proof_of(work, message_id))
        assert proof is not None
        trust = bruno.engine.around.trust
        good = verify_proof(proof, trust)
        assert good.message_id == message_id
        chance = random.Random(20261122)
        for _ in range(ROUNDS):
            way = chance.randrange(3)
            bad: Proof
            if way == 0:
                bad = replace(proof, signed=_damaged(proof.signed, chance))
            elif way == 1:
                bad = replace(proof, context=_damaged(proof.context, chance))
            else:
                chain = list(proof.chain)
                which = chance.randrange(3)
                chain[which] = _damaged(chain[which], chance)
                bad = replace(proof, chain=tuple(chain))
            try:
                found = verify_proof(bad, trust)
            except ProofError:
                pass
            else:
                assert bad == proof or found == good
            try:
                verify_forward(Forward(bad, bad), trust)
            except ProofError:
                pass
            else:
                raise AssertionError("an act that is no act")
