"""The relay's audit log as an integrator or a person sees it: what is kept, what contradicts, heads."""

from dataclasses import dataclass
from typing import Final

from pli_protocol.identity import IdentityError
from pli_protocol.transparency import HeadFile, SignedHead, verify_head

from .engine.engine import Engine
from .errors import InvalidInput
from .i18n import _
from .store import log_heads
from .store.log_heads import Contradiction
from .vault import Database

FILE: Final = b""
"""Who showed a head that came as a file."""


@dataclass(frozen=True, slots=True)
class AuditLog:
    """What the vault knows of the relay's log."""

    relay: str
    log_key: bytes
    """Pinned at the first sign-in."""
    heads: tuple[SignedHead, ...]
    """The newest proven head of each timeline, the newest timeline first; at least one."""
    contradictions: tuple[Contradiction, ...]
    """Evidence, the oldest first."""

    @property
    def newest(self) -> HeadFile:
        """To hand to a colleague or a witness."""
        return HeadFile(self.relay, self.log_key, self.heads[0])


async def read(engine: Engine) -> AuditLog | None:
    """None before the first sign-in."""

    def look(db: Database) -> AuditLog | None:
        pinned, heads = log_heads.read_key(db), log_heads.heads(db)
        if pinned is None or not heads:
            return None
        return AuditLog(*pinned, tuple(heads), tuple(log_heads.contradictions(db)))

    return await engine.read(look)


async def check(engine: Engine, given: HeadFile) -> str | None:
    """Compare a head that somebody handed over with the relay's log; None: it agrees.

    Raises:
        InvalidInput: the head is no relay's, or another relay's.
        RelayError: it takes the relay's proof, and the relay could not be asked.
    """
    known = await read(engine)
    try:
        verify_head(given.relay, given.signed, given.log_key)
    except IdentityError:
        raise InvalidInput(_("the head's signature does not check")) from None
    if known is None:
        raise InvalidInput(_("this vault was never signed in, and knows no log yet"))
    if given.relay.lower() != known.relay.lower():
        raise InvalidInput(_("the head is another relay's"))
    if given.log_key != known.log_key:
        return "another-key"
    return await engine.log_watch.check(given.signed, FILE)
