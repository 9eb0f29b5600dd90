"""Trust: own chains, partners', and what was revoked."""

import msgspec
import pytest

from pli_protocol.identity import (
    DeviceRevocation,
    IdentityError,
    PartnerStatement,
    Replacement,
    RevocationEntry,
    RevocationList,
    SigningKey,
    StatementError,
    Trust,
    key_id,
    list_hash,
    make_issuer,
    make_person,
    person_id,
    sign,
    verify_authority,
)
from pli_protocol.identity.chain import CLOCK_TOLERANCE
from pli_protocol.identity.statements import Reason, RevokedKind

from .establishment import NOW, establishment, key

HOME = establishment()
OTHER = establishment("Ailleurs", "other ")
ID = verify_authority(HOME.authority).establishment
THERE = verify_authority(OTHER.authority).establishment
UNTIL = NOW + 10 * 86400


def revocations(
    *entries: RevocationEntry, number: int = 1, previous: bytes = bytes(32), time: int = NOW
) -> bytes:
    statement = RevocationList(ID, number, previous, entries, time)
    return sign(statement, HOME.issuer_key, (HOME.issuer,))


def entry(kind: RevokedKind, identifier: bytes, reason: Reason = "lost") -> RevocationEntry:
    return RevocationEntry(kind, identifier, reason, NOW)


def partner(until: int = UNTIL) -> bytes:
    fingerprint = verify_authority(OTHER.authority).fingerprint
    return sign(PartnerStatement(ID, "Ailleurs", fingerprint, until, NOW), HOME.authority_key)


def rule(caught: "pytest.ExceptionInfo[IdentityError]") -> str:
    return caught.value.rule


# --- chains -----------------------------------------------------------------------------------


def test_own_device_is_trusted_again_from_the_cache() -> None:
    trust = Trust(HOME.authority)
    first = trust.device(HOME.chain, NOW)
    assert trust.device(HOME.chain, NOW) is first


def test_cached_chain_still_expires() -> None:
    trust = Trust(HOME.authority)
    trust.device(HOME.chain, NOW)
    with pytest.raises(IdentityError, match="expired"):
        trust.device(HOME.chain, NOW + 500 * 86400)


def test_cache_does_not_mix_chains_cut_at_other_places() -> None:
    trust = Trust(HOME.authority)
    trust.device(HOME.chain, NOW)
    device, person, issuer = HOME.chain
    with pytest.raises(IdentityError):
        trust.device((device + person[:1], person[1:], issuer), NOW)


def test_stranger_is_refused() -> None:
    with pytest.raises(IdentityError):
        Trust(HOME.authority).device(OTHER.chain, NOW)


# --- partners ---------------------------------------------------------------------------------


def test_partner_is_trusted_until_its_date() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    device = trust.device(OTHER.chain, NOW)
    assert device.person.establishment_name == "Ailleurs"
    assert trust.device(HOME.chain, NOW).person.establishment == ID
    with pytest.raises(IdentityError, match="expired"):
        trust.device(OTHER.chain, UNTIL + 2 * 86400)


def test_earlier_statement_about_a_partner_does_not_undo_a_later_one() -> None:
    """Who kept the first statement could prolong a partnership that was cut short."""
    whole = verify_authority(OTHER.authority).fingerprint
    statement = PartnerStatement(ID, "Ailleurs", whole, NOW + 5, NOW + 1)
    shortened = sign(statement, HOME.authority_key)
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    trust.accept_partner(shortened, OTHER.authority)
    with pytest.raises(IdentityError, match="older"):
        trust.accept_partner(partner(), OTHER.authority)
    trust.accept_partner(shortened, OTHER.authority)


def test_partner_with_another_certificate_than_stated_is_refused() -> None:
    impostor = establishment("Ailleurs", "impostor ")
    trust = Trust(HOME.authority)
    with pytest.raises(IdentityError, match="fingerprint"):
        trust.accept_partner(partner(), impostor.authority)
    with pytest.raises(IdentityError):
        trust.device(impostor.chain, NOW)


def test_partner_stated_by_somebody_else_than_the_authority_is_refused() -> None:
    fingerprint = verify_authority(OTHER.authority).fingerprint
    statement = PartnerStatement(ID, "Ailleurs", fingerprint, UNTIL, NOW)
    with pytest.raises(IdentityError, match="signature"):
        Trust(HOME.authority).accept_partner(sign(statement, HOME.issuer_key), OTHER.authority)


def test_stranger_is_refused_also_beside_a_partner() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    stranger = establishment("Nulle part", "third ")
    with pytest.raises(IdentityError) as caught:
        trust.device(stranger.chain, NOW)
    assert rule(caught) == "authority"


def test_partner_cannot_revoke_anybody_of_ours() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    device = trust.device(HOME.chain, NOW)
    statement = RevocationList(
        verify_authority(OTHER.authority).establishment,
        1,
        bytes(32),
        (entry("device", device.device_id), entry("person", device.person.person_id)),
        NOW,
    )
    trust.accept_revocations(sign(statement, OTHER.issuer_key, (OTHER.issuer,)))
    assert trust.refuses(device) is None
    forged = msgspec.structs.replace(statement, establishment=ID)
    with pytest.raises(StatementError, match="binding"):
        trust.accept_revocations(sign(forged, OTHER.issuer_key, (OTHER.issuer,)))


def test_partner_cannot_replace_anybody_of_ours_nor_keep_us_from_doing_so() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    device = trust.device(HOME.chain, NOW)
    theirs = replacement(signer=OTHER.issuer_key, issuer=OTHER.issuer, establishment_id=THERE)
    trust.accept_replacement(theirs)
    assert trust.refuses(device) is None
    trust.accept_replacement(replacement("by our own issuer"))
    assert trust.refuses(device) is not None
    read_again = Trust(
        HOME.authority, partners=[(partner(), OTHER.authority)], replacements=[theirs]
    )
    assert read_again.refuses(device) is None


# --- revocation -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["device", "person", "issuer"])
def test_device_is_refused_with_its_person_and_their_issuer(kind: RevokedKind) -> None:
    trust = Trust(HOME.authority)
    device = trust.device(HOME.chain, NOW)
    assert trust.refuses(device) is None
    identifier = {
        "device": device.device_id,
        "person": device.person.person_id,
        "issuer": device.person.issuer_id,
    }[kind]
    trust.accept_revocations(revocations(entry(kind, identifier, "stolen")))
    refusal = trust.refuses(device)
    assert refusal is not None
    assert str(refusal) == f"{kind} stolen"


def test_revoking_a_device_leaves_its_person() -> None:
    trust = Trust(HOME.authority)
    device = trust.device(HOME.chain, NOW)
    trust.accept_revocations(revocations(entry("device", device.device_id)))
    assert trust.refuses(device.person) is None


def test_entry_of_one_kind_revokes_nothing_of_another() -> None:
    trust = Trust(HOME.authority)
    device = trust.device(HOME.chain, NOW)
    trust.accept_revocations(revocations(entry("person", device.device_id)))
    assert trust.refuses(device) is None


def test_newer_list_continues_the_one_known() -> None:
    trust = Trust(HOME.authority)
    assert trust.head().number == 0
    first = revocations(entry("device", bytes(16)))
    trust.accept_revocations(first)
    second = revocations(
        entry("device", bytes(16)), entry("device", b"b" * 16), number=2, previous=list_hash(first)
    )
    trust.accept_revocations(second)
    assert (trust.head().number, trust.head().hash) == (2, list_hash(second))
    assert trust.revocations() == second


def test_same_list_again_changes_nothing() -> None:
    trust = Trust(HOME.authority, revocations=[revocations()])
    trust.accept_revocations(revocations())
    assert trust.head().number == 1


def test_list_that_skips_numbers_is_taken_since_it_holds_all_entries() -> None:
    first = revocations(entry("device", bytes(16)))
    later = revocations(entry("device", bytes(16)), number=5, previous=b"?" * 32)
    trust = Trust(HOME.authority, revocations=[first])
    trust.accept_revocations(later)
    assert trust.head().number == 5


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (revocations(number=1), "older"),
        (revocations(entry("device", bytes(16)), number=2, time=NOW + 1), "fork"),
        (revocations(entry("device", bytes(16)), number=3, previous=b"x" * 32), "fork"),
        (revocations(number=4), "shrunk"),
    ],
)
def test_list_that_does_not_continue_is_refused(second: bytes, expected: str) -> None:
    known = revocations(entry("device", bytes(16)), number=2)
    trust = Trust(HOME.authority, revocations=[known])
    with pytest.raises(StatementError) as caught:
        trust.accept_revocations(second)
    assert rule(caught) == expected
    assert trust.revocations() == known


def test_revoked_issuer_revokes_nobody() -> None:
    second_key = key("second issuer")
    second = make_issuer(HOME.authority_key, HOME.authority, second_key.public, now=NOW)
    trust = Trust(HOME.authority)
    gone = trust.issuer((HOME.issuer,)).issuer_id
    statement = RevocationList(ID, 1, bytes(32), (entry("issuer", gone, "stolen"),), NOW)
    trust.accept_revocations(sign(statement, second_key, (second,)))
    with pytest.raises(IdentityError, match="revoked"):
        trust.accept_revocations(revocations(entry("issuer", gone, "stolen"), number=9))


def test_own_word_about_a_device_counts_at_once_and_for_that_device_only() -> None:
    trust = Trust(HOME.authority)
    device = trust.device(HOME.chain, NOW)
    person = device.person
    for target in (bytes(16), device.device_id):
        assert trust.refuses(device) is None
        statement = DeviceRevocation(ID, person.person_id, target, "stolen", NOW)
        trust.accept_device_revocation(sign(statement, HOME.identity, (HOME.person, HOME.issuer)))
    assert trust.refuses(device) is not None
    assert trust.refuses(person) is None


def test_revoked_person_has_no_word_about_devices() -> None:
    trust = Trust(HOME.authority)
    person = trust.device(HOME.chain, NOW).person
    trust.accept_revocations(revocations(entry("person", person.person_id, "stolen")))
    statement = DeviceRevocation(ID, person.person_id, b"x" * 16, "stolen", NOW)
    with pytest.raises(IdentityError, match="revoked"):
        trust.accept_device_revocation(sign(statement, HOME.identity, (HOME.person, HOME.issuer)))


def test_establishment_is_not_its_own_partner() -> None:
    fingerprint = verify_authority(HOME.authority).fingerprint
    statement = PartnerStatement(ID, "Les Tilleuls", fingerprint, UNTIL, NOW)
    with pytest.raises(StatementError, match="binding"):
        Trust(HOME.authority).accept_partner(sign(statement, HOME.authority_key), HOME.authority)


@pytest.mark.parametrize("partners", [[], [(partner(), OTHER.authority)]])
def test_chain_of_another_length_is_refused(partners: list[tuple[bytes, bytes]]) -> None:
    trust = Trust(HOME.authority, partners=partners)
    for take in (0, 1, 2):
        with pytest.raises(IdentityError, match="chain-length"):
            trust.device(HOME.chain[3 - take :], NOW)
    with pytest.raises(IdentityError, match="chain-length"):
        trust.person(HOME.chain, NOW)


def test_list_of_a_stranger_is_refused() -> None:
    statement = RevocationList(ID, 1, bytes(32), (), NOW)
    with pytest.raises(IdentityError):
        Trust(HOME.authority).accept_revocations(sign(statement, OTHER.issuer_key, (OTHER.issuer,)))


# --- replaced keys ----------------------------------------------------------------------------

ACCOUNT = bytes(range(16))
OLD = person_id(ID, HOME.identity.public)


def replacement(
    label: str = "new identity",
    *,
    replaced: bytes = OLD,
    signer: SigningKey | None = None,
    issuer: bytes | None = None,
    establishment_id: bytes = ID,
) -> bytes:
    body = Replacement(establishment_id, ACCOUNT, replaced, key(label).public, NOW)
    return sign(body, signer or HOME.issuer_key, (issuer or HOME.issuer,))


def test_who_was_replaced_counts_no_more_and_who_follows_does() -> None:
    trust = Trust(HOME.authority)
    taken = trust.accept_replacement(replacement())
    refusal = trust.refuses(trust.device(HOME.chain, NOW))
    assert refusal is not None
    assert (refusal.entry.kind, refusal.entry.reason) == ("person", "stolen")
    assert trust.replacement(ID, OLD) == taken
    assert taken.successor == person_id(ID, key("new identity").public)
    following = make_person(
        HOME.issuer_key,
        HOME.issuer,
        account=ACCOUNT,
        name="Amélie Dupont",
        profession="Infirmière",
        identity_key=key("new identity").public,
        now=NOW,
    )
    assert trust.refuses(trust.person((following, HOME.issuer))) is None


def test_the_same_replacement_may_come_again_and_another_may_not() -> None:
    trust = Trust(HOME.authority)
    trust.accept_replacement(replacement())
    trust.accept_replacement(replacement())
    with pytest.raises(StatementError) as caught:
        trust.accept_replacement(replacement("another"))
    assert rule(caught) == "fork"
    assert trust.replacement(ID, OLD) == trust.accept_replacement(replacement())


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (replacement("identity"), "binding"),
        (replacement(signer=key("somebody")), "signature"),
        (replacement(signer=HOME.identity, issuer=HOME.person), "constraints"),
        (replacement(signer=OTHER.issuer_key, issuer=OTHER.issuer), "name-chaining"),
        (replacement(establishment_id=bytes(16)), "binding"),
        (b"\x93", "form"),
    ],
    ids=["itself", "forged", "by-the-person", "another-establishment", "for-another", "garbage"],
)
def test_a_replacement_that_does_not_check_changes_nothing(statement: bytes, expected: str) -> None:
    trust = Trust(HOME.authority)
    with pytest.raises(IdentityError) as caught:
        trust.accept_replacement(statement)
    assert rule(caught) == expected
    assert trust.replacement(ID, OLD) is None
    assert trust.refuses(trust.device(HOME.chain, NOW)) is None


def test_a_key_that_was_replaced_never_comes_back() -> None:
    trust = Trust(HOME.authority)
    trust.accept_replacement(replacement())
    new = person_id(ID, key("new identity").public)
    with pytest.raises(StatementError) as caught:
        trust.accept_replacement(replacement("identity", replaced=new))
    assert rule(caught) == "binding"
    trust.accept_replacement(replacement("third", replaced=new))


def test_a_revoked_issuer_replaces_nobody_but_what_it_did_before_stands() -> None:
    before = Trust(HOME.authority)
    before.accept_replacement(replacement())
    listed = revocations(entry("issuer", key_id(HOME.issuer_key.public)))
    before.accept_revocations(listed)
    after = Trust(HOME.authority, revocations=[listed])
    with pytest.raises(IdentityError) as caught:
        after.accept_replacement(replacement())
    assert rule(caught) == "revoked"
    # As a vault or a relay that starts again reads it: it was accepted once.
    again = Trust(HOME.authority, revocations=[listed], replacements=[replacement()])
    assert again.replacement(ID, OLD) == before.replacement(ID, OLD)


def test_an_older_word_about_a_device_does_not_undo_a_later_one() -> None:
    def word(reason: Reason, time: int) -> bytes:
        body = DeviceRevocation(ID, OLD, key_id(HOME.device_key.public), reason, time)
        return sign(body, HOME.identity, (HOME.person, HOME.issuer))

    trust = Trust(HOME.authority)
    trust.accept_device_revocation(word("stolen", NOW + 1))
    with pytest.raises(StatementError) as caught:
        trust.accept_device_revocation(word("retired", NOW))
    assert rule(caught) == "older"
    refusal = trust.refuses(trust.device(HOME.chain, NOW))
    assert refusal is not None
    assert refusal.entry.reason == "stolen"


def test_people_of_a_partner_may_be_added_until_the_second_of_its_end() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    there, own = THERE, trust.own.establishment
    assert trust.vouches(there, UNTIL - 1)
    assert not trust.vouches(there, UNTIL)
    assert trust.vouches(own, UNTIL * 2)
    assert not trust.vouches(bytes(16), UNTIL - 1)


def test_a_date_ends_a_partnership_a_day_later_and_a_signed_end_at_once() -> None:
    trust = Trust(HOME.authority, partners=[(partner(), OTHER.authority)])
    there = THERE
    assert not trust.ended(there, UNTIL + CLOCK_TOLERANCE)
    assert trust.ended(there, UNTIL + CLOCK_TOLERANCE + 1)
    assert not trust.ended(trust.own.establishment, UNTIL * 2)
    (known,) = trust.partners.values()
    end = msgspec.structs.replace(known, until=known.time + 5, time=known.time + 5)
    trust.accept_partner(sign(end, HOME.authority_key), OTHER.authority)
    assert trust.ended(there, end.until)
