"""The authority file: the establishment's root key under a passphrase of its own, kept in a safe.

JSON: the root certificate and the key's wrapping, which is that of a vault's key (Argon2id, then
XChaCha20-Poly1305). It is needed again only to make a further issuer or to trust a partner.
"""

import errno
import hashlib
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from pli_protocol.identity import Authority, IdentityError, SigningKey, verify_authority
from pli_protocol.secret import Secret

from ..errors import FileUnreadable, FileUnwritable, system_reason
from ..vault.header import DEFAULT_KDF, DatabaseKey, Header, Kdf, Random, wrap
from ..vault.private_files import replace_durably
from .errors import AuthorityFileDamaged

AUTHORITY_FILE: Final = "authority.json"
_KIND: Final = "authority"


class _AuthorityFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    certificate: Annotated[bytes, msgspec.Meta(min_length=1, max_length=4096)]
    key: Header
    establishment: bytes | msgspec.UnsetType = msgspec.UNSET
    """The establishment's id where this authority follows another one."""
    checksum: str = ""
    """Tells a damaged file from a wrong passphrase."""


def _checksum(content: _AuthorityFile) -> str:
    bare = msgspec.structs.replace(content, checksum="")
    return hashlib.sha256(b"pli authority file\0" + msgspec.json.encode(bare)).hexdigest()


def seal_authority(
    file: Path,
    key: SigningKey,
    certificate: bytes,
    passphrase: Secret,
    *,
    kdf: Kdf = DEFAULT_KDF,
    random: Random | None = None,
    lineage: bytes | None = None,
) -> None:
    """Write the authority file, durably. Costs what Argon2id costs: call it off the event loop.

    Raises:
        FileUnwritable: it exists already, or cannot be written.
    """
    if file.exists():
        there = FileExistsError(errno.EEXIST, "")
        raise FileUnwritable(name=file.name, reason=system_reason(there))
    seed = DatabaseKey(key.seed)
    if random is None:
        header = wrap(seed, passphrase, kind=_KIND, kdf=kdf)
    else:
        header = wrap(seed, passphrase, kind=_KIND, kdf=kdf, random=random)
    content = _AuthorityFile(1, certificate, header, lineage or msgspec.UNSET)
    content = msgspec.structs.replace(content, checksum=_checksum(content))
    data = msgspec.json.format(msgspec.json.encode(content))
    try:
        replace_durably(file, data)
    except OSError as error:
        raise FileUnwritable(name=file.name, reason=system_reason(error)) from None


def open_authority(file: Path, passphrase: Secret) -> tuple[SigningKey, Authority]:
    """The root's key and certificate. Costs what Argon2id costs.

    Raises:
        WrongPassphrase: the passphrase is wrong.
        AuthorityFileDamaged: not such a file, altered, or key and certificate do not belong together.
        FileUnreadable: it cannot be read.
    """
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_AuthorityFile)
        lineage = content.establishment if isinstance(content.establishment, bytes) else None
        authority = verify_authority(content.certificate, lineage=lineage)
    except OSError as error:
        raise FileUnreadable(name=file.name, reason=system_reason(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IdentityError):
        raise AuthorityFileDamaged(file=file.name) from None
    if content.key.kind != _KIND or content.checksum != _checksum(content):
        raise AuthorityFileDamaged(file=file.name)
    key = SigningKey.from_seed(content.key.unwrap(passphrase))
    if key.public != authority.key:
        raise AuthorityFileDamaged(file=file.name)
    return key, authority
