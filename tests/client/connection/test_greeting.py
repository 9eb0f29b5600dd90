"""The first frames: version, name, sign-in, the token that catches copies."""

import asyncio
from collections.abc import Sequence

import pytest
from nacl.signing import SigningKey
from websockets.exceptions import ConnectionClosed

from pli_client.connection import Connecting, Connection, ConnectionState, Disconnected, Online
from pli_client.connection import session as session_module
from pli_client.errors import (
    ClientOutdated,
    DiskFull,
    Offline,
    PliError,
    RelayMisbehaved,
    RelayOutdated,
    RelayRefused,
    SignedInElsewhere,
    SignInRefused,
    VaultCopied,
    WrongRelay,
)
from pli_protocol.relay.frames import (
    PROTOCOL_VERSIONS,
    ConfirmToken,
    Done,
    GetGroups,
    Hello,
    Refused,
    SignedIn,
    SignIn,
)
from pli_protocol.relay.log import sign_in_challenge
from pli_protocol.secret import Secret

from .relay import CHALLENGE, HEAD, LOG_KEY, TOKEN, FakeRelay, Pause, Peer


class Device:
    """A signer that keeps its token in memory and notes when it was stored."""

    def __init__(self) -> None:
        self.key = SigningKey(bytes(32))
        self.stored: list[bytes] = []
        self.full = False

    @property
    def chain(self) -> Sequence[bytes]:
        return (b"device", b"person", b"issuer")

    def sign(self, data: bytes) -> bytes:
        return self.key.sign(data).signature

    async def token(self) -> bytes | None:
        return Secret(self.stored[-1]) if self.stored else None

    async def store_token(self, token: bytes) -> None:
        if self.full:
            raise DiskFull()
        self.stored.append(token)


async def silent(peer: Peer) -> None:
    """Nothing more may come from the client."""
    with pytest.raises(ConnectionClosed):
        await peer.websocket.recv()


async def refused_by(connection: Connection) -> PliError:
    with pytest.raises(PliError) as raised:
        await connection.online(10)
    return raised.value


async def test_hello_names_the_versions_spoken() -> None:
    hellos: asyncio.Queue[Hello] = asyncio.Queue()

    async def script(peer: Peer) -> None:
        hellos.put_nowait(await peer.welcome())
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url, software="test") as connection:
        online = await connection.online(10)
        assert await hellos.get() == Hello(PROTOCOL_VERSIONS, "test")
        assert (online.signed_in, online.greeting.challenge) == (None, CHALLENGE)


async def test_a_relay_of_another_name_learns_nothing_but_hello() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome("relay.evil")
        await silent(peer)

    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=Device(), pause=Pause()) as connection,
    ):
        error = await refused_by(connection)
        assert isinstance(error, WrongRelay)
        assert "relay.evil" in error.cause
        assert "localhost" in error.cause


@pytest.mark.parametrize(("given", "told"), [(None, "LOCALHOST"), ("relais-nord", "relais-nord")])
async def test_the_name_is_the_urls_host_unless_another_is_given(
    given: str | None, told: str
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(told)
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url, relay_name=given) as connection:
        assert (await connection.online(10)).greeting.relay == told


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        ("update the client", ClientOutdated),
        ("update the relay", RelayOutdated),
        ("relay", RelayOutdated),
        ("", ClientOutdated),
    ],
)
async def test_no_version_in_common_says_which_side_to_update(
    side: str, expected: type[PliError]
) -> None:
    async def script(peer: Peer) -> None:
        await peer.hear(Hello)
        await peer.say(Refused("unsupported-version", detail=side))
        await silent(peer)

    async with FakeRelay(script) as relay, Connection(relay.url, pause=Pause()) as connection:
        assert type(await refused_by(connection)) is expected


async def first_error(relay: FakeRelay, device: Device | None = None) -> PliError:
    """Why the first attempt failed, where the client would go on trying."""
    pause = Pause()
    async with Connection(relay.url, signer=device, pause=pause) as connection:
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        return connection.state.error


async def test_a_version_that_was_not_offered_is_not_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(version=2)
        await silent(peer)

    async with FakeRelay(script) as relay:
        assert isinstance(await first_error(relay), RelayMisbehaved)


async def test_a_first_frame_that_is_no_greeting_is_not_taken() -> None:
    async def script(peer: Peer) -> None:
        await peer.hear(Hello)
        await peer.say(Done(0))
        await silent(peer)

    async with FakeRelay(script) as relay:
        assert isinstance(await first_error(relay), RelayMisbehaved)


async def test_a_relay_that_does_not_greet_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "GREETING_TIMEOUT", 0.01)

    async def script(peer: Peer) -> None:
        await peer.hear(Hello)
        await silent(peer)

    async with FakeRelay(script) as relay:
        assert isinstance(await first_error(relay), Offline)


async def test_signing_in_proves_the_key_to_this_relay_and_challenge() -> None:
    device, asked = Device(), asyncio.Queue[SignIn]()

    async def script(peer: Peer) -> None:
        asked.put_nowait(await peer.sign_in())
        await peer.until_closed()

    async with FakeRelay(script) as relay, Connection(relay.url, signer=device) as connection:
        online = await connection.online(10)
        assert online.signed_in is not None
        assert online.signed_in.token == bytes(16), "the signer keeps the token, and nobody else"
        assert await device.token() == TOKEN
    sign_in = await asked.get()
    assert sign_in.chain == (b"device", b"person", b"issuer")
    assert sign_in.token is None
    data = sign_in_challenge("localhost", CHALLENGE, None)
    device.key.verify_key.verify(data, sign_in.signature)


async def test_the_token_is_stored_before_it_is_confirmed_and_shown_the_next_time() -> None:
    device = Device()

    async def script(peer: Peer) -> None:
        token = bytes([peer.number]) * 16
        await peer.welcome()
        asked = await peer.hear(SignIn)
        assert asked.token == (device.stored[-1] if device.stored else None)
        challenge = sign_in_challenge("localhost", CHALLENGE, asked.token)
        device.key.verify_key.verify(challenge, asked.signature)
        await peer.say(SignedIn(asked.rid, token, 1, 0, 0, LOG_KEY, HEAD))
        confirmed = await peer.hear(ConfirmToken)
        assert device.stored[-1] == token == confirmed.token
        await peer.say(Done(confirmed.rid))
        await peer.until_closed()

    async with FakeRelay(script) as relay:
        for _ in range(3):
            async with Connection(relay.url, signer=device) as connection:
                await connection.online(10)
    assert [token[0] for token in device.stored] == [0, 1, 2]


async def test_a_token_that_could_not_be_stored_is_not_confirmed() -> None:
    device = Device()
    device.full = True

    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(SignIn)
        await peer.say(SignedIn(asked.rid, TOKEN, 1, 0, 0, LOG_KEY, HEAD))
        if device.full:
            await silent(peer)
        else:
            await peer.say(Done((await peer.hear(ConfirmToken)).rid))
            await peer.until_closed()

    pause = Pause()
    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=device, pause=pause) as connection,
    ):
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        assert isinstance(connection.state.error, DiskFull)
        device.full = False
        connection.wake()
        await connection.online(10)
        assert device.stored == [TOKEN]


@pytest.mark.parametrize(
    ("code", "expected"), [("clone", VaultCopied), ("sign-in-failed", SignInRefused)]
)
async def test_a_refused_sign_in_stops_for_good(code: str, expected: type[PliError]) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        asked = await peer.hear(SignIn)
        await peer.say(Refused(code, asked.rid))
        await silent(peer)

    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=Device()) as connection,
    ):
        assert type(await refused_by(connection)) is expected
        assert connection.state == Disconnected(connection.state.error, None)  # type: ignore[union-attr]
        connection.wake()
        with pytest.raises(expected):
            await connection.request(GetGroups(0))
    assert relay.connections == 1


@pytest.mark.parametrize("code", ["clone", "sign-in-failed", "replaced"])
async def test_a_push_may_end_it_for_good_too(code: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.sign_in()
        await peer.say(Refused(code))
        await silent(peer)

    states: asyncio.Queue[ConnectionState] = asyncio.Queue()
    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=Device(), on_state=states.put_nowait) as connection,
    ):
        assert await states.get() == Connecting(0)
        assert isinstance(await states.get(), Online)
        stopped = await states.get()
        assert isinstance(stopped, Disconnected)
        assert stopped.retry_in is None
        assert type(stopped.error) in (VaultCopied, SignInRefused, SignedInElsewhere)
        assert connection.state is stopped


async def test_a_relay_that_cannot_store_now_is_asked_again_later() -> None:
    async def script(peer: Peer) -> None:
        if peer.number == 0:
            await peer.welcome()
            asked = await peer.hear(SignIn)
            await peer.say(Refused("try-later", asked.rid, retry_after=1000))
            await silent(peer)
        else:
            await peer.sign_in()
            await peer.until_closed()

    pause = Pause()
    async with (
        FakeRelay(script) as relay,
        Connection(relay.url, signer=Device(), pause=pause) as connection,
    ):
        await pause.asked.get()
        assert isinstance(connection.state, Disconnected)
        assert isinstance(connection.state.error, RelayRefused)
        connection.wake()
        await connection.online(10)
