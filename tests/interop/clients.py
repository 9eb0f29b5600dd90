"""The driver's clients: keys, key packages and groups in memory, and what they accept of others."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pli_protocol.mls import (
    BasicCredential,
    Capabilities,
    CipherSuite,
    Committed,
    Credential,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    Lifetime,
    SignatureKeyPair,
    ValidationError,
    Welcome,
    X509Credential,
    generate_key_package,
)
from pli_protocol.mls.extension import DEFAULT_EXTENSIONS

from .line_protocol import BadRequest

DAY = 86400
KEY_PACKAGE_DAYS = 60


@dataclass
class Client:
    """One member of groups. `groups` and `pending` go by group id; a commit waits in `pending`."""

    identity: bytes
    suite: CipherSuite
    signer: SignatureKeyPair
    extension_types: tuple[int, ...]
    tree_ext: bool
    packages: list[tuple[KeyPackage, KeyPackageSecrets]] = field(default_factory=list)
    psks: dict[bytes, bytes] = field(default_factory=dict)
    groups: dict[bytes, Group] = field(default_factory=dict)
    pending: dict[bytes, Committed] = field(default_factory=dict)

    @property
    def credential(self) -> BasicCredential:
        return BasicCredential(self.identity)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            versions=(1,),
            cipher_suites=(self.suite.number,),
            # The RFC's own types are understood anyhow, and must not be listed (§7.2).
            extensions=tuple(t for t in self.extension_types if t not in DEFAULT_EXTENSIONS),
            proposals=(),
            credentials=(1, 2),
        )

    def new_package(self, *, grease: bool) -> KeyPackage:
        """A key package that a Welcome may use once."""
        package, secrets = generate_key_package(
            self.suite,
            self.credential,
            self.signer,
            lifetime=lifetime(),
            capabilities=self.capabilities,
            grease=grease,
        )
        self.packages.append((package, secrets))
        return package

    def package_for(self, welcome: Welcome) -> tuple[KeyPackage, KeyPackageSecrets]:
        """That of our key packages which a Welcome is for."""
        for held in self.packages:
            if welcome.secrets_for(held[0].reference(self.suite)) is not None:
                return held
        raise BadRequest("the Welcome is for none of this client's key packages")

    def group(self, group_id: bytes) -> Group:
        if group_id not in self.groups:
            raise BadRequest("the client is not in this group")
        return self.groups[group_id]

    def enter(self, group: Group) -> None:
        """Go on with this group, whatever was there of an earlier membership."""
        self.groups[group.group_id] = group
        self.pending.pop(group.group_id, None)

    def leave(self, group_id: bytes) -> None:
        del self.groups[group_id]
        self.pending.pop(group_id, None)

    def take_pending(self, group_id: bytes) -> Committed:
        """The commit that waits, which it does no more."""
        self.group(group_id)
        if group_id not in self.pending:
            raise BadRequest("no commit is pending")
        return self.pending.pop(group_id)


class AcceptAny:
    """Any basic or x509 credential, compared by its bytes: scenarios have no authority."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        if not isinstance(credential, BasicCredential | X509Credential):
            raise ValidationError("credential")

    def same_identity(self, old: Credential, new: Credential) -> bool:
        return old == new


ACCEPT_ANY = AcceptAny()


def clock() -> int:
    return int(time.time())


def lifetime() -> Lifetime:
    """From an hour ago, since clocks differ, to sixty days from now."""
    return Lifetime(clock() - 3600, clock() + KEY_PACKAGE_DAYS * DAY)


def identity_of(credential: Credential) -> str:
    """The identity in hex: of a basic credential, or the first certificate of an x509 one."""
    match credential:
        case BasicCredential(identity):
            return identity.hex()
        case X509Credential(certificates) if certificates:
            return certificates[0].hex()
        case _:
            return ""
