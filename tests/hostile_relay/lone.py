"""People of a world without a relay: a test says itself what the relay would have said.

Each is a real vault with a real engine; only the connection is missing, so every lie that a relay or a
member could tell can be put to one device, step by step.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

from pli_client.connection import Connecting
from pli_client.engine.engine import Engine
from pli_client.engine.profile import SUITE, group_extensions, lifetime
from pli_client.engine.profile import capabilities as profile_capabilities
from pli_client.engine.work import Work
from pli_client.store import groups, mls_state
from pli_client.vault import Database, Vault
from pli_protocol.mls import Add, CipherSuite, Group, KeyPackage
from pli_protocol.mls.codec import decode
from pli_protocol.mls.proposal import Proposal
from pli_protocol.relay.frames import BlobRef, Payload, Position, Row, WelcomeWaiting
from pli_protocol.relay.log import FIRST_CHAIN, RosterChange, chain_hash, device_id

from ..system.actor import QUICK
from ..system.world import PASSPHRASE, TITLE, World

T = TypeVar("T")

TIME: Final = 1_795_332_600_000


class NoRelay:
    """A connection that is never there; what is sent without an answer is kept to be looked at."""

    def __init__(self, _url: str, **_options: Any) -> None:
        self.sent: list[object] = []
        self.state = Connecting(0)

    def start(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, frame: object) -> None:
        self.sent.append(frame)


class Lone:
    """Somebody at work, with nobody to talk to."""

    def __init__(self, vault: Vault, engine: Engine) -> None:
        self.vault, self.engine = vault, engine
        self.own = engine.own

    @property
    def sent(self) -> list[object]:
        sent: list[object] = self.engine.connection.sent  # type: ignore[attr-defined]
        return sent

    async def write(self, step: Callable[[Work], T]) -> T:
        return await self.engine.write(step)

    async def read(self, look: Callable[[Database], T]) -> T:
        return await self.engine.read(look)

    async def conversation(self, title: str = TITLE) -> bytes:
        def look(db: Database) -> bytes:
            found = db.execute("SELECT id FROM conversations WHERE title = ?", (title,)).fetchone()
            assert found is not None
            return bytes(found[0])

        return await self.read(look)

    async def row(self, conversation: bytes | None = None) -> groups.GroupRow:
        """The newest group of a conversation."""
        wanted = conversation or await self.conversation()
        found = await self.read(lambda db: groups.current(db, wanted))
        assert found is not None
        return found

    async def group(self, group_id: bytes) -> Group:
        found = await self.write(lambda work: work.load(group_id))
        assert found is not None
        return found

    async def entries(self, group_id: bytes) -> dict[str, bytes]:
        """The secrets of a group as they are stored."""
        return await self.read(lambda db: mls_state.read_entries(db, group_id))

    async def key_package(self, *, last_resort: bool = False) -> KeyPackage:
        """One that this person published."""

        def look(db: Database) -> bytes:
            found = db.execute(
                "SELECT key_package FROM key_packages WHERE last_resort = ? ORDER BY reference",
                (int(last_resort),),
            ).fetchone()
            assert found is not None
            return bytes(found[0])

        return decode(KeyPackage, await self.read(look))

    async def opens(
        self,
        conversation: bytes,
        *added: KeyPackage,
        group_id: bytes = b"n" * 32,
        extensions: Any = None,
        epochs: int = 0,
        used: CipherSuite = SUITE,
    ) -> tuple[Group, bytes]:
        """A group of one's own making with these in it, after so many epochs: it, and their Welcome."""
        now = int(self.engine.timing.clock())
        group = Group.create(
            used,
            group_id,
            self.own.credential,
            self.own.signer,
            lifetime=lifetime(now),
            capabilities=profile_capabilities(used),
            extensions=group_extensions(conversation) if extensions is None else extensions,
        ).group
        for _ in range(epochs):
            alone = group.commit(authenticated_data=roster(), identity=EVERYBODY, now=now)
            group = alone.group.merged(alone.sent).group
        adds: list[Proposal] = [Add(package) for package in added]
        made = group.commit(
            adds,
            authenticated_data=roster(*added),
            identity=EVERYBODY,
            now=now,
        )
        assert made.welcome is not None
        return made.group.merged(made.sent).group, made.welcome


class _AcceptEverybody:
    """An authentication hook that looks at nothing."""

    def check(self, credential: object, signature_key: bytes) -> None: ...

    def same_identity(self, old: object, new: object) -> bool:
        return True


EVERYBODY: Final[Any] = _AcceptEverybody()


def roster(*added: KeyPackage) -> bytes:
    """The AAD of a commit that adds these."""
    devices = sorted(device_id(package.leaf_node.signature_key) for package in added)
    return RosterChange(tuple(devices)).encode()


def welcome_frame(
    group: bytes,
    welcome: Payload,
    sender: bytes,
    *,
    seq: int = 1,
    predecessor: bytes | None = None,
    item: bytes = b"i" * 16,
) -> WelcomeWaiting:
    """How the relay hands over a Welcome."""
    position = Position(1, seq)
    return WelcomeWaiting(item, group, welcome, position, FIRST_CHAIN, sender, TIME, predecessor)


def row_after(
    place: groups.GroupRow,
    sender: bytes,
    kind: str,
    message: Payload,
    *,
    send_id: bytes = b"s" * 16,
    time: int = TIME,
) -> Row:
    """The next row of a log, with its right place in the chain."""
    position = Position(place.timeline, place.next_seq)
    chain = chain_hash(
        place.chain, place.group_id, position, place.epoch, kind, sender, send_id, message
    )
    return Row(place.group_id, position, place.epoch, kind, sender, send_id, time, message, chain)


def blob(size: int) -> BlobRef:
    """A payload that lies elsewhere, so it is said."""
    return BlobRef(b"b" * 32, size, b"h" * 32)


@asynccontextmanager
async def alone(world: World, *who: str) -> AsyncIterator[list[Lone]]:
    """These people, each with an engine and no relay."""
    async with AsyncExitStack() as stack:
        people = []
        for name in who:
            vault = await stack.enter_async_context(await Vault.open(world.vault(name), PASSPHRASE))
            connection: Any = NoRelay
            engine = await Engine.open(vault, timing=QUICK, connection=connection)
            assert engine is not None
            people.append(Lone(vault, engine))
        yield people
