"""Another authority for the establishment: handed over by the one before, or replaced by two issuers.

The new authority is made and sealed here, the change is signed by it and by whoever must, passed on as a
file where a second issuer has to sign, and published by any of them.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from pli_protocol.identity import (
    Authority,
    AuthorityChange,
    IdentityError,
    SigningKey,
    decode_change,
    encode_change,
    make_authority,
    sign,
)
from pli_protocol.identity.succession import body_of
from pli_protocol.secret import Secret

from ..vault import DEFAULT_KDF, Kdf
from .authority_file import seal_authority
from .errors import NotAChange
from .tables import IssuerKeys


async def begin_change(
    keys: IssuerKeys,
    file: Path,
    passphrase: Secret,
    *,
    before: SigningKey | None,
    compromised: bool,
    now: int,
    kdf: Kdf = DEFAULT_KDF,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Make and seal a new authority; the change as far as it can be signed here.

    Args:
        file: Where the new authority is sealed, under `passphrase`.
        before: The key of the authority before, which then signs alone; None: it is lost, this issuer
            signs, and another one must.
        compromised: The key of before is in wrong hands: nothing under it counts any more.

    Raises:
        FileUnwritable: the file exists, or cannot be written.
    """
    trust = keys.trust()
    key = SigningKey.generate(random)
    certificate = make_authority(keys.authority.name, key, now)
    establishment = trust.own.establishment
    body = AuthorityChange(
        establishment,
        len(trust.authority_changes) + 1,
        trust.authority.fingerprint,
        certificate,
        compromised,
        now,
    )
    old = sign(body, before) if before else sign(body, keys.key, (keys.certificate,))
    await asyncio.to_thread(
        seal_authority, file, key, certificate, passphrase, kdf=kdf, lineage=establishment
    )
    return encode_change([old, sign(body, key)])


def cosign(keys: IssuerKeys, draft: bytes) -> bytes:
    """The change with this issuer's signature beside the other's.

    Raises:
        NotAChange: no change of this establishment's newest authority, or this issuer has signed it.
    """
    try:
        *signed, acceptance = decode_change(draft)
        _body, change = body_of(acceptance)
        own = sign(change, keys.key, (keys.certificate,))
        complete = encode_change([*signed, own, acceptance])
        keys.trust().read_authority_change(complete)
    except IdentityError as error:
        raise NotAChange(rule=error.rule) from None
    return complete


def following(keys: IssuerKeys, change: bytes) -> tuple[AuthorityChange, Authority]:
    """What a complete change says, and the authority that it puts in place. Raises NotAChange."""
    try:
        return keys.trust().read_authority_change(change)
    except IdentityError as error:
        raise NotAChange(rule=error.rule) from None
