"""Safety numbers: equal at both ends, other with any other key."""

from dataclasses import replace

from pli_protocol.identity import fingerprint_text, safety_number, verify_person

from .establishment import establishment, key

HOME = establishment()
ONE = verify_person((HOME.person, HOME.issuer), HOME.authority)
TWO = replace(ONE, identity_key=key("two").public, account=b"2" * 16)


def test_safety_number_is_the_same_from_both_sides() -> None:
    number = safety_number(ONE, TWO)
    assert number == safety_number(TWO, ONE)
    assert [len(group) for group in number.split(" ")] == [5] * 12
    assert number.replace(" ", "").isdigit()


def test_safety_number_changes_with_any_key_account_and_establishment() -> None:
    changed = [
        replace(TWO, identity_key=key("three").public),
        replace(TWO, account=b"3" * 16),
        replace(TWO, establishment=b"e" * 16),
    ]
    numbers = {safety_number(ONE, TWO), *(safety_number(ONE, other) for other in changed)}
    assert len(numbers) == 4


def test_safety_number_does_not_depend_on_names() -> None:
    assert safety_number(ONE, TWO) == safety_number(ONE, replace(TWO, name="Autre"))


def test_fingerprint_is_written_in_groups_of_four() -> None:
    assert fingerprint_text(bytes(range(6))) == "0001 0203 0405"
