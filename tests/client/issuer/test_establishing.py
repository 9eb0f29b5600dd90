"""Founding an establishment, also when it is cut short at every step."""

from pathlib import Path

import pytest

from pli_client.errors import (
    FileUnreadable,
    FileUnwritable,
    InvalidInput,
    Offline,
    WrongPassphrase,
)
from pli_client.issuer import (
    AUTHORITY_FILE,
    AuthorityFileDamaged,
    EstablishmentExists,
    FoundingUnfinished,
    Issuer,
    NotAnIssuer,
    RegistrationRefused,
    open_authority,
    seal_authority,
)
from pli_client.vault import Vault
from pli_protocol.identity import (
    EnrolmentKey,
    SigningKey,
    make_authority,
    verify_issuer,
    verify_statement,
)
from pli_protocol.relay.frames import RegisterEstablishment
from pli_protocol.secret import Secret

from .conftest import AUTHORITY_PASSPHRASE, CHEAP, NAME, PASSPHRASE, found
from .relay import FakeRelay


async def test_founding_registers_certificates_that_check(relay: FakeRelay, tmp_path: Path) -> None:
    await found(relay, tmp_path)
    held = relay.establishment
    assert held is not None
    issuer = verify_issuer((held.issuer,), held.authority)
    assert issuer.establishment_name == NAME
    assert verify_statement(held.enrolment_key, EnrolmentKey, held.authority)


async def test_private_keys_of_authority_and_issuer_never_reach_the_relay(
    relay: FakeRelay, tmp_path: Path
) -> None:
    await found(relay, tmp_path)
    key, _ = open_authority(tmp_path / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)
    async with await Issuer.open(tmp_path, PASSPHRASE) as issuer:
        seed = issuer._keys.key.seed
    sent = b"".join(map(_bytes_of, relay.seen))
    assert bytes(key.seed) not in sent
    assert bytes(seed) not in sent
    assert key.public != seed


def _bytes_of(frame: object) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(frame)


async def test_relay_that_is_away_is_said_and_repeating_goes_on(
    relay: FakeRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pli_client.issuer.establishing.PATIENCE", 0.3)
    with pytest.raises(Offline):
        await found(relay, tmp_path, relay_url="ws://127.0.0.1:1")
    first = open_authority(tmp_path / AUTHORITY_FILE, AUTHORITY_PASSPHRASE)[1]
    with pytest.raises(FoundingUnfinished):
        await Issuer.open(tmp_path, PASSPHRASE)
    await found(relay, tmp_path)
    assert relay.establishment is not None
    assert relay.establishment.authority == first.certificate


async def test_wrong_code_is_refused_and_another_can_be_tried(
    relay: FakeRelay, tmp_path: Path
) -> None:
    with pytest.raises(RegistrationRefused):
        await found(relay, tmp_path, code="WRONG")
    await found(relay, tmp_path)
    async with await Issuer.open(tmp_path, PASSPHRASE) as issuer:
        assert issuer.name == NAME


async def test_lost_answer_to_the_registration_is_found_out(
    relay: FakeRelay, tmp_path: Path
) -> None:
    """The code is used up, but it is our establishment that the relay holds."""
    relay.swallow.add(RegisterEstablishment)
    with pytest.raises(Offline):
        await found(relay, tmp_path)
    await found(relay, tmp_path)
    async with await Issuer.open(tmp_path, PASSPHRASE) as issuer:
        assert issuer.relay_url == relay.url


async def test_founding_cut_short_after_the_authority_file_goes_on_with_it(
    relay: FakeRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise RuntimeError("cut short")

    with monkeypatch.context() as patched:
        patched.setattr("pli_client.issuer.establishing._issuer_keys", die)
        with pytest.raises(RuntimeError, match="cut short"):
            await found(relay, tmp_path)
    kept = (tmp_path / AUTHORITY_FILE).read_bytes()
    await found(relay, tmp_path)
    assert (tmp_path / AUTHORITY_FILE).read_bytes() == kept


async def test_vault_with_an_establishment_takes_no_second_one(
    relay: FakeRelay, tmp_path: Path
) -> None:
    await found(relay, tmp_path)
    relay.codes.add("CODE")
    with pytest.raises(EstablishmentExists):
        await found(relay, tmp_path)


async def test_authority_of_another_name_is_not_taken_over(
    relay: FakeRelay, tmp_path: Path
) -> None:
    key = SigningKey.generate()
    file = tmp_path / "safe" / AUTHORITY_FILE
    file.parent.mkdir()
    seal_authority(file, key, make_authority("Ailleurs", key, 0), AUTHORITY_PASSPHRASE, kdf=CHEAP)
    with pytest.raises(EstablishmentExists):
        await found(relay, tmp_path / "admin", authority_file=file)


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": "a\x1b"}, {"name": "x" * 65}, {"relay_url": "http://example.org"}],
)
async def test_impossible_name_or_address_is_refused_before_anything_is_made(
    relay: FakeRelay, tmp_path: Path, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        await found(relay, tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()


async def test_vault_of_a_professional_is_not_an_issuer(relay: FakeRelay, tmp_path: Path) -> None:
    async with await Vault.create(tmp_path, PASSPHRASE, kdf=CHEAP):
        pass
    with pytest.raises(NotAnIssuer) as opening:
        await Issuer.open(tmp_path, PASSPHRASE)
    assert not isinstance(opening.value, FoundingUnfinished)
    with pytest.raises(NotAnIssuer):
        await found(relay, tmp_path)
    with pytest.raises(WrongPassphrase):
        await Issuer.open(tmp_path, Secret(b"wrong"))


# --- the authority file -----------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    key = SigningKey.from_seed(b"authority seed of thirty-two by.")
    file = tmp_path / AUTHORITY_FILE
    seal_authority(file, key, make_authority(NAME, key, 0), AUTHORITY_PASSPHRASE, kdf=CHEAP)
    return file


def test_authority_file_opens_with_its_passphrase_only(sealed: Path) -> None:
    key, authority = open_authority(sealed, AUTHORITY_PASSPHRASE)
    assert key.public == authority.key
    with pytest.raises(WrongPassphrase):
        open_authority(sealed, PASSPHRASE)


def test_authority_file_shows_nothing_of_the_key(sealed: Path) -> None:
    import base64

    data = sealed.read_bytes()
    seed = b"authority seed of thirty-two by."
    assert seed not in data
    assert base64.b64encode(seed) not in data
    assert sealed.stat().st_mode & 0o077 == 0


def test_authority_file_is_never_overwritten(sealed: Path) -> None:
    before = sealed.read_bytes()
    key = SigningKey.generate()
    with pytest.raises(FileUnwritable):
        seal_authority(sealed, key, make_authority(NAME, key, 0), PASSPHRASE, kdf=CHEAP)
    assert sealed.read_bytes() == before


def test_damaged_authority_file_is_told_from_a_wrong_passphrase(sealed: Path) -> None:
    data = sealed.read_bytes()
    for damaged in (b"", b"{}", data[:-9], data.replace(b'"version": 1', b'"version": 2')):
        sealed.write_bytes(damaged)
        with pytest.raises(AuthorityFileDamaged):
            open_authority(sealed, AUTHORITY_PASSPHRASE)
    at = data.index(b"wrapped_key") + 20
    sealed.write_bytes(data[:at] + (b"A" if data[at : at + 1] != b"A" else b"B") + data[at + 1 :])
    with pytest.raises(AuthorityFileDamaged):
        open_authority(sealed, AUTHORITY_PASSPHRASE)
    with pytest.raises(FileUnreadable):
        open_authority(sealed.with_name("missing"), AUTHORITY_PASSPHRASE)
