"""Random frames for property tests, built from the types of their fields."""

from typing import Any, get_args

import msgspec.inspect as inspect
from hypothesis import strategies as st
from msgspec import Struct

from pli_protocol.relay.frames import ClientFrame, RelayFrame

CLIENT_FRAMES: tuple[type[Struct], ...] = get_args(ClientFrame)
RELAY_FRAMES: tuple[type[Struct], ...] = get_args(RelayFrame)

_TEXT = st.characters(codec="utf-8")
_LONGEST = 200
_MOST_ITEMS = 3


def frames(kind: type[Struct]) -> st.SearchStrategy[Any]:
    """Frames of a class with every field within its bounds."""
    return _struct(inspect.type_info(kind))


def _struct(info: inspect.Type) -> st.SearchStrategy[Any]:
    assert isinstance(info, inspect.StructType)
    return st.builds(info.cls, **{field.name: _of(field.type) for field in info.fields})


def _of(info: inspect.Type) -> st.SearchStrategy[Any]:
    match info:
        case inspect.IntType(ge=low, lt=below, le=high):
            top = high if high is not None else below - 1 if below is not None else None
            return st.integers(low, top)
        case inspect.BytesType(min_length=low, max_length=high):
            return st.binary(min_size=low or 0, max_size=_up_to(low, high, _LONGEST))
        case inspect.StrType(min_length=low, max_length=high):
            return st.text(_TEXT, min_size=low or 0, max_size=_up_to(low, high, 40))
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.UnionType(types=types):
            return st.one_of(*(_of(one) for one in types))
        case inspect.VarTupleType(item_type=item, min_length=low, max_length=high):
            most = _up_to(low, high, _MOST_ITEMS)
            return st.lists(_of(item), min_size=low or 0, max_size=most).map(tuple)
        case inspect.StructType():
            return _struct(info)
        case inspect.Metadata(type=inner):
            return _of(inner)
    raise AssertionError(f"no strategy for {info}")


def _up_to(low: int | None, high: int | None, most: int) -> int:
    return max(low or 0, min(most if high is None else high, most))
