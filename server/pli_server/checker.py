"""Checking chains and statements: one thread, since a check costs milliseconds, with each
establishment's trust."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from pli_protocol.identity import (
    Authority,
    AuthorityChange,
    Checked,
    Device,
    DeviceRevocation,
    EnrolmentKey,
    IdentityError,
    Issuer,
    LeaveStatement,
    PartnerStatement,
    Person,
    Replacement,
    ReturnRequest,
    RevocationList,
    Trust,
    verify_authority,
)

from .errors import Refusal
from .storage import tables as t

T = TypeVar("T")


def certificate_hash(certificate: bytes) -> bytes:
    """SHA-256 of a certificate: how issuers are found."""
    return hashlib.sha256(certificate).digest()


def end_of(device: Device) -> int:
    """Unix seconds after which a device may not be here: its own end, or its account's.

    The relay keeps the time for all: no tolerance, which clients have for clocks that differ.
    """
    ends = (device.not_after, device.person.not_after)
    return min(end for end in ends if end is not None)


class Known(NamedTuple):
    """What the database says of an establishment."""

    id: bytes
    revision: int
    authority: bytes
    number: int
    """Of the newest revocation list; 0: none."""
    revocations: bytes | None
    statements: Mapping[str, Sequence[bytes]]
    """By their kind, in the order of their numbers."""
    newest_statement: int
    issuers: tuple[bytes, ...]
    """Hashes of their certificates."""
    partners: tuple[tuple[bytes, int], ...]
    """Whom it has signed, and when."""


def read_known(db: sa.Connection, establishment: bytes) -> Known | None:
    """Read an establishment; None: there is no such one."""
    # The revision first: what is newer than it is looked at again.
    row = db.execute(
        sa.select(t.establishments).where(t.establishments.c.id == establishment)
    ).first()
    if row is None:
        return None
    statements = sa.select(t.statements).where(t.statements.c.establishment == establishment)
    issuers = sa.select(t.issuers.c.certificate_hash).where(
        t.issuers.c.establishment == establishment
    )
    partners = sa.select(t.partners.c.partner, t.partners.c.signed).where(
        t.partners.c.establishment == establishment
    )
    found = db.execute(statements.order_by(t.statements.c.number)).all()
    return Known(
        row.id,
        row.revision,
        row.authority,
        row.revocations_number,
        row.revocations,
        {
            kind: [each.statement for each in found if each.kind == kind]
            for kind in {each.kind for each in found}
        },
        max((each.number for each in found), default=0),
        tuple(db.scalars(issuers)),
        tuple((each.partner, each.signed) for each in db.execute(partners)),
    )


def read_all_known(db: sa.Connection) -> list[Known]:
    """Read all establishments."""
    ids = list(db.scalars(sa.select(t.establishments.c.id)))
    return [known for each in ids if (known := read_known(db, each)) is not None]


class Registered(NamedTuple):
    """A registration that checks: `authority` is the establishment's first one."""

    establishment: bytes
    authority: bytes
    issuer: Issuer


class Checker:
    """Each establishment's trust. All methods but `run` and `close` belong to the checker's thread."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._trusts: dict[bytes, Trust] = {}
        self._issuers: dict[bytes, bytes] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pli checker")

    async def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call one of the methods below on the checker's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Wait for what runs."""
        self._pool.shutdown()

    def learn(self, known: Known) -> None:
        """Learn what the database knows of an establishment, in the place of what was known of it."""
        held = self._trusts.get(known.id)
        if held is None or held.head().number <= known.number:
            # A newer list that this node has taken, and not stored yet, is kept.
            self._trusts[known.id] = Trust(
                known.authority,
                revocations=() if known.revocations is None else (known.revocations,),
                device_revocations=known.statements.get(DeviceRevocation.TYPE, ()),
                replacements=known.statements.get(Replacement.TYPE, ()),
                authority_changes=known.statements.get(AuthorityChange.TYPE, ()),
            )
        gone = [key for key, of in self._issuers.items() if of == known.id] if held else []
        for certificate in set(gone) - set(known.issuers):
            del self._issuers[certificate]
        self._issuers.update(dict.fromkeys(known.issuers, known.id))

    def knows(self, issuer: bytes) -> bool:
        """Whether an issuer's certificate belongs to an establishment that was learnt. From any thread."""
        return certificate_hash(issuer) in self._issuers

    def admit(self, registered: "Registered", issuer: bytes) -> None:
        """An establishment or a further issuer was registered."""
        if registered.establishment not in self._trusts:
            self._trusts[registered.establishment] = Trust(registered.authority)
        self._issuers[certificate_hash(issuer)] = registered.establishment

    def registration(self, authority: bytes, issuer: bytes, enrolment_key: bytes) -> "Registered":
        """Check what opens an establishment, or adds an issuer to one. Raises IdentityError."""
        root = verify_authority(authority)
        known = self._under(root)
        trust = known or Trust(authority)
        signer = trust.issuer((issuer,))
        checked = trust.verify_own(enrolment_key, EnrolmentKey)
        if not isinstance(checked.signer, Issuer) or checked.signer.key != signer.key:
            raise IdentityError("binding", "the enrolment key is another issuer's")
        if known is not None:
            if root.fingerprint != known.authority.fingerprint:
                raise IdentityError("authority", "another authority has taken its place")
            _refuse_revoked(known, signer)
        first = trust.own.fingerprint == root.fingerprint
        return Registered(
            trust.own.establishment, authority if first else trust.own.certificate, signer
        )

    def _under(self, root: Authority) -> Trust | None:
        """The establishment that has, or had, this authority."""
        for trust in self._trusts.values():
            changed = {verify_authority(c.authority).fingerprint for c in trust.authority_changes}
            if root.fingerprint in changed | {trust.own.fingerprint}:
                return trust
        return None

    def authority_change(self, data: bytes, establishment: bytes) -> AuthorityChange:
        """Check that another authority follows; nothing is taken. Raises IdentityError."""
        return self._trusts[establishment].read_authority_change(data)[0]

    def accept_authority_change(self, data: bytes, establishment: bytes) -> None:
        """It is in the database: the new authority's issuers count."""
        try:
            self._trusts[establishment].accept_authority_change(data)
        except IdentityError as error:
            if error.rule != "older":  # learnt from the database meanwhile
                raise

    def device(self, chain: tuple[bytes, ...]) -> Device:
        """A device that may sign in. Raises IdentityError."""
        trust = self._trust_of(chain)
        device = trust.device(chain, self._clock() // 1000, tolerance=0)
        _refuse_revoked(trust, device)
        return device

    def refusable(self, chain: tuple[bytes, ...]) -> Device:
        """A device of an establishment here, whether it still counts or not. Raises IdentityError."""
        return self._trust_of(chain).device(chain, None)

    def issuer(self, chain: tuple[bytes, ...]) -> Issuer:
        """An issuer that may sign in. Raises IdentityError."""
        trust = self._trust_of(chain)
        issuer = trust.issuer(chain)
        _refuse_revoked(trust, issuer)
        return issuer

    def person(self, chain: tuple[bytes, ...], establishment: bytes) -> Person:
        """A person of this establishment. Raises IdentityError."""
        person = self._trusts[establishment].person(chain, self._clock() // 1000, tolerance=0)
        if person.establishment != establishment:
            raise IdentityError("authority", "a person of another establishment")
        _refuse_revoked(self._trusts[establishment], person)
        return person

    def revocations(
        self, data: bytes, establishment: bytes
    ) -> tuple[RevocationList, tuple[bytes, ...]]:
        """Take a newer list; returns it and the ids of the issuers that it revokes."""
        own = self._trusts[establishment]
        own.verify_own(data, RevocationList)
        taken = own.accept_revocations(data)
        return taken, tuple(entry.id for entry in taken.entries if entry.kind == "issuer")

    def partner(
        self, statement: bytes, authority: bytes, establishment: bytes
    ) -> tuple[PartnerStatement, bytes]:
        """Check what an authority signed of a partner; (statement, the partner's id).

        Raises:
            IdentityError: it does not check, or the certificate is not the one that it names.
        """
        checked = self._trusts[establishment].verify_own(statement, PartnerStatement).statement
        partner = verify_authority(authority, fingerprint_start=checked.fingerprint)
        if partner.establishment == establishment:
            raise IdentityError("binding", "an establishment is not its own partner")
        return checked, partner.establishment

    def device_revocation(
        self, data: bytes, person: bytes, establishment: bytes, limit: int
    ) -> bytes:
        """Take a person's own statement; returns the device's id. Raises IdentityError, Refusal."""
        trust = self._trusts[establishment]
        checked = trust.verify_own(data, DeviceRevocation)
        if checked.statement.person_id != person:
            raise IdentityError("binding", "a statement of another person")
        own = trust.own_revocations(person)
        if checked.statement.device_id not in own and len(own) >= limit:
            raise Refusal("limit", f"a person revokes at most {limit} devices")
        return trust.accept_device_revocation(data).device_id

    def replacement(self, data: bytes, person: Person) -> Replacement:
        """Check that this person follows another on its account. Raises IdentityError."""
        statement = self._trusts[person.establishment].read_replacement(data)
        if (statement.account, statement.successor) != (person.account, person.person_id):
            raise IdentityError("binding", "the statement is about another account or key")
        return statement

    def accept_replacement(self, data: bytes, establishment: bytes) -> None:
        """It is in the database: who was replaced counts no more. Raises IdentityError."""
        self._trusts[establishment].accept_replacement(data)

    def leaving(self, data: bytes, establishment: bytes) -> Checked[LeaveStatement]:
        """Check a statement of leaving."""
        return self._trusts[establishment].verify_own(
            data, LeaveStatement, now=self._clock() // 1000
        )

    def return_request(self, data: bytes, establishment: bytes) -> Checked[ReturnRequest]:
        """Check a request to come back."""
        return self._trusts[establishment].verify_own(
            data, ReturnRequest, now=self._clock() // 1000
        )

    def refused(self, devices: Iterable[tuple[T, Device | Issuer]]) -> list[T]:
        """Which of these are revoked, or past their end, by now."""
        return [key for key, who in devices if self._revoked(who) or self._ended(who)]

    def _revoked(self, who: Device | Issuer) -> bool:
        establishment = who.person.establishment if isinstance(who, Device) else who.establishment
        return self._trusts[establishment].refuses(who) is not None

    def _ended(self, who: Device | Issuer) -> bool:
        if not isinstance(who, Device):
            return False
        return self._clock() // 1000 > end_of(who)

    def _trust_of(self, chain: tuple[bytes, ...]) -> Trust:
        establishment = self._issuers.get(certificate_hash(chain[-1]))
        if establishment is None:
            raise IdentityError("authority", "not an issuer known here")
        return self._trusts[establishment]


def _refuse_revoked(trust: Trust, who: Device | Person | Issuer) -> None:
    refusal = trust.refuses(who)
    if refusal is not None:
        raise IdentityError("revoked", "it was revoked")
