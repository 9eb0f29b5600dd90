"""Key packages: made here, published, deleted when used or expired; one of last resort."""

from typing import Final

from pli_protocol.mls.codec import encode
from pli_protocol.mls.extension import Extension, ExtensionType
from pli_protocol.mls.key_package import generate_key_package

from ..store import key_packages
from ..store.key_packages import KeyPackageRow
from .profile import DAY, LIFETIME, SUITE, capabilities, lifetime
from .work import Work

STOCK: Final = 24
"""Key packages that should lie at the relay."""

FEW: Final = 8
"""Below this many, more are made."""


def make(work: Work, *, last_resort: bool = False, published: bool = False) -> KeyPackageRow:
    """One fresh key package; its private keys are in the vault before anybody sees it."""
    span = lifetime(work.now_s)
    extensions = (Extension(ExtensionType.LAST_RESORT, b""),) if last_resort else ()
    package, secrets = generate_key_package(
        SUITE,
        work.own.credential,
        work.own.signer,
        lifetime=span,
        capabilities=capabilities(),
        extensions=extensions,
        random=work.random,
    )
    row = KeyPackageRow(
        package.reference(SUITE), encode(package), secrets.encode(), last_resort, span.not_after
    )
    key_packages.add(work.db, row, work.now, published=published)
    return row


def restock(work: Work, held: int) -> list[KeyPackageRow]:
    """What to publish now, `held` being at the relay; an interrupted publication is taken up again."""
    key_packages.delete_expired(work.db, work.now_s - DAY)
    waiting = key_packages.unpublished(work.db)
    plain = [row for row in waiting if not row.last_resort]
    if held < FEW:
        waiting += [make(work) for _ in range(max(0, STOCK - held - len(plain)))]
    newest = key_packages.newest_last_resort(work.db)
    renew = newest is None or newest - work.now_s < LIFETIME // 2
    if renew and not any(row.last_resort for row in waiting):
        waiting.append(make(work, last_resort=True))
    return waiting


def published(work: Work, rows: list[KeyPackageRow]) -> None:
    """The relay has them."""
    key_packages.mark_published(work.db, [row.reference for row in rows])
