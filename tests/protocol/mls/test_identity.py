"""Comparing the members of two groups by the application's word (RFC 9420 §11.2, §11.3)."""

from __future__ import annotations

import random

import pytest

from pli_protocol.mls import BasicCredential
from pli_protocol.mls.identity import COMPARED, AcceptBasic, all_among


class ByName(AcceptBasic):
    """Who has the same name is the same, whatever follows the colon; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def same_identity(self, old: object, new: object) -> bool:
        self.asked += 1
        assert isinstance(old, BasicCredential)
        assert isinstance(new, BasicCredential)
        # Only the newer may have been renewed.
        assert b":" not in old.identity
        return old.identity == new.identity.partition(b":")[0]


def people(count: int, suffix: str = "") -> list[BasicCredential]:
    return [BasicCredential(f"{number}{suffix}".encode()) for number in range(count)]


def test_equal_credentials_need_no_question() -> None:
    identity = ByName()
    assert all_among(identity, people(50), people(60), newer=True)
    assert identity.asked == 0


@pytest.mark.parametrize("newer", [True, False])
def test_renewed_credentials_are_known_in_any_order(newer: bool) -> None:
    identity = ByName()
    old, new = people(20), people(20, ":2027")
    random.Random(7).shuffle(new)
    some, others = (new, old) if newer else (old, new)
    assert all_among(identity, some, others, newer=newer)


def test_in_the_same_order_there_is_one_question_for_each() -> None:
    identity = ByName()
    assert all_among(identity, people(500, ":2027"), people(500), newer=True)
    assert identity.asked == 500


def test_a_stranger_is_found() -> None:
    identity = ByName()
    assert not all_among(identity, people(21, ":2027"), people(20), newer=True)
    assert not all_among(identity, people(1), [], newer=True)
    assert all_among(identity, [], [], newer=True)


def test_the_number_of_questions_is_bounded() -> None:
    identity = ByName()
    old, new = people(1000), people(1000, ":2027")
    new.reverse()
    assert not all_among(identity, new, old, newer=True)
    assert identity.asked == COMPARED * 2000
