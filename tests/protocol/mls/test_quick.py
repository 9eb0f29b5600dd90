"""Quickly made values are frozen dataclasses like any other."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from pli_protocol.mls.quick import quick


@quick
@dataclass(frozen=True, slots=True)
class Value:
    one: int
    two: str = "two"
    some: list[int] = field(default_factory=list)
    _hidden: bytes | None = field(default=None, init=False, repr=False, compare=False)


def test_it_takes_what_the_dataclass_takes() -> None:
    value = Value(1)
    assert (value.one, value.two, value.some, value._hidden) == (1, "two", [], None)
    assert Value(one=1, two="b", some=[3]) == Value(1, "b", [3])
    assert Value(1).some is not value.some
    assert replace(value, two="c") == Value(1, "c")
    assert repr(value) == "Value(one=1, two='two', some=[])"
    with pytest.raises(TypeError):
        Value()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Value(1, unknown=2)  # type: ignore[call-arg]


def test_it_stays_as_it_was_made() -> None:
    value = Value(1)
    with pytest.raises(FrozenInstanceError):
        value.one = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del value.one


def test_a_class_that_does_more_when_made_is_refused() -> None:
    @dataclass(frozen=True, slots=True)
    class Checked:
        one: int

        def __post_init__(self) -> None:
            raise AssertionError

    with pytest.raises(TypeError, match="__post_init__"):
        quick(Checked)
