"""Another authority: by the key of before, or by two issuers; anything else changes nothing."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.identity import (
    AuthorityChange,
    IdentityError,
    PartnerStatement,
    Person,
    RevocationEntry,
    RevocationList,
    SigningKey,
    Trust,
    encode_change,
    fingerprint,
    key_id,
    make_authority,
    make_device,
    make_issuer,
    make_person,
    person_id,
    sign,
    verify_authority,
)
from pli_protocol.identity.statements import MAX_CHANGES
from pli_protocol.identity.succession import MAX_CHANGE
from pli_protocol.relay.codec import decode_relay_frame, encode
from pli_protocol.relay.frames import AuthorityChanges

from .establishment import NOW, establishment, key

HOME = establishment()
OTHER = establishment("Ailleurs", "other ")
ID = verify_authority(HOME.authority).establishment
SECOND = key("second issuer")
SECOND_CERTIFICATE = make_issuer(HOME.authority_key, HOME.authority, SECOND.public, now=NOW)
NEW, NEWEST = key("new authority"), key("newest authority")
NEW_CERTIFICATE = make_authority(HOME.name, NEW, NOW)
NEWEST_CERTIFICATE = make_authority(HOME.name, NEWEST, NOW)

Signer = tuple[SigningKey, tuple[bytes, ...]]
OLD_KEY: Signer = (HOME.authority_key, ())
NEW_KEY: Signer = (NEW, ())
ONE: Signer = (HOME.issuer_key, (HOME.issuer,))
TWO: Signer = (SECOND, (SECOND_CERTIFICATE,))
STRANGER: Signer = (OTHER.issuer_key, (OTHER.issuer,))


def body(
    number: int = 1,
    previous: SigningKey = HOME.authority_key,
    authority: bytes = NEW_CERTIFICATE,
    compromised: bool = False,
    establishment_id: bytes = ID,
) -> AuthorityChange:
    return AuthorityChange(
        establishment_id, number, fingerprint(previous.public), authority, compromised, NOW
    )


def change(signers: Sequence[Signer], what: AuthorityChange | None = None) -> bytes:
    statement = what or body()
    return encode_change([sign(statement, key, chain) for key, chain in signers])


HANDED_OVER = change([OLD_KEY, NEW_KEY])
LOST = change([ONE, TWO, NEW_KEY])


def people_of(
    authority_key: SigningKey, authority: bytes, label: str
) -> tuple[bytes, bytes, bytes]:
    """A chain under an issuer of this authority."""
    issuer_key, identity, device = (key(f"{label} {what}") for what in ("i", "p", "d"))
    issuer = make_issuer(authority_key, authority, issuer_key.public, now=NOW)
    person = make_person(
        issuer_key,
        issuer,
        account=key_id(label.encode()),
        name="Chloé Martin",
        profession="Psychologue",
        identity_key=identity.public,
        now=NOW,
    )
    return make_device(identity, person, device.public, now=NOW), person, issuer


NEW_CHAIN = people_of(NEW, NEW_CERTIFICATE, "new")


def state(trust: Trust) -> tuple[object, ...]:
    return trust.authority, trust.authority_changes, trust.head()


@pytest.mark.parametrize("data", [HANDED_OVER, LOST], ids=["handed over", "lost"])
def test_from_then_on_the_new_authoritys_issuers_count_and_ids_stay(data: bytes) -> None:
    trust = Trust(HOME.authority)
    before = trust.device(HOME.chain, NOW)
    with pytest.raises(IdentityError):
        trust.device(NEW_CHAIN, NOW)
    assert trust.accept_authority_change(data).authority == NEW_CERTIFICATE
    assert trust.authority.certificate == NEW_CERTIFICATE
    assert trust.authority.establishment == trust.own.establishment == ID
    newcomer = trust.device(NEW_CHAIN, NOW)
    assert newcomer.person.establishment == ID
    assert newcomer.person.person_id == person_id(ID, newcomer.person.identity_key)
    assert trust.device(HOME.chain, NOW) == before
    assert trust.refuses(before) is None
    assert trust.refuses(newcomer) is None


def test_nothing_under_a_key_in_wrong_hands_counts_any_more() -> None:
    trust = Trust(HOME.authority)
    before = trust.device(HOME.chain, NOW)
    trust.accept_authority_change(change([ONE, TWO, NEW_KEY], body(compromised=True)))
    refusal = trust.refuses(before)
    assert refusal is not None
    assert refusal.entry.kind == "issuer"
    # Its history can still be read: the chain verifies.
    assert trust.device(HOME.chain, NOW) == before
    assert trust.refuses(trust.device(NEW_CHAIN, NOW)) is None
    listed = sign(RevocationList(ID, 1, bytes(32), (), NOW), *ONE)
    with pytest.raises(IdentityError):
        trust.accept_revocations(listed)


def test_issuers_of_both_authorities_sign_lists() -> None:
    trust = Trust(HOME.authority)
    trust.accept_authority_change(LOST)
    first = RevocationList(ID, 1, bytes(32), (), NOW)
    trust.accept_revocations(sign(first, *ONE))
    issuer_key = key("new i")
    entry = RevocationEntry("issuer", key_id(HOME.issuer_key.public), "lost", NOW)
    second = RevocationList(ID, 2, trust.head().hash, (entry,), NOW)
    trust.accept_revocations(sign(second, issuer_key, (NEW_CHAIN[2],)))
    assert trust.head().number == 2
    assert trust.refuses(trust.device(HOME.chain, NOW)) is not None


BAD: dict[str, tuple[bytes, str]] = {
    "one issuer alone": (change([ONE, NEW_KEY]), "signers"),
    "one issuer twice": (change([ONE, ONE, NEW_KEY]), "signers"),
    "nobody of before": (change([NEW_KEY]), "signers"),
    "the new one not at all": (change([OLD_KEY]), "signature"),
    "an issuer in its place": (change([OLD_KEY, ONE]), "signature"),
    "the new key for the old": (change([NEW_KEY, NEW_KEY]), "signature"),
    "another establishment's issuer": (change([ONE, STRANGER, NEW_KEY]), "name-chaining"),
    "another establishment": (
        change([OLD_KEY, NEW_KEY], body(establishment_id=bytes(16))),
        "binding",
    ),
    "another authority before": (change([OLD_KEY, NEW_KEY], body(previous=NEWEST)), "binding"),
    "a number left out": (change([OLD_KEY, NEW_KEY], body(number=2)), "gap"),
    "another name": (
        change([OLD_KEY, (OTHER.authority_key, ())], body(authority=OTHER.authority)),
        "binding",
    ),
    "the same key": (
        change(
            [OLD_KEY, OLD_KEY],
            body(authority=make_authority(HOME.name, HOME.authority_key, NOW + 1)),
        ),
        "binding",
    ),
    "no authority": (change([OLD_KEY, ONE], body(authority=HOME.issuer)), "constraints"),
    "different bodies": (
        encode_change([sign(body(compromised=True), *OLD_KEY), sign(body(), *NEW_KEY)]),
        "bodies",
    ),
    "garbage": (b"\x91\xc4\x01x", "form"),
    "nothing": (encode_change([]), "form"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_check_changes_nothing(what: str) -> None:
    data, rule = BAD[what]
    trust = Trust(HOME.authority)
    before = state(trust)
    with pytest.raises(IdentityError) as caught:
        trust.accept_authority_change(data)
    assert caught.value.rule == rule
    assert state(trust) == before
    with pytest.raises(IdentityError):
        trust.device(NEW_CHAIN, NOW)


def test_a_revoked_issuer_has_no_say() -> None:
    trust = Trust(HOME.authority)
    entry = RevocationEntry("issuer", key_id(SECOND.public), "stolen", NOW)
    trust.accept_revocations(sign(RevocationList(ID, 1, bytes(32), (entry,), NOW), *ONE))
    with pytest.raises(IdentityError) as caught:
        trust.accept_authority_change(LOST)
    assert caught.value.rule == "revoked"
    assert trust.authority == trust.own


def test_an_authority_of_before_neither_signs_on_nor_comes_back() -> None:
    trust = Trust(HOME.authority)
    trust.accept_authority_change(HANDED_OVER)
    replayed = [
        (HANDED_OVER, "older"),
        (LOST, "older"),
        (change([OLD_KEY, NEW_KEY], body(compromised=True)), "fork"),
        (
            change([OLD_KEY, (NEWEST, ())], body(2, NEW, NEWEST_CERTIFICATE)),
            "signature",
        ),
        (
            change([NEW_KEY, OLD_KEY], body(2, NEW, HOME.authority)),
            "binding",
        ),
    ]
    for data, rule in replayed:
        with pytest.raises(IdentityError) as caught:
            trust.accept_authority_change(data)
        assert caught.value.rule == rule
        assert trust.authority.certificate == NEW_CERTIFICATE
    trust.accept_authority_change(change([NEW_KEY, (NEWEST, ())], body(2, NEW, NEWEST_CERTIFICATE)))
    assert trust.authority.certificate == NEWEST_CERTIFICATE
    assert len(trust.authority_changes) == 2


def test_what_was_accepted_is_known_again_also_when_an_issuer_that_signed_was_revoked_since() -> (
    None
):
    trust = Trust(HOME.authority)
    trust.accept_authority_change(LOST)
    entry = RevocationEntry("issuer", key_id(SECOND.public), "lost", NOW)
    listed = sign(RevocationList(ID, 1, bytes(32), (entry,), NOW), *ONE)
    trust.accept_revocations(listed)
    again = Trust(HOME.authority, revocations=[listed], authority_changes=[LOST])
    assert state(again) == state(trust)
    assert isinstance(again.person(NEW_CHAIN[1:]), Person)


WRONG_HANDS = change([ONE, TWO, NEW_KEY], body(compromised=True))


def test_whoever_was_checked_before_a_key_was_called_stolen_is_refused_by_a_trust_made_anew() -> (
    None
):
    # As a relay's node, which learns of the change from the database while devices are online.
    device, issuer = (Trust(HOME.authority).device(HOME.chain, NOW), Trust(HOME.authority))
    again = Trust(HOME.authority, authority_changes=[WRONG_HANDS])
    for who in (device, device.person, issuer.issuer((HOME.issuer,))):
        refusal = again.refuses(who)
        assert refusal is not None
        assert refusal.entry.kind == "issuer"


def test_an_issuers_key_under_both_authorities_counts_by_the_certificate_that_is_shown() -> None:
    trust = Trust(HOME.authority, authority_changes=[WRONG_HANDS])
    anew = make_issuer(NEW, NEW_CERTIFICATE, HOME.issuer_key.public, now=NOW)
    for _ in range(2):
        assert trust.refuses(trust.issuer((HOME.issuer,))) is not None
        assert trust.refuses(trust.issuer((anew,))) is None


def test_lists_of_before_a_key_was_called_stolen_are_kept_and_gone_on_from() -> None:
    entry = RevocationEntry("person", bytes(16), "left", NOW)
    listed = sign(RevocationList(ID, 1, bytes(32), (entry,), NOW), *ONE)
    trust = Trust(HOME.authority, revocations=[listed], authority_changes=[WRONG_HANDS])
    assert trust.head().number == 1
    following = RevocationList(ID, 2, trust.head().hash, (entry,), NOW)
    with pytest.raises(IdentityError) as caught:
        trust.accept_revocations(sign(following, *ONE))
    assert caught.value.rule == "revoked"
    trust.accept_revocations(sign(following, key("new i"), (NEW_CHAIN[2],)))
    assert trust.head().number == 2


def partner_statement(signer: SigningKey) -> bytes:
    who = fingerprint(OTHER.authority_key.public)
    return sign(PartnerStatement(ID, OTHER.name, who, NOW + 86400, NOW), signer)


def test_partners_are_signed_by_any_authority_whose_key_is_not_stolen() -> None:
    trust = Trust(HOME.authority, authority_changes=[HANDED_OVER])
    for signer in (HOME.authority_key, NEW):
        trust.accept_partner(partner_statement(signer), OTHER.authority)
    stolen = Trust(HOME.authority, authority_changes=[WRONG_HANDS])
    with pytest.raises(IdentityError) as caught:
        stolen.accept_partner(partner_statement(HOME.authority_key), OTHER.authority)
    assert caught.value.rule == "revoked"
    assert stolen.partners == {}
    stolen.accept_partner(partner_statement(NEW), OTHER.authority)


def test_a_partner_replaces_no_authority_but_its_own() -> None:
    trust = Trust(HOME.authority)
    trust.accept_partner(partner_statement(HOME.authority_key), OTHER.authority)
    second = key("other second")
    certificate = make_issuer(OTHER.authority_key, OTHER.authority, second.public, now=NOW)
    before = state(trust)
    for signers in ([ONE, STRANGER, NEW_KEY], [STRANGER, (second, (certificate,)), NEW_KEY]):
        with pytest.raises(IdentityError) as caught:
            trust.accept_authority_change(change(signers))
        assert caught.value.rule == "binding"
    theirs = AuthorityChange(
        verify_authority(OTHER.authority).establishment,
        1,
        fingerprint(OTHER.authority_key.public),
        make_authority(OTHER.name, NEWEST, NOW),
        False,
        NOW,
    )
    with pytest.raises(IdentityError):
        trust.accept_authority_change(change([(OTHER.authority_key, ()), (NEWEST, ())], theirs))
    assert state(trust) == before


def test_a_frame_holds_as_many_changes_as_there_can_be() -> None:
    trust, before, changes = Trust(HOME.authority), HOME.authority_key, []
    for number in range(1, MAX_CHANGES + 1):
        following = key(f"authority {number}")
        what = body(number, before, make_authority(HOME.name, following, NOW))
        changes.append(change([(before, ()), (following, ())], what))
        trust.accept_authority_change(changes[-1])
        before = following
    frame = AuthorityChanges(1, (bytes(MAX_CHANGE),) * MAX_CHANGES)
    assert decode_relay_frame(encode(frame)) == frame
    what = body(MAX_CHANGES + 1, before, NEW_CERTIFICATE)
    with pytest.raises(IdentityError) as caught:
        trust.accept_authority_change(change([(before, ()), NEW_KEY], what))
    assert caught.value.rule == "form"


SIGNERS: dict[str, Signer] = {
    "old": OLD_KEY,
    "new": NEW_KEY,
    "one": ONE,
    "two": TWO,
    "stranger": STRANGER,
    "someone": (HOME.identity, ()),
}
GOOD = (["old", "new"], ["one", "two", "new"], ["two", "one", "new"])


@given(st.lists(st.sampled_from(sorted(SIGNERS)), max_size=4))
def test_no_other_signers_in_no_other_order_replace_an_authority(who: list[str]) -> None:
    trust = Trust(HOME.authority)
    data = change([SIGNERS[each] for each in who])
    if who in GOOD:
        trust.accept_authority_change(data)
        return
    with pytest.raises(IdentityError):
        trust.accept_authority_change(data)
    assert trust.authority == trust.own


@given(st.data())
def test_a_change_with_one_byte_changed_changes_nothing(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([HANDED_OVER, LOST]))
    place = data.draw(st.integers(0, len(good) - 1))
    flip = data.draw(st.integers(1, 255))
    bad = good[:place] + bytes([good[place] ^ flip]) + good[place + 1 :]
    trust = Trust(HOME.authority)
    with pytest.raises(IdentityError):
        trust.accept_authority_change(bad)
    assert trust.authority == trust.own
    trust.accept_authority_change(good)
