"""Whom one establishment trusts: its own chains, its partners', less what was revoked."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from . import chain as chains
from .chain import Authority, Device, Issuer, Person
from .errors import IdentityError, StatementError
from .statements import (
    AuthorityChange,
    Checked,
    DeviceRevocation,
    PartnerStatement,
    Replacement,
    RevocationEntry,
    RevocationList,
    Statement,
    list_hash,
    verify_statement,
)
from .succession import body_of, decode_change, verify_change

_CACHE = 4096
_ANOTHERS = ("signature", "name-chaining")
"""What does not check by one authority so may by another."""

_S = TypeVar("_S", bound=Statement)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a device counts no more: the entry that says so. As text, for the log: no name, no key."""

    entry: RevocationEntry

    def __str__(self) -> str:
        return f"{self.entry.kind} {self.entry.reason}"


@dataclass(frozen=True, slots=True)
class ListHead:
    """The number and hash (32 bytes) of a revocation list; number 0 and zeros: none yet."""

    number: int
    hash: bytes


class Trust:
    """The trust of one establishment, as one vault or one relay knows it.

    It grows by `accept_…`, which raise and change nothing when something does not check. Verified
    chains are cached; dates and revocations are looked at each time.
    """

    def __init__(
        self,
        authority: bytes,
        *,
        partners: Iterable[tuple[bytes, bytes]] = (),
        revocations: Iterable[bytes] = (),
        device_revocations: Iterable[bytes] = (),
        replacements: Iterable[bytes] = (),
        authority_changes: Iterable[bytes] = (),
        now: int | None = None,
    ) -> None:
        """
        Args:
            authority: The own authority's certificate (DER).
            partners: (signed PartnerStatement, the partner authority's certificate).
            revocations: Newest signed revocation lists, own and partners'.
            device_revocations: Signed DeviceRevocations.
            replacements: Signed Replacements.
            authority_changes: Those that were accepted before, in their order.

        Raises:
            IdentityError: something does not check.
        """
        self.own: Authority = chains.verify_authority(authority)
        """The first authority, by which the establishment is named for ever."""
        self._roots: list[Authority] = [self.own]
        self._changes: list[AuthorityChange] = []
        self._authorities: dict[bytes, Authority] = {self.own.establishment: self.own}
        self._partners: dict[bytes, PartnerStatement] = {}
        self._lists: dict[bytes, Checked[RevocationList]] = {}
        self._revoked: dict[tuple[str, bytes], RevocationEntry] = {}
        self._by_person: dict[tuple[bytes, bytes], RevocationEntry] = {}
        self._replaced: dict[tuple[bytes, bytes], Replacement] = {}
        self._cache: OrderedDict[bytes, Device] = OrderedDict()
        for change in authority_changes:
            self._keep_change(*verify_change(change, self.authority, self._known_issuer))
        for statement, certificate in partners:
            self.accept_partner(statement, certificate)
        for statement in revocations:
            # Accepted once too: the authority behind its issuer may have been called stolen since.
            self._keep_list(self._by_any_authority(statement, RevocationList))
        for statement in device_revocations:
            # Accepted once: that its signer was revoked since takes nothing of it back.
            self._keep_own(self._by_any_authority(statement, DeviceRevocation).statement)
        for statement in replacements:
            self._keep_replacement(self._by_any_authority(statement, Replacement).statement)

    # --- chains -------------------------------------------------------------------------------

    def device(
        self,
        chain: Sequence[bytes],
        now: int | None,
        *,
        tolerance: int = chains.CLOCK_TOLERANCE,
    ) -> Device:
        """Check a chain (device, person, issuer) up to a trusted authority.

        Whether it was revoked is another question: `refuses`.

        Args:
            now: Unix seconds for the dates; None: not checked.
            tolerance: Seconds by which an end may lie back; 0 for who keeps the time for others.

        Raises:
            IdentityError: .rule names the check; "authority": of no establishment trusted.
        """
        key = hashlib.sha256(b"".join(len(c).to_bytes(4, "big") + c for c in chain)).digest()
        device = self._cache.get(key)
        if device is None:
            root = self._authority_of(chain)
            device = chains.verify_device(chain, root.certificate, now=None, lineage=root.lineage)
            self._cache[key] = device
            if len(self._cache) > _CACHE:
                self._cache.popitem(last=False)
        self._check_begun(device.not_before, now)
        self._check_ends(device.person, device.not_after, now, tolerance)
        return device

    def person(
        self,
        chain: Sequence[bytes],
        now: int | None = None,
        *,
        tolerance: int = chains.CLOCK_TOLERANCE,
    ) -> Person:
        """Check a chain (person, issuer) up to a trusted authority. Raises IdentityError."""
        root = self._authority_of(chain)
        person = chains.verify_person(chain, root.certificate, now=None, lineage=root.lineage)
        self._check_begun(person.not_before, now)
        self._check_ends(person, None, now, tolerance)
        return person

    def issuer(self, chain: Sequence[bytes]) -> Issuer:
        """Check a chain (issuer,) up to a trusted authority. Raises IdentityError."""
        root = self._authority_of(chain)
        return chains.verify_issuer(chain, root.certificate, lineage=root.lineage)

    def verify(self, data: bytes, expected: type[_S]) -> Checked[_S]:
        """Check a statement whose signer is of any establishment trusted here; no dates.

        Raises StatementError, IdentityError.
        """
        return self._by_any_authority(data, expected)

    def refuses(self, value: Device | Person | Issuer) -> Refusal | None:
        """The revocation of this device, of its person or of their issuer; None: it counts."""
        if isinstance(value, Device):
            own = self._by_person.get((value.person.person_id, value.device_id))
            if own is not None:
                return Refusal(own)
        listed = self.listed(value)
        if listed is not None:
            return Refusal(listed)
        if isinstance(value, Device):
            value = value.person
        compromised = self._compromised(value.root)
        if compromised is not None:
            return Refusal(RevocationEntry("issuer", value.issuer_id, "stolen", compromised.time))
        if isinstance(value, Person):
            replaced = self.replacement(value.establishment, value.person_id)
            if replaced is not None:
                return Refusal(
                    RevocationEntry("person", replaced.replaced, "stolen", replaced.time)
                )
        return None

    def listed(self, value: Device | Person | Issuer) -> RevocationEntry | None:
        """The entry of the newest list about this device, its person or their issuer."""
        names: list[tuple[str, bytes]] = []
        if isinstance(value, Device):
            names.append(("device", value.device_id))
            value = value.person
        if isinstance(value, Person):
            names.append(("person", value.person_id))
        names.append(("issuer", value.issuer_id))
        entries = (self._revoked.get((kind, value.establishment + each)) for kind, each in names)
        return next((entry for entry in entries if entry is not None), None)

    # --- what it learns -----------------------------------------------------------------------

    def accept_revocations(self, data: bytes) -> RevocationList:
        """Take a newer signed list; the list known already is taken again without effect.

        Raises:
            StatementError: rule "older", "fork" (same number, other content; or the next number
                without naming ours), or "shrunk" (an entry is missing).
            IdentityError: it does not check, or its issuer was revoked.
        """
        checked = self._own_or_partner(data)
        new = checked.statement
        old = self._lists.get(new.establishment)
        if old is not None:
            if old.signed == data:
                return new
            self._check_successor(old, checked)
        self._keep_list(checked)
        return new

    def _keep_list(self, checked: Checked[RevocationList]) -> None:
        establishment = checked.statement.establishment
        self._lists[establishment] = checked
        for entry in checked.statement.entries:
            self._revoked[entry.kind, establishment + entry.id] = entry

    def accept_device_revocation(self, data: bytes) -> DeviceRevocation:
        """Take a person's own statement about a device of theirs.

        Raises:
            StatementError: rule "older": a later statement about this device is known.
            IdentityError: it does not check, or its signer was revoked.
        """
        checked = self._by_any_authority(data, DeviceRevocation)
        statement = checked.statement
        if isinstance(checked.signer, Person) and self.refuses(checked.signer) is not None:
            raise IdentityError("revoked", "the statement's signer was revoked")
        known = self._by_person.get((statement.person_id, statement.device_id))
        if known is not None and statement.time < known.time:
            raise StatementError("older", "a later statement about this device is known")
        self._keep_own(statement)
        return statement

    def _keep_own(self, statement: DeviceRevocation) -> None:
        entry = RevocationEntry("device", statement.device_id, statement.reason, statement.time)
        self._by_person[statement.person_id, statement.device_id] = entry

    def read_replacement(self, data: bytes) -> Replacement:
        """Check the statement that a person's key was replaced, without taking it.

        Raises:
            StatementError: rule "binding" (a person follows itself, or one who was replaced), or "fork"
                (the person was replaced by another key).
            IdentityError: it does not check, or its issuer was revoked.
        """
        checked = self._by_any_authority(data, Replacement)
        new, signer = checked.statement, checked.signer
        if isinstance(signer, Issuer) and self.refuses(signer) is not None:
            raise IdentityError("revoked", "the statement's issuer was revoked")
        comes_back = self.replacement(new.establishment, new.successor)
        if new.successor == new.replaced or comes_back is not None:
            raise StatementError("binding", "a key that was replaced comes back")
        known = self.replacement(new.establishment, new.replaced)
        if known is not None and known.identity_key != new.identity_key:
            raise StatementError("fork", "this person was replaced by another key")
        return new

    def accept_replacement(self, data: bytes) -> Replacement:
        """Take it: the person of before counts no more. Raises as `read_replacement`."""
        new = self.read_replacement(data)
        self._keep_replacement(new)
        return new

    def _keep_replacement(self, statement: Replacement) -> None:
        # By establishment: a partner's issuer may name any id, and says nothing of anybody of ours.
        self._replaced[statement.establishment, statement.replaced] = statement

    def replacement(self, establishment: bytes, person_id: bytes) -> Replacement | None:
        """Who followed this person of an establishment, and since when; None: nobody."""
        return self._replaced.get((establishment, person_id))

    def own_revocations(self, person_id: bytes) -> frozenset[bytes]:
        """The devices that this person declared revoked."""
        return frozenset(device for person, device in self._by_person if person == person_id)

    def accept_partner(self, data: bytes, certificate: bytes) -> PartnerStatement:
        """Trust a partner's authority by a statement of one's own authority.

        Raises:
            StatementError: rule "older": a later statement about this partner is known, which must
                not be undone by showing an earlier one again.
            IdentityError: it does not check.
        """
        statement = self.verify_own(data, PartnerStatement).statement
        partner = chains.verify_authority(certificate, fingerprint_start=statement.fingerprint)
        if partner.establishment == self.own.establishment:
            raise StatementError("binding", "an establishment is not its own partner")
        known = self._partners.get(partner.establishment)
        if known is not None and statement.time < known.time:
            raise StatementError("older", "a newer statement about this partner is known")
        self._partners[partner.establishment] = statement
        self._authorities[partner.establishment] = partner
        return statement

    # --- authorities that followed ------------------------------------------------------------

    @property
    def authority(self) -> Authority:
        """The newest of one's own authorities: the one that signs issuers from now on."""
        return self._roots[-1]

    @property
    def authority_changes(self) -> tuple[AuthorityChange, ...]:
        """Those accepted, in their order."""
        return tuple(self._changes)

    def read_authority_change(self, data: bytes) -> tuple[AuthorityChange, Authority]:
        """Check that another authority follows the newest one, without taking it.

        Raises:
            StatementError: rule "older" (a change of this number is known), "gap" (one before it is
                not), "binding" (an authority of before comes back), and those of `verify_change`.
            IdentityError: it does not check, or an issuer that signed it was revoked.
        """
        _body, claimed = body_of(decode_change(data)[-1])
        if claimed.number <= len(self._changes):
            known = self._changes[claimed.number - 1] == claimed
            raise StatementError("older" if known else "fork", "a change of this number is known")
        if claimed.number > len(self._changes) + 1:
            raise StatementError("gap", "a change before this one is not known")
        change, following = verify_change(data, self.authority, self._counting_issuer)
        if following.fingerprint in {root.fingerprint for root in self._roots}:
            raise StatementError("binding", "an authority of before comes back")
        return change, following

    def accept_authority_change(self, data: bytes) -> AuthorityChange:
        """Take it: from now on the new authority's issuers count. Raises as `read_authority_change`."""
        change, following = self.read_authority_change(data)
        self._keep_change(change, following)
        return change

    def _keep_change(self, change: AuthorityChange, following: Authority) -> None:
        self._changes.append(change)
        self._roots.append(following)

    def _known_issuer(self, part: bytes) -> Checked[AuthorityChange]:
        return self._by_any_authority(part, AuthorityChange)

    def _counting_issuer(self, part: bytes) -> Checked[AuthorityChange]:
        checked = self._known_issuer(part)
        if isinstance(checked.signer, Issuer) and self.refuses(checked.signer) is not None:
            raise IdentityError("revoked", "an issuer that signed it was revoked")
        return checked

    def verify_own(self, data: bytes, expected: type[_S], *, now: int | None = None) -> Checked[_S]:
        """Check a statement of one's own establishment; what its authority signs, by those that count.

        Whether an issuer, a person or a device that signed it was revoked is another question.

        Raises:
            IdentityError: rule "authority": of another establishment; "revoked": signed by an
                authority whose key is in wrong hands.
        """
        checked = self._by_any_authority(data, expected, now)
        signer = checked.signer
        if isinstance(signer, Authority) and self._compromised(signer.fingerprint) is not None:
            raise IdentityError("revoked", "the key of the authority that signed it is stolen")
        signed_in = signer.person if isinstance(signer, Device) else signer
        if signed_in.establishment != self.own.establishment:
            raise IdentityError("authority", "a statement of another establishment")
        return checked

    # --- partners -----------------------------------------------------------------------------

    @property
    def partners(self) -> Mapping[bytes, PartnerStatement]:
        """The newest statement about each establishment that is, or was, a partner; by its id."""
        return self._partners

    def vouches(self, establishment: bytes, now: int) -> bool:
        """Whether people of this establishment may be added at `now` (Unix seconds).

        One's own, and partners whose statement has not ended; the end counts to the second here.
        """
        statement = self._partners.get(establishment)
        own = establishment == self.own.establishment
        return own or (statement is not None and now < statement.until)

    def ended(self, establishment: bytes, now: int) -> bool:
        """Whether a partnership is over beyond doubt, so that its people have to go.

        A statement that ends no later than it was signed ends it at once; a date, once a clock that
        is wrong by a day would agree.
        """
        statement = self._partners.get(establishment)
        if statement is None:
            return establishment != self.own.establishment
        return statement.until <= statement.time or now > self.over_at(statement)

    @staticmethod
    def over_at(statement: PartnerStatement) -> int:
        """Unix seconds after which a date has ended a partnership on any clock."""
        return statement.until + chains.CLOCK_TOLERANCE

    def head(self, establishment: bytes | None = None) -> ListHead:
        """Number and hash of the newest list known, which travel inside messages."""
        known = self._lists.get(establishment or self.own.establishment)
        if known is None:
            return ListHead(0, bytes(32))
        return ListHead(known.statement.number, list_hash(known.signed))

    def revocations(self, establishment: bytes | None = None) -> bytes | None:
        """The newest signed list known."""
        known = self._lists.get(establishment or self.own.establishment)
        return None if known is None else known.signed

    # --- inside -------------------------------------------------------------------------------

    def _authority_of(self, chain: Sequence[bytes]) -> Authority:
        """Who signed the chain's issuer: one of one's own authorities, or a partner's."""
        for authority in self._all_authorities():
            try:
                chains.verify_issuer(chain[-1:], authority.certificate, lineage=authority.lineage)
            except IdentityError as error:
                if len(self._all_authorities()) > 1 and error.rule in _ANOTHERS:
                    continue
                raise
            return authority
        raise IdentityError("authority", "the issuer belongs to no establishment trusted here")

    def _all_authorities(self) -> list[Authority]:
        own = self.own.establishment
        return self._roots + [a for key, a in self._authorities.items() if key != own]

    def _compromised(self, root: bytes) -> AuthorityChange | None:
        """The change that says that this authority's key was in wrong hands."""
        for change in self._changes:
            if change.compromised and change.previous == root:
                return change
        return None

    def _check_begun(self, not_before: int, now: int | None) -> None:
        # The signer's clock may be ahead of ours: tolerance here, whoever checks.
        if now is not None and now < not_before - chains.CLOCK_TOLERANCE:
            raise IdentityError("not-yet", "the certificate is not valid yet")

    def _check_ends(
        self, person: Person, not_after: int | None, now: int | None, tolerance: int
    ) -> None:
        if now is None:
            return
        partner = self._partners.get(person.establishment)
        until = None if partner is None else partner.until
        for end in (not_after, person.not_after, until):
            if end is not None and now > end + tolerance:
                raise IdentityError("expired", "the certificate is past its end date")

    def _own_or_partner(self, data: bytes) -> Checked[RevocationList]:
        checked = self._by_any_authority(data, RevocationList)
        if isinstance(checked.signer, Issuer) and self.refuses(checked.signer) is not None:
            raise IdentityError("revoked", "the list's issuer was revoked")
        return checked

    def _by_any_authority(
        self, data: bytes, expected: type[_S], now: int | None = None
    ) -> Checked[_S]:
        error: IdentityError | None = None
        for authority in self._all_authorities():
            try:
                checked = verify_statement(
                    data, expected, authority.certificate, now=now, lineage=authority.lineage
                )
            except IdentityError as problem:
                if problem.rule not in _ANOTHERS:
                    raise
                error = error or problem
            else:
                return checked
        raise error or IdentityError("authority", "no establishment is trusted here")

    def _check_successor(self, old: Checked[RevocationList], new: Checked[RevocationList]) -> None:
        was, now = old.statement, new.statement
        if now.number < was.number:
            raise StatementError("older", "a newer revocation list is known")
        if now.number == was.number and list_hash(new.signed) != list_hash(old.signed):
            raise StatementError("fork", "two revocation lists have the same number")
        if now.number == was.number + 1 and now.previous != list_hash(old.signed):
            raise StatementError("fork", "the revocation list does not continue the one known")
        if not set(was.entries) <= set(now.entries):
            raise StatementError("shrunk", "the revocation list lacks an entry of the one known")
