"""Key packages: made here, published, deleted when used or expired; one of last resort."""

from typing import Final

from pli_protocol.mls.ciphersuite import CipherSuite
from pli_protocol.mls.codec import encode
from pli_protocol.mls.extension import Extension, ExtensionType
from pli_protocol.mls.key_package import generate_key_package

from ..store import key_packages
from ..store.key_packages import KeyPackageRow, Where
from .profile import DAY, LIFETIME, SUITE, capabilities, lifetime
from .work import Work

STOCK: Final = 24
"""Key packages that should lie at the relay."""

FEW: Final = 8
"""Below this many, more are made."""


def make(
    work: Work,
    *,
    used: CipherSuite | None = None,
    last_resort: bool = False,
    where: Where = Where.WAITING,
) -> KeyPackageRow:
    """One fresh key package; its private keys are in the vault before anybody sees it.

    Args:
        used: of which suite; SUITE unless it is for a group of another.
    """
    used = used or SUITE
    span = lifetime(work.now_s)
    extensions = (Extension(ExtensionType.LAST_RESORT, b""),) if last_resort else ()
    package, secrets = generate_key_package(
        used,
        work.own.credential,
        work.own.signer,
        lifetime=span,
        capabilities=capabilities(used),
        extensions=extensions,
        random=work.random,
    )
    row = KeyPackageRow(
        package.reference(used), encode(package), secrets.encode(), last_resort, span.not_after
    )
    key_packages.add(work.db, row, work.now, where=where)
    return row


def restock(work: Work, held: int) -> list[KeyPackageRow]:
    """What to publish now, `held` being at the relay; an interrupted publication is taken up again."""
    key_packages.delete_expired(work.db, work.now_s - DAY)
    key_packages.delete_waiting_of_others(work.db, SUITE.number)
    if outdated(work):
        held = 0
    waiting = key_packages.unpublished(work.db)
    plain = [row for row in waiting if not row.last_resort]
    if held < FEW:
        waiting += [make(work) for _ in range(max(0, STOCK - held - len(plain)))]
    newest = key_packages.newest_last_resort(work.db, SUITE.number)
    renew = (
        newest is None or key_packages.are_outdated(work.db) or newest - work.now_s < LIFETIME // 2
    )
    if renew and not any(row.last_resort for row in waiting):
        waiting.append(make(work, last_resort=True))
    return waiting


def outdated(work: Work) -> bool:
    """Whether key packages of another suite, or certificate, lie at the relay: others replace them."""
    return key_packages.are_outdated(work.db) or key_packages.of_others_at_relay(
        work.db, SUITE.number
    )


def published(work: Work, rows: list[KeyPackageRow], *, replaced: bool = False) -> None:
    """The relay has them; `replaced`: and no others of ours."""
    if replaced:
        key_packages.replaced(work.db)
    key_packages.mark_published(work.db, [row.reference for row in rows])
