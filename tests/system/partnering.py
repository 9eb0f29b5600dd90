"""What an administrator signs of a partner that is somewhere else, where its statement alone is needed."""

from typing import Final

from pli_client.issuer import AUTHORITY_FILE, Issuer, Partnership, open_authority
from pli_protocol.identity import SigningKey, make_authority, sign, verify_authority
from pli_protocol.secret import Secret

from .world import AUTHORITY_PASSPHRASE, World

ELSEWHERE: Final = "IME des Sources"
FOUNDED: Final = 1_795_000_000
YEAR: Final = 365 * 86_400

AUTHORITY: Final = make_authority(
    ELSEWHERE, SigningKey.from_seed(Secret(b"an authority of another relay..!")), FOUNDED
)


async def sign_a_partner(world: World, issuer: Issuer) -> Partnership:
    """The establishment's authority signs that this one is a partner; the relay is told."""
    partner = verify_authority(AUTHORITY)
    statement = await issuer.partners.begin(partner, issuer.partners.now + YEAR)
    key, _own = open_authority(world.folder / "admin" / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
    return await issuer.partners.publish(sign(statement, key), AUTHORITY)
