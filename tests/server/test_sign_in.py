"""Sign-in: chains, signatures, tokens that catch copied vaults, one connection per device."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest

from pli_protocol.identity import (
    DeviceRevocation,
    RevocationEntry,
    RevocationList,
    SigningKey,
    list_hash,
    make_device,
    sign,
)
from pli_protocol.relay import frames as f
from pli_protocol.relay.log import sign_in_challenge
from pli_server.relay import now_ms

from .conftest import Server
from .people import NOW, TestDevice, TestEstablishment, mls
from .raw_client import RawClient, Refused
from .team import joins, team


async def code_of(awaitable: Awaitable[object]) -> str:
    with pytest.raises(Refused) as caught:
        await awaitable
    return caught.value.code


async def attempt(server: Server, device: TestDevice, token: bytes | None) -> str:
    """The code with which a sign-in is refused; the connection is closed after it."""
    client = await server.open()
    code = await code_of(client.sign_in(device, token))
    await client.wait_closed()
    return code


async def test_the_first_sign_in_makes_the_device_known(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    first = await server.signed(device)
    assert first.signed_in.first
    await first.close()
    second = await server.signed(device, first.signed_in.token)
    assert not second.signed_in.first


async def test_until_it_is_confirmed_the_old_and_the_new_token_are_good(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    client = await server.open()
    unconfirmed = (await client.sign_in(device)).token
    await client.close()
    # The device crashed before it stored the token: it has none still.
    client = await server.open()
    newer = (await client.sign_in(device, None)).token
    await client.close()
    # It crashed after storing, before confirming: it shows the newer one.
    client = await server.open()
    newest = (await client.sign_in(device, newer)).token
    await client.close()
    assert len({unconfirmed, newer, newest}) == 3
    # Showing it was as good as confirming it: none at all is a rolled-back vault by now.
    assert await attempt(server, device, None) == "clone"


async def test_any_other_token_is_a_clone_and_both_copies_stop(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    original = await server.signed(device)
    old = original.signed_in.token
    await original.close()
    original = await server.signed(device, old)
    assert await attempt(server, device, old) == "clone"
    assert (await original.push(f.Refused)).code == "clone"
    await original.wait_closed()
    await server.restart()
    assert await attempt(server, device, original.signed_in.token) == "clone"


async def test_a_locked_device_is_no_longer_added_or_claimed(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    await b.client.ask(f.PublishKeyPackages(b.client.rid(), (b"kp1", b"kp2"), b"last"))
    assert await attempt(server, b.device, os.urandom(16)) == "clone"
    frame = f.ClaimKeyPackages(a.client.rid(), (b.person.account,))
    assert (await a.client.ask(frame)).claimed == ()
    with pytest.raises(Refused, match="roster"):
        await team(a, b)


async def test_confirming_any_other_token_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    client = await server.signed(home.person().device())
    frame = f.ConfirmToken(client.rid(), os.urandom(16))
    assert await code_of(client.ask(frame)) == "invalid"
    # The same again is done already.
    await client.ask(f.ConfirmToken(client.rid(), client.signed_in.token))


async def test_the_signature_is_bound_to_relay_challenge_and_token(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    token = os.urandom(16)
    for signed in (
        lambda g: sign_in_challenge("other.test", g.challenge, None),
        lambda g: sign_in_challenge(g.relay, os.urandom(32), None),
        lambda g: sign_in_challenge(g.relay, g.challenge, token),
    ):
        client = await server.open()
        signature = device.key.sign(signed(client.greeting))
        frame = f.SignIn(client.rid(), device.chain, signature)
        assert await code_of(client.ask(frame)) == "sign-in-failed"


async def test_unknown_wrong_and_mixed_chains_are_refused_alike(
    server: Server, home: TestEstablishment
) -> None:
    stranger = TestEstablishment("Ailleurs")
    known, foreign = home.person().device(), stranger.person().device()
    chains = (
        foreign.chain,
        (*foreign.chain[:2], known.chain[2]),
        (known.chain[0], *foreign.chain[1:]),
        known.chain[1:],
        (known.chain[0], known.chain[0], known.chain[2]),
        (b"\x30\x00", *known.chain[1:]),
        (stranger.issuer,),
        (home.authority,),
    )
    for chain in chains:
        client = await server.open()
        challenge = sign_in_challenge(client.greeting.relay, client.greeting.challenge, None)
        frame = f.SignIn(client.rid(), chain, known.key.sign(challenge))
        assert await code_of(client.ask(frame)) == "sign-in-failed"


async def test_an_expired_device_certificate_is_refused(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    server.clock = lambda: (NOW + 402 * 86400) * 1000
    assert await attempt(server, device, None) == "sign-in-failed"


async def test_an_account_under_another_key_is_another_person(
    server: Server, home: TestEstablishment
) -> None:
    first = home.person()
    await server.signed(first.device())
    other = home.person(account=first.account)
    assert await attempt(server, other.device(), None) == "sign-in-failed"


async def test_a_device_key_belongs_to_one_account(server: Server, home: TestEstablishment) -> None:
    one, two = home.person(), home.person()
    device = one.device()
    await server.signed(device)
    certificate = make_device(two.identity, two.certificate, device.key.public, now=NOW)
    chain = (certificate, two.certificate, home.issuer)
    assert await attempt(server, TestDevice(device.key, chain, two.account), None) == (
        "sign-in-failed"
    )


async def test_an_account_has_a_limited_number_of_devices(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(devices_per_account=2)
    home = TestEstablishment()
    await server.establish(home, server.code)
    person = home.person()
    await server.signed(person.device())
    await server.signed(await server.further_device(person))
    third = await server.further_device(person)
    client = await server.open()
    assert await code_of(client.sign_in(third)) == "limit"


async def test_a_second_connection_replaces_the_first(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    group = await team(a, b)
    newer = await server.signed(b.device, b.client.signed_in.token)
    assert (await b.client.push(f.Refused)).code == "replaced"
    await b.client.wait_closed()
    await group.says(a)
    assert (await newer.push(f.Row)).position.seq == 2


async def test_who_does_not_sign_in_is_closed_after_a_time(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(sign_in_seconds=1)
    client = await RawClient.open(server.url)
    await client.wait_closed()
    await client.close()


async def test_connections_that_have_not_signed_in_are_few_per_address(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(unsigned_per_address=3)
    home = TestEstablishment()
    await server.establish(home, server.code)
    for _ in range(3):
        await server.open()
    refused = await _ungreeted(server)
    assert (await refused.push(f.Refused)).code == "limit"
    await refused.wait_closed()
    await refused.close()


async def test_frames_before_signing_in_are_few(
    limited: Callable[..., Awaitable[Server]],
) -> None:
    server = await limited(unsigned_requests=5)
    client = await server.open()
    codes = [
        await code_of(client.ask(f.GetEstablishment(client.rid(), bytes(16)))) for _ in range(5)
    ]
    assert codes == ["not-found"] * 4 + ["limit"]
    await client.wait_closed()


def revocations(home: TestEstablishment, *entries: RevocationEntry, number: int = 1) -> bytes:
    statement = RevocationList(home.id, number, bytes(32), entries, NOW)
    return sign(statement, home.issuer_key, (home.issuer,))


async def test_a_revoked_device_is_cut_off_and_refused(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    issuer = await server.issuer(home)
    statement = revocations(home, RevocationEntry("device", b.id, "lost", NOW))
    await issuer.ask(f.PublishRevocations(issuer.rid(), statement))
    assert (await a.client.push(f.RevocationsChanged)).number == 1
    assert isinstance(await b.client.next(), f.RevocationsChanged)
    assert (await b.client.push(f.Refused)).code == "sign-in-failed"
    await server.restart()
    assert await attempt(server, b.device, b.client.signed_in.token) == "sign-in-failed"
    again = await server.signed(a.device, a.client.signed_in.token)
    assert again.signed_in.revocations == 1
    answer = await again.ask(f.GetRevocations(again.rid(), home.id))
    assert answer.statement == statement


async def test_a_revoked_person_stands_in_no_directory_and_no_roster(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    issuer = await server.issuer(home)
    entry = RevocationEntry("person", b.person.person_id, "left", NOW)
    await issuer.ask(f.PublishRevocations(issuer.rid(), revocations(home, entry)))
    people = (await a.client.ask(f.GetDirectory(a.client.rid()))).people
    assert [chain[0] for chain in people] == [a.person.certificate]
    with pytest.raises(Refused, match="roster"):
        await team(a, b)


async def test_a_revocation_list_only_moves_forwards(
    server: Server, home: TestEstablishment
) -> None:
    issuer = await server.issuer(home)
    one = revocations(home, RevocationEntry("device", bytes(16), "lost", NOW))
    fork = revocations(home, RevocationEntry("device", b"x" * 16, "lost", NOW))
    await issuer.ask(f.PublishRevocations(issuer.rid(), one))
    await issuer.ask(f.PublishRevocations(issuer.rid(), one))
    assert await code_of(issuer.ask(f.PublishRevocations(issuer.rid(), fork))) == "conflict"
    shrunk = sign(
        RevocationList(home.id, 2, list_hash(one), (), NOW), home.issuer_key, (home.issuer,)
    )
    assert await code_of(issuer.ask(f.PublishRevocations(issuer.rid(), shrunk))) == "invalid"


async def test_a_person_revokes_its_own_device_and_no_other(
    server: Server, home: TestEstablishment
) -> None:
    a, b = await joins(server, home), await joins(server, home)
    second = await server.further_device(a.person)
    lost = await server.signed(second)

    def statement(device: bytes, person: bytes, key: SigningKey, certificate: bytes) -> bytes:
        body = DeviceRevocation(home.id, person, device, "lost", NOW)
        return sign(body, key, (certificate, home.issuer))

    others = statement(b.id, b.person.person_id, b.person.identity, b.person.certificate)
    frame = f.PublishRevocations(a.client.rid(), others)
    assert await code_of(a.client.ask(frame)) == "invalid"
    own = statement(second.id, a.person.person_id, a.person.identity, a.person.certificate)
    await a.client.ask(f.PublishRevocations(a.client.rid(), own))
    assert (await lost.push(f.StatementsChanged)).number == 1
    assert (await lost.push(f.Refused)).code == "sign-in-failed"
    await server.restart()
    assert await attempt(server, second, lost.signed_in.token) == "sign-in-failed"
    await server.signed(a.device, a.client.signed_in.token)


async def test_a_device_cannot_publish_a_list_nor_an_issuer_a_devices_statement(
    server: Server, home: TestEstablishment
) -> None:
    a = await joins(server, home)
    statement = revocations(home, RevocationEntry("device", a.id, "lost", NOW))
    frame = f.PublishRevocations(a.client.rid(), statement)
    assert await code_of(a.client.ask(frame)) == "not-found"


async def test_versions_without_a_common_one_are_refused_with_the_side_to_update(
    server: Server,
) -> None:
    for versions, side in (((7,), "relay"), ((0,), "client")):
        client = RawClient((await RawClient.open(server.url)).ws)
        await client.close()
        fresh = await _ungreeted(server)
        await fresh.send(f.Hello(versions))
        refusal = await fresh.push(f.Refused)
        assert (refusal.code, refusal.detail) == ("unsupported-version", f"update the {side}")
        await fresh.close()


async def _ungreeted(server: Server) -> RawClient:
    from websockets.asyncio.client import connect

    return RawClient(await connect(server.url, compression=None, proxy=None))


async def test_two_sign_ins_of_one_device_at_once_leave_one_connection(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    clients = [await server.open() for _ in range(4)]
    outcomes = await asyncio.gather(
        *(client.sign_in(device) for client in clients), return_exceptions=True
    )
    # Who was greeted before another one signed in is told to come again: its token may be an old one.
    signed_in = [outcome for outcome in outcomes if isinstance(outcome, f.SignedIn)]
    refused = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
    assert signed_in
    assert refused == ["try-later"] * (4 - len(signed_in))
    assert len(server.relay.sessions) == 1
    member = server.relay.sessions[1]
    assert member.device is not None
    assert mls(b"g" * 16, 1)


async def test_a_sign_in_that_waited_while_the_device_signed_in_elsewhere_is_no_copy(
    server: Server, home: TestEstablishment
) -> None:
    """As at a node that was stopped: it reads the old token when the device has a new one."""
    device = home.person().device()
    first = await server.signed(device)
    old = first.signed_in.token
    late = await server.open()
    server.clock = lambda: now_ms() + 10
    second = await server.signed(device, old)  # shows, and confirms, a newer token
    third = await server.signed(device, second.signed_in.token)
    with pytest.raises(Refused, match="try-later"):
        await late.sign_in(device, old)
    # Nothing has changed: not locked, and the newest connection and token count.
    await third.settle()
    again = await server.signed(device, third.signed_in.token)
    # Shown to a greeting of now, the old token is a copy's.
    with pytest.raises(Refused, match="clone"):
        await server.signed(device, old)
    await again.wait_closed()


async def test_what_order_decides_is_refused_to_a_connection_that_another_node_has_replaced(
    server: Server, home: TestEstablishment
) -> None:
    device = home.person().device()
    client = await server.signed(device)
    # The device signs in at another node, and this one was not told yet.
    server.change("UPDATE devices SET session = session + 1")
    with pytest.raises(Refused, match="replaced"):
        await client.ask(f.PublishKeyPackages(client.rid(), (b"key package",), None, True))
