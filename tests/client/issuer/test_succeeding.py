"""What an issuer's vault takes over from other issuers, whatever the relay shows."""

import os
from pathlib import Path

from pli_client.issuer import AUTHORITY_FILE, Issuer, open_authority, revoking
from pli_client.issuer.succeeding import learn_people
from pli_protocol.identity import SigningKey, key_id, make_issuer, make_person
from pli_protocol.relay.frames import Directory, GetDirectory

from .conftest import AUTHORITY_PASSPHRASE

NOW = 1_795_000_000


class Shown:
    """A relay whose directory is what a test says."""

    def __init__(self, *people: tuple[bytes, ...]) -> None:
        self._people = people

    async def request(self, frame: GetDirectory) -> Directory:
        return Directory(frame.rid, self._people)


def signed_by(issuer_key: SigningKey, certificate: bytes) -> tuple[bytes, bytes]:
    person = make_person(
        issuer_key,
        certificate,
        account=os.urandom(16),
        name="Amélie Dupont",
        profession="Infirmière",
        identity_key=SigningKey.generate().public,
        now=NOW,
    )
    return person, certificate


async def test_whom_a_revoked_issuer_makes_up_is_not_learnt(issuer: Issuer, tmp_path: Path) -> None:
    key, authority = open_authority(tmp_path / "admin" / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
    other = SigningKey.generate()
    certificate = make_issuer(key, authority.certificate, other.public, now=NOW)
    before, after = signed_by(other, certificate), signed_by(other, certificate)
    await learn_people(issuer.vault, issuer._keys, Shown(before))  # type: ignore[arg-type]
    entry = [("issuer", key_id(other.public))]
    await issuer.vault.write(
        lambda db: revoking.revoke(db, issuer._keys, entry, "stolen", NOW)  # type: ignore[arg-type]
    )
    await learn_people(issuer.vault, issuer._keys, Shown(before, after))  # type: ignore[arg-type]
    assert [row.certificate for row in await issuer.people()] == [before[0]]
