"""Partner establishments: what one's own authority signed of them, and their authorities' certificates."""

from dataclasses import dataclass

from pli_protocol.identity import Authority, PartnerStatement

from ..vault import Database


@dataclass(frozen=True, slots=True)
class PartnerRow:
    """A partner, or one of before, as one's own authority signed it."""

    establishment: bytes
    """Its id, 16 bytes."""
    name: str
    fingerprint: bytes
    ends_at: int
    """Milliseconds since 1970."""


def remember(
    db: Database, authority: Authority, statement: PartnerStatement, signed: bytes
) -> bool:
    """Keep the newest statement about a partner; whether it is news."""
    known = db.execute(
        "SELECT partner_statement FROM establishments WHERE fingerprint = ?",
        (authority.fingerprint,),
    ).fetchone()
    if known is not None and known[0] == signed:
        return False
    db.execute(
        """INSERT INTO establishments (fingerprint, own, name, authority, partner_statement, ends_at)
           VALUES (?, 0, ?, ?, ?, ?)
           ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name,
               authority = excluded.authority, partner_statement = excluded.partner_statement,
               ends_at = excluded.ends_at""",
        (
            authority.fingerprint,
            statement.name,
            authority.certificate,
            signed,
            min(statement.until * 1000, 2**53),
        ),
    )
    return True


def all_partners(db: Database) -> list[PartnerRow]:
    """By name; those that have ended too."""
    rows = db.execute(
        """SELECT substr(fingerprint, 1, 16), name, fingerprint, ends_at FROM establishments
           WHERE own = 0 AND partner_statement IS NOT NULL ORDER BY name, fingerprint"""
    ).fetchall()
    return [PartnerRow(*row) for row in rows]
