"""The issuer's tables: its keys, invitations, accounts, answers, revocation lists. Synchronous.

Every function runs inside a transaction of the vault. Times in the tables are milliseconds.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from pli_protocol.identity import Authority, Invitation, SigningKey, Trust, verify_authority
from pli_protocol.identity.certificates import Kind
from pli_protocol.identity.enrolment import ReplyKey
from pli_protocol.secret import Secret

from ..store.device import read_meta, write_meta
from ..vault import Database

_LINEAGE = "lineage"


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """Who signs for the establishment, and where its relay is. Secrets have no repr."""

    authority: Authority
    relay_url: str
    relay_name: str | None
    ca: str | None
    proxy: str | None = field(repr=False)
    certificate: bytes
    key: SigningKey
    enrolment: ReplyKey
    enrolment_statement: bytes
    registered: bool
    lineage: tuple[bytes, ...] = ()
    """The first authority's certificate and the changes since, where there were any."""

    def trust(self, revocations: Iterable[bytes] = ()) -> Trust:
        """What this issuer's establishment signs, whichever of its authorities is behind it."""
        if not self.lineage:
            return Trust(self.authority.certificate, revocations=revocations)
        return Trust(self.lineage[0], revocations=revocations, authority_changes=self.lineage[1:])


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation that was made. The code is nowhere else: the vault keeps only a hash of it."""

    invitation: Invitation
    id: bytes
    account: bytes
    expires_at: int
    """Milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class InvitationRow:
    """An invitation, for lists. Times are milliseconds since 1970."""

    id: bytes
    secret_hash: bytes
    account: bytes
    name: str
    profession: str
    rpps: str | None
    kind: Kind
    account_ends_at: int | None
    expires_at: int
    used_by: bytes | None
    replaces: bytes | None = None
    """The person (id) whose identity key the invitation replaces."""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A person or bot that was signed. Times are milliseconds since 1970."""

    account: bytes
    person_id: bytes
    name: str
    profession: str
    rpps: str | None
    kind: Kind
    identity_key: bytes
    certificate: bytes
    signed_at: int
    revoked_at: int | None
    reason: str | None
    issuer: bytes | None = None
    """The certificate of another issuer that signed it; None: this vault's own."""


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """The newest statement about a partner. Times are Unix seconds, as in the statement."""

    establishment: bytes
    name: str
    fingerprint: bytes
    authority: bytes
    statement: bytes
    until: int
    signed_at: int
    published: int
    """1: the relay has it. 0: not yet. -1: it refused it."""


# --- the issuer -------------------------------------------------------------------------------


def insert_issuer(db: Database, keys: IssuerKeys, now_ms: int) -> None:
    """Keep a new issuer's keys; a vault has one."""
    db.execute(
        """INSERT INTO issuer (one, establishment, name, relay_url, relay_name, ca_file, proxy,
            authority, certificate, signature_key, enrolment_key, enrolment_statement, created_at)
            VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            keys.authority.establishment,
            keys.authority.name,
            keys.relay_url,
            keys.relay_name,
            keys.ca,
            keys.proxy,
            keys.authority.certificate,
            keys.certificate,
            bytes(keys.key.seed),
            bytes(keys.enrolment.private),
            keys.enrolment_statement,
            now_ms,
        ),
    )


def read_issuer(db: Database) -> IssuerKeys | None:
    """The vault's issuer; None: it has none."""
    row = db.execute(
        """SELECT authority, relay_url, relay_name, ca_file, proxy, certificate, signature_key,
            enrolment_key, enrolment_statement, registered, establishment FROM issuer"""
    ).fetchone()
    if row is None:
        return None
    authority, url, name, ca, proxy, certificate, seed, enrolment, statement, registered, first = (
        row
    )
    lineage = read_meta(db, _LINEAGE)
    return IssuerKeys(
        verify_authority(authority, lineage=first),
        url,
        name,
        ca,
        proxy,
        certificate,
        SigningKey.from_seed(seed),
        ReplyKey.from_private(enrolment),
        statement,
        bool(registered),
        () if lineage is None else msgspec.msgpack.decode(lineage, type=tuple[bytes, ...]),
    )


def write_lineage(db: Database, lineage: tuple[bytes, ...]) -> None:
    """The first authority and the changes since."""
    write_meta(db, _LINEAGE, msgspec.msgpack.encode(lineage))


def set_registered(db: Database) -> None:
    db.execute("UPDATE issuer SET registered = 1")


def set_relay(db: Database, url: str, name: str | None, ca: str | None, proxy: str | None) -> None:
    """Another way to the relay, for an establishment that is not registered yet."""
    db.execute(
        "UPDATE issuer SET relay_url = ?, relay_name = ?, ca_file = ?, proxy = ?",
        (url, name, ca, proxy),
    )


def read_token(db: Database) -> Secret | None:
    row = db.execute("SELECT token FROM issuer").fetchone()
    return None if row is None or row[0] is None else Secret(row[0])


def write_token(db: Database, token: bytes) -> None:
    db.execute("UPDATE issuer SET token = ?", (token,))


# --- invitations ------------------------------------------------------------------------------

_INVITATION = (
    "id, secret_hash, account, name, profession, rpps, kind, account_ends_at, expires_at, used_by,"
    " replaces"
)


def secret_hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def insert_invitation(db: Database, row: InvitationRow, now_ms: int) -> None:
    db.execute(
        f"""INSERT INTO invitations ({_INVITATION}, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            row.id,
            row.secret_hash,
            row.account,
            row.name,
            row.profession,
            row.rpps,
            row.kind,
            row.account_ends_at,
            row.expires_at,
            row.used_by,
            row.replaces,
            now_ms,
        ),
    )


def invitation_by_secret(db: Database, secret: bytes) -> InvitationRow | None:
    row = db.execute(
        f"SELECT {_INVITATION} FROM invitations WHERE secret_hash = ?", (secret_hash(secret),)
    ).fetchone()
    return None if row is None else InvitationRow(*row)


def open_invitations(db: Database) -> list[InvitationRow]:
    """Those that nobody used, newest first."""
    rows = db.execute(
        f"SELECT {_INVITATION} FROM invitations WHERE used_by IS NULL ORDER BY created_at DESC"
    )
    return [InvitationRow(*row) for row in rows]


def use_invitation(db: Database, identifier: bytes, request_id: bytes) -> None:
    db.execute("UPDATE invitations SET used_by = ? WHERE id = ?", (request_id, identifier))


def withdraw_invitation(db: Database, identifier: bytes) -> bool:
    """Delete an unused invitation; whether there was one."""
    found = db.execute(
        "DELETE FROM invitations WHERE id = ? AND used_by IS NULL", (identifier,)
    ).rowcount
    return found > 0


def withdraw_invitations(db: Database, account: bytes) -> None:
    """Delete all unused invitations for an account."""
    db.execute("DELETE FROM invitations WHERE account = ? AND used_by IS NULL", (account,))


# --- accounts ---------------------------------------------------------------------------------

_ACCOUNT = (
    "account, person_id, name, profession, rpps, kind, identity_key, certificate, signed_at, "
    "revoked_at, reason, issuer"
)


def insert_account(db: Database, row: AccountRow) -> None:
    db.execute(
        f"INSERT INTO accounts ({_ACCOUNT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.account,
            row.person_id,
            row.name,
            row.profession,
            row.rpps,
            row.kind,
            row.identity_key,
            row.certificate,
            row.signed_at,
            row.revoked_at,
            row.reason,
            row.issuer,
        ),
    )


def replace_account(db: Database, row: AccountRow) -> None:
    """Another certificate, or another key, for an account that is known."""
    db.execute("DELETE FROM accounts WHERE account = ?", (row.account,))
    insert_account(db, row)


def renew_account(db: Database, row: AccountRow) -> None:
    """Another certificate for the same account and key, to be brought to the relay."""
    db.execute(
        """UPDATE accounts SET name = ?, profession = ?, rpps = ?, certificate = ?, signed_at = ?,
               issuer = NULL, unpublished = 1 WHERE account = ? AND person_id = ?""",
        (
            row.name,
            row.profession,
            row.rpps,
            row.certificate,
            row.signed_at,
            row.account,
            row.person_id,
        ),
    )


def unpublished_certificates(db: Database) -> list[bytes]:
    """Newer certificates that the relay has not taken yet."""
    rows = db.execute(
        "SELECT certificate FROM accounts WHERE unpublished = 1 AND revoked_at IS NULL"
    ).fetchall()
    return [row[0] for row in rows]


def set_certificate_published(db: Database, certificate: bytes) -> None:
    db.execute("UPDATE accounts SET unpublished = 0 WHERE certificate = ?", (certificate,))


def keep_replacement(
    db: Database, replaced: bytes, successor: bytes, account: bytes, statement: bytes, now_ms: int
) -> None:
    """The signed statement that one person follows another on an account; known ones stay."""
    db.execute(
        "INSERT OR IGNORE INTO replacements VALUES (?, ?, ?, ?, ?)",
        (replaced, successor, account, statement, now_ms),
    )


def replacement_by(db: Database, certificate: bytes) -> bytes | None:
    """The statement that goes with the certificate of a person who followed another."""
    row = db.execute(
        """SELECT statement FROM replacements JOIN accounts ON successor = person_id
           WHERE certificate = ?""",
        (certificate,),
    ).fetchone()
    return None if row is None else row[0]


def account(db: Database, identifier: bytes) -> AccountRow | None:
    row = db.execute(f"SELECT {_ACCOUNT} FROM accounts WHERE account = ?", (identifier,)).fetchone()
    return None if row is None else AccountRow(*row)


def account_of_person(db: Database, person_id: bytes) -> AccountRow | None:
    row = db.execute(
        f"SELECT {_ACCOUNT} FROM accounts WHERE person_id = ?", (person_id,)
    ).fetchone()
    return None if row is None else AccountRow(*row)


def accounts(db: Database) -> list[AccountRow]:
    """Everybody who was signed, by name."""
    rows = db.execute(f"SELECT {_ACCOUNT} FROM accounts ORDER BY name, account")
    return [AccountRow(*row) for row in rows]


def set_revoked(db: Database, identifier: bytes, reason: str, now_ms: int) -> None:
    db.execute(
        """UPDATE accounts SET revoked_at = coalesce(revoked_at, ?), reason = ?
           WHERE account = ?""",
        (now_ms, reason, identifier),
    )


# --- answers given ----------------------------------------------------------------------------


def answer_given(db: Database, request_id: bytes) -> tuple[bytes, bytes | None] | None:
    """(sealed answer, person's certificate) that was given to this request; None: none yet."""
    row = db.execute(
        "SELECT answer, certificate FROM enrolments WHERE request_id = ?", (request_id,)
    ).fetchone()
    return None if row is None else (row[0], row[1])


def keep_answer(
    db: Database,
    request_id: bytes,
    request: bytes,
    answer: bytes,
    certificate: bytes | None,
    at: int,
) -> None:
    db.execute(
        """INSERT INTO enrolments (request_id, request_hash, answer, certificate, at)
            VALUES (?, ?, ?, ?, ?)""",
        (request_id, hashlib.sha256(request).digest(), answer, certificate, at),
    )


def undelivered_account(db: Database, request_id: bytes) -> AccountRow | None:
    """Whom the answer to this request signed, while the relay has not confirmed the answer."""
    columns = ", ".join(f"accounts.{column}" for column in _ACCOUNT.split(", "))
    row = db.execute(
        f"""SELECT {columns} FROM enrolments JOIN accounts USING (certificate)
            WHERE request_id = ? AND delivered = 0""",
        (request_id,),
    ).fetchone()
    return None if row is None else AccountRow(*row)


def set_delivered(db: Database, request_id: bytes) -> None:
    db.execute("UPDATE enrolments SET delivered = 1 WHERE request_id = ?", (request_id,))


# --- partners ---------------------------------------------------------------------------------


def keep_partner(db: Database, row: PartnerRow) -> None:
    """Keep the newest statement about a partner; an older one, or the same again, changes nothing."""
    db.execute(
        """INSERT INTO issued_partners VALUES (?, ?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (partner) DO UPDATE SET name = excluded.name,
               authority = excluded.authority, fingerprint = excluded.fingerprint,
               statement = excluded.statement, until = excluded.until,
               signed_at = excluded.signed_at, published = excluded.published
           WHERE excluded.signed_at > signed_at
              OR (excluded.statement = statement AND excluded.published = 1)""",
        (
            row.establishment,
            row.name,
            row.fingerprint,
            row.authority,
            row.statement,
            row.until,
            row.signed_at,
            row.published,
        ),
    )


def partners(db: Database) -> list[PartnerRow]:
    """By name."""
    rows = db.execute(
        """SELECT partner, name, fingerprint, authority, statement, until, signed_at, published
           FROM issued_partners ORDER BY name, partner"""
    )
    return [PartnerRow(*row) for row in rows]


def set_partner_published(db: Database, statement: bytes, outcome: int) -> None:
    """`outcome`: 1 the relay has it, -1 it refused."""
    db.execute("UPDATE issued_partners SET published = ? WHERE statement = ?", (outcome, statement))


# --- revocation lists -------------------------------------------------------------------------


def newest_list(db: Database) -> tuple[int, bytes] | None:
    """(number, signed list); None: none yet."""
    row = db.execute(
        "SELECT number, statement FROM issued_revocations ORDER BY number DESC LIMIT 1"
    ).fetchone()
    return None if row is None else (row[0], row[1])


def keep_list(db: Database, number: int, statement: bytes, at: int) -> None:
    db.execute(
        "INSERT INTO issued_revocations (number, statement, at) VALUES (?, ?, ?)",
        (number, statement, at),
    )


def replace_lists(db: Database, number: int, statement: bytes, at: int) -> None:
    """This list, which the relay holds, in the place of ours from its number on."""
    db.execute("DELETE FROM issued_revocations WHERE number >= ?", (number,))
    keep_list(db, number, statement, at)
    set_published(db, number)


def set_published(db: Database, number: int) -> None:
    db.execute("UPDATE issued_revocations SET published = 1 WHERE number <= ?", (number,))
