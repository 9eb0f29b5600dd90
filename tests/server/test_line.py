"""The thinnest whole line: register, sign in, open a group, send, receive, acknowledge."""

import os

from pli_protocol.relay import frames as f
from pli_protocol.relay.log import FIRST_CHAIN, chain_hash

from .conftest import Server
from .people import TestEstablishment, commit, mls


async def test_a_message_goes_from_one_person_to_another(
    server: Server, home: TestEstablishment
) -> None:
    anne, karim = home.person().device(), home.person("Karim Benali").device()
    a, k = await server.signed(anne), await server.signed(karim)
    group = os.urandom(16)
    send_id = os.urandom(16)
    opened = await a.ask(
        f.CreateGroup(a.rid(), group, send_id, commit(group, 0, (karim.id,)), b"welcome")
    )
    assert opened.position == f.Position(1, 1)
    first = await a.push(f.Row)
    assert first.chain == opened.chain
    welcome = await k.push(f.WelcomeWaiting)
    assert (welcome.welcome, welcome.position, welcome.chain) == (
        b"welcome",
        opened.position,
        opened.chain,
    )
    message = mls(group, 1)
    sent = await a.sends(message)
    for client in (a, k):
        row = await client.push(f.Row)
        assert (row.message, row.position, row.sender, row.kind) == (
            message,
            f.Position(1, 2),
            anne.id,
            "application",
        )
        assert row.chain == sent.chain
    assert opened.chain == chain_hash(
        FIRST_CHAIN,
        group,
        f.Position(1, 1),
        0,
        "commit",
        anne.id,
        send_id,
        commit(group, 0, (karim.id,)),
    )
    await k.send(f.AcknowledgeWelcome(welcome.item))
    await k.send(f.Acknowledge((f.Acknowledgement(group, 2),)))
    await k.settle()
    await k.close()
    await server.restart()
    k = await server.signed(karim, k.signed_in.token)
    await k.settle()
    assert not k.pushes
