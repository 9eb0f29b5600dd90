"""Heads and proofs as clients get them: signed, consistent, and a row's own proof only."""

import pytest

from pli_protocol.identity import IdentityError
from pli_protocol.relay import frames as f
from pli_protocol.transparency import (
    MESSAGES,
    digest_of,
    leaf_data,
    leaf_hash,
    read_batch,
    verify_consistency,
    verify_head,
    verify_inclusion,
)
from pli_server.errors import OperatorError

from ..conftest import Server
from ..people import TestEstablishment
from ..raw_client import Refused
from ..team import joins, team


async def test_a_sign_in_brings_a_signed_head_that_holds_it(
    server: Server, home: TestEstablishment
) -> None:
    first, second = await joins(server, home), await joins(server, home, "Karim Benali")
    older, newer = first.client.signed_in, second.client.signed_in
    assert older.log_key == newer.log_key
    head = verify_head("relay.test", newer.head, newer.log_key)
    assert head.size == older.head.head.size + 1
    with pytest.raises(IdentityError):
        verify_head("another.test", newer.head, newer.log_key)


async def test_every_head_is_a_prefix_of_each_later_one(
    server: Server, home: TestEstablishment
) -> None:
    anne = await joins(server, home)
    group, client = await team(anne), anne.client
    heads = [client.signed_in.head.head]
    for number in range(12):
        await group.says(anne, b"%d" % number)
        heads.append((await client.ask(f.GetHead(client.rid()))).head.head)
    last = heads[-1]
    assert last.size == heads[0].size + 1 + 1 + 12
    for head in heads:
        asked = f.GetConsistency(client.rid(), head.timeline, head.size, last.size)
        path = (await client.ask(asked)).path
        verify_consistency(head.size, head.root, last.size, last.root, path)


async def test_a_size_that_the_log_never_had_is_not_found(
    server: Server, home: TestEstablishment
) -> None:
    anne = await joins(server, home)
    size = anne.client.signed_in.head.head.size
    for timeline, first, second in (
        (1, 1, size + 1),
        (1, 2, 1),
        (2, 1, 1),
        (1, 2**53 - 1, 2**53 - 1),
    ):
        with pytest.raises(Refused, match="not-found"):
            await anne.client.ask(f.GetConsistency(anne.client.rid(), timeline, first, second))


async def test_a_rows_inclusion_is_proven_to_its_members_from_its_chain_hash(
    server: Server, home: TestEstablishment
) -> None:
    anne, karim = await joins(server, home), await joins(server, home, "Karim Benali")
    lea = await joins(server, home, "Léa Roux")
    group = await team(anne, karim)
    # Several in one transaction: the writer takes what waits together.
    accepted = [await group.says(anne, b"%d" % number) for number in range(5)]
    for one in accepted:
        client = karim.client
        found = await client.ask(f.GetInclusion(client.rid(), group.group, one.position.seq))
        head = verify_head("relay.test", found.head, client.signed_in.log_key)
        proof = found.proof
        batch = read_batch(proof.body)
        verify_inclusion(
            leaf_hash(one.chain), proof.inner_no, batch.count, proof.inner_path, batch.root
        )
        leaf = leaf_hash(leaf_data(MESSAGES, digest_of(proof.salt, proof.body)))
        verify_inclusion(leaf, proof.entry, head.size, proof.path, head.root)
    for client, seq in ((lea.client, 2), (karim.client, 1), (karim.client, 99)):
        with pytest.raises(Refused, match="not-found"):
            await client.ask(f.GetInclusion(client.rid(), group.group, seq))


async def test_a_relay_with_another_log_key_does_not_start(server: Server) -> None:
    path = server.folder / "audit.key"
    kept = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    await server.stop()
    path.unlink()
    with pytest.raises(OperatorError, match="is missing"):
        await server.start()
    path.write_text("11" * 32)
    with pytest.raises(OperatorError, match="another key"):
        await server.start()
    path.write_text("no key")
    with pytest.raises(OperatorError, match="no key"):
        await server.start()
    path.write_text(kept)
    await server.start()


async def test_a_head_is_kept_now_and_then(server: Server, home: TestEstablishment) -> None:
    from pli_server.sweep import keep_head

    for _ in range(3):
        await keep_head(server.relay)
    await joins(server, home)
    await keep_head(server.relay)
    kept = server.read(
        lambda db: db.exec_driver_sql("SELECT size FROM trace_heads ORDER BY size").scalars().all()
    )
    assert kept == [3, 4]
