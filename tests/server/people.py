"""Establishments, people and devices made for tests, and MLS headers without MLS behind them."""

import os
from dataclasses import dataclass, field

from pli_protocol.identity import (
    AuthorityChange,
    EnrolmentKey,
    Kind,
    PartnerStatement,
    SigningKey,
    encode_change,
    fingerprint,
    make_authority,
    make_device,
    make_issuer,
    make_person,
    person_id,
    sign,
)
from pli_protocol.mls.codec import Writer
from pli_protocol.relay.log import RosterChange, device_id

NOW = 1_795_000_000
"""Unix seconds: a day of November 2026."""

APPLICATION, PROPOSAL, COMMIT = 1, 2, 3


@dataclass(frozen=True)
class TestDevice:
    """A device's key and chain."""

    __test__ = False
    key: SigningKey
    chain: tuple[bytes, bytes, bytes]
    account: bytes

    @property
    def id(self) -> bytes:
        return device_id(self.key.public)


@dataclass(frozen=True)
class TestPerson:
    """A person of an establishment."""

    __test__ = False
    establishment: "TestEstablishment"
    account: bytes
    identity: SigningKey
    certificate: bytes

    @property
    def person_id(self) -> bytes:
        return person_id(self.establishment.id, self.identity.public)

    def device(self, key: SigningKey | None = None) -> TestDevice:
        key = key or SigningKey.generate()
        certificate = make_device(self.identity, self.certificate, key.public, now=NOW)
        return TestDevice(
            key, (certificate, self.certificate, self.establishment.issuer), self.account
        )


@dataclass
class TestEstablishment:
    """An authority with its issuer."""

    __test__ = False
    name: str = "EHPAD Les Tilleuls"
    authority_key: SigningKey = field(default_factory=SigningKey.generate)
    issuer_key: SigningKey = field(default_factory=SigningKey.generate)

    def __post_init__(self) -> None:
        self.authority = make_authority(self.name, self.authority_key, NOW)
        self.issuer = make_issuer(
            self.authority_key, self.authority, self.issuer_key.public, now=NOW
        )
        self.id = fingerprint(self.authority_key.public)[:16]
        self.enrolment_key = sign(
            EnrolmentKey(self.id, os.urandom(32), NOW), self.issuer_key, (self.issuer,)
        )

    def trusts(self, other: "TestEstablishment", until: int = NOW * 2, time: int = NOW) -> bytes:
        """What this authority signs of a partner."""
        statement = PartnerStatement(
            self.id, other.name, fingerprint(other.authority_key.public), until, time
        )
        return sign(statement, self.authority_key)

    def hands_over(self, key: SigningKey | None = None, *, compromised: bool = False) -> bytes:
        """The change that puts another authority (of `key`) in the place of this one."""
        key = key or SigningKey.generate()
        certificate = make_authority(self.name, key, NOW)
        before = fingerprint(self.authority_key.public)
        body = AuthorityChange(self.id, 1, before, certificate, compromised, NOW)
        return encode_change([sign(body, self.authority_key), sign(body, key)])

    def person(
        self,
        name: str = "Anne Durand",
        account: bytes | None = None,
        kind: Kind = "person",
    ) -> TestPerson:
        account = account or os.urandom(16)
        identity = SigningKey.generate()
        certificate = make_person(
            self.issuer_key,
            self.issuer,
            account=account,
            name=name,
            profession="infirmière",
            identity_key=identity.public,
            now=NOW,
            kind=kind,
        )
        return TestPerson(self, account, identity, certificate)


def mls(
    group: bytes,
    epoch: int,
    kind: int = APPLICATION,
    *,
    aad: bytes = b"",
    body: bytes = b"sealed",
    wire_format: int = 2,
) -> bytes:
    """A PrivateMessage (RFC 9420 §6.3) whose ciphertext is whatever."""
    w = Writer()
    w.u16(1)
    w.u16(wire_format)
    w.opaque(group)
    w.u64(epoch)
    w.u8(kind)
    w.opaque(aad)
    w.opaque(bytes(16))
    w.opaque(body)
    return w.getvalue()


def commit(
    group: bytes,
    epoch: int,
    added: tuple[bytes, ...] = (),
    removed: tuple[bytes, ...] = (),
    body: bytes = b"commit",
) -> bytes:
    """A commit with its roster change in the AAD."""
    return mls(group, epoch, COMMIT, aad=RosterChange(added, removed).encode(), body=body)
