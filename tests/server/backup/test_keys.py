"""The key pair of backups: made once, never overwritten, opened with its passphrase only."""

from pathlib import Path

import pytest
from nacl.public import PrivateKey

from pli_protocol.secret import Secret
from pli_server.backup import keys
from pli_server.errors import OperatorError


@pytest.mark.parametrize("passphrase", [None, Secret(b"quatre mots au hasard")])
def test_the_private_key_belongs_to_the_public_one(
    tmp_path: Path, passphrase: Secret | None
) -> None:
    path = tmp_path / "key"
    public = keys.make(path, passphrase)
    assert keys.is_sealed(path) == (passphrase is not None)
    assert keys.load(path, passphrase).public_key == keys.parse_public(public)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_sealed_key_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keys.make(path, Secret(b"quatre mots au hasard"))
    for wrong in (None, Secret(b""), Secret(b"quatre mots")):
        with pytest.raises(OperatorError, match="passphrase"):
            keys.load(path, wrong)


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    public = keys.make(path, None)
    with pytest.raises(OperatorError, match="never overwritten"):
        keys.make(path, None)
    assert keys.public_text(keys.load(path).public_key) == public


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"private": "AAAA"}', '{"sealed": 1}', "\u00e9"])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(OperatorError):
        keys.load(path, Secret(b"x"))


@pytest.mark.parametrize("text", ["", "pli-backup-", "pli-backup-AAAA", "pli-backup-é", "AAAA"])
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(OperatorError, match="backup-key"):
        keys.parse_public(text)


def test_no_repr_shows_a_private_key(tmp_path: Path) -> None:
    keys.make(tmp_path / "key", None)
    key = keys.load(tmp_path / "key")
    assert isinstance(key, PrivateKey)
    assert bytes(key).hex() not in repr(key)
    assert repr(bytes(key)) not in repr(key)
