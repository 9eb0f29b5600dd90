"""Issuers beside and after each other: another one is made, knows those whom others signed, signs them anew.

A further issuer needs the sealed authority and a code of the host's; it is a vault of its own. What an issuer
signed stays good when its vault is lost. Where the vault is in wrong hands the issuer is revoked by another
one, and whom it signed is signed anew before that, or as soon as can be after.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pli_protocol.identity import (
    IdentityError,
    Person,
    RevocationList,
    key_id,
    make_person,
)
from pli_protocol.relay.frames import GetDirectory, GetEstablishment
from pli_protocol.secret import Secret

from ..connection import Connection
from ..vault import Database, Vault, transaction
from . import tables
from .authority_file import open_authority
from .errors import UnknownIssuer
from .establishing import Established, establish
from .tables import AccountRow, IssuerKeys

LEARN = transaction("learn-people")
RESIGN = transaction("resign")


@dataclass(frozen=True, slots=True)
class IssuerState:
    """An issuer of the establishment as the relay shows it. `people`: signed by it, as known here."""

    issuer_id: bytes
    own: bool
    revoked: bool
    people: int


async def add_issuer(
    folder: Path,
    passphrase: Secret,
    authority_file: Path,
    authority_passphrase: Secret,
    **options: Any,
) -> Established:
    """Make a further issuer with the establishment's sealed authority and a code of the host's.

    Args:
        folder: Of the new administrator's vault.
        options: `relay_url`, `code` and the others of `establish`.

    Raises:
        FileUnreadable, AuthorityFileDamaged, WrongPassphrase: of the authority's file.
        What `establish` raises.
    """
    import asyncio

    _key, authority = await asyncio.to_thread(open_authority, authority_file, authority_passphrase)
    return await establish(
        folder,
        passphrase,
        authority_passphrase,
        name=authority.name,
        authority_file=authority_file,
        **options,
    )


async def learn_people(vault: Vault, keys: IssuerKeys, relay: Connection) -> None:
    """Those whom other issuers signed, from certificates that verify.

    Nobody is learnt who is revoked with their issuer: its key may be in wrong hands, and whom it makes up
    after that must not be signed anew. Those under an authority that was called stolen are: its issuers
    were not, and there is no other way back for whom they signed.
    """
    newest = await vault.read(tables.newest_list)
    trust = keys.trust(revocations=() if newest is None else (newest[1],))
    after: bytes | None = None
    while True:
        page = await relay.request(GetDirectory(0, after))
        found: list[tuple[Person, bytes]] = []
        for chain in page.people:
            with contextlib.suppress(IdentityError):
                person = trust.person(chain)
                if trust.listed(person) is None:
                    found.append((person, chain[1]))
        others = [(person, issuer) for person, issuer in found if issuer != keys.certificate]
        if others:
            await vault.write(lambda db, o=others: _remember(db, o), name=LEARN)  # type: ignore[misc]
        after = page.after
        if after is None:
            return


def _remember(db: Database, found: list[tuple[Person, bytes]]) -> None:
    for person, issuer in found:
        known = tables.account(db, person.account)
        row = AccountRow(
            person.account,
            person.person_id,
            person.name,
            person.profession,
            person.rpps,
            person.kind,
            person.identity_key,
            person.certificate,
            person.not_before * 1000,
            None,
            None,
            issuer,
        )
        if known is None or row.signed_at > known.signed_at:
            tables.replace_account(db, row)


async def issuers(vault: Vault, keys: IssuerKeys, relay: Connection) -> list[IssuerState]:
    """The establishment's issuers at the relay, this one among them."""
    held = await relay.request(GetEstablishment(0, keys.authority.establishment))
    trust = keys.trust()
    people = await vault.read(tables.accounts)
    revoked = await vault.read(lambda db: _revoked_issuers(db, keys))
    found: list[IssuerState] = []
    for certificate in held.issuers:
        with contextlib.suppress(IdentityError):
            issuer = trust.issuer((certificate,))
            signed = [row for row in people if (row.issuer or keys.certificate) == certificate]
            found.append(
                IssuerState(
                    issuer.issuer_id,
                    certificate == keys.certificate,
                    issuer.issuer_id in revoked,
                    len(signed),
                )
            )
    return found


def _revoked_issuers(db: Database, keys: IssuerKeys) -> set[bytes]:
    newest = tables.newest_list(db)
    if newest is None:
        return set()
    listed = keys.trust().verify_own(newest[1], RevocationList).statement
    return {entry.id for entry in listed.entries if entry.kind == "issuer"}


def pick(states: list[IssuerState], which: str) -> IssuerState:
    """The issuer whose id begins so, in hexadecimal. Raises UnknownIssuer: none, several, or one's own."""
    found = [state for state in states if state.issuer_id.hex().startswith(which.lower())]
    if len(found) != 1 or found[0].own or len(which) < 4:
        raise UnknownIssuer(which=which)
    return found[0]


async def resign(
    vault: Vault, keys: IssuerKeys, issuer_id: bytes, now: Callable[[], float]
) -> list[AccountRow]:
    """Sign anew, with the same account, key, words and end, whom another issuer had signed.

    The certificates wait in the vault to be brought to the relay.
    """

    def work(db: Database) -> list[AccountRow]:
        done = []
        for row in tables.accounts(db):
            if row.issuer is None or row.revoked_at is not None:
                continue
            if key_id(keys.trust().issuer((row.issuer,)).key) != issuer_id:
                continue
            done.append(_signed_anew(db, keys, row, int(now())))
        return done

    return await vault.write(work, name=RESIGN)


def _signed_anew(db: Database, keys: IssuerKeys, row: AccountRow, now: int) -> AccountRow:
    assert row.issuer is not None
    before = keys.trust().person((row.certificate, row.issuer))
    signed_at = max(now, before.not_before + 1)
    certificate = make_person(
        keys.key,
        keys.certificate,
        account=row.account,
        name=row.name,
        profession=row.profession,
        rpps=row.rpps,
        kind=row.kind,
        identity_key=row.identity_key,
        not_after=before.not_after,
        now=signed_at,
    )
    anew = replace(row, certificate=certificate, signed_at=signed_at * 1000, issuer=None)
    tables.renew_account(db, anew)
    return anew
