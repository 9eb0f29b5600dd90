"""What the relay reads of a message agrees with what the protocol's library reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.message import peek
from pli_protocol.relay.log import RosterChange
from pli_server.errors import Refusal
from pli_server.group_log.header import read_header, roster_change

from .people import COMMIT, mls


@given(
    group=st.binary(max_size=80),
    epoch=st.integers(0, 2**64 - 1),
    kind=st.sampled_from([1, 2, 3]),
    aad=st.binary(max_size=20_000),
)
def test_the_header_is_the_messages(group: bytes, epoch: int, kind: int, aad: bytes) -> None:
    message = mls(group, epoch, kind, aad=aad)
    header = read_header(message)
    assert header == (group, epoch, kind, aad)
    seen = peek(message)
    assert (seen.group_id, seen.epoch, seen.authenticated_data) == (group, epoch, aad)


@given(st.binary(max_size=200))
def test_anything_else_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        read_header(data)
    assert caught.value.code == "invalid"


@pytest.mark.parametrize(
    "aad",
    [b"", b"\x90", b"\x92\x90", b"\x92\x91\xc4\x0f" + bytes(15) + b"\x90", b"\x92\x90\x90\x90"],
)
def test_a_roster_change_is_read_strictly(aad: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        roster_change(read_header(mls(b"g" * 16, 1, COMMIT, aad=aad)))
    assert caught.value.code == "roster"


def test_a_device_named_twice_is_refused() -> None:
    device = bytes(16)
    for change in (RosterChange((device, device)), RosterChange((), (device, device))):
        with pytest.raises(Refusal) as caught:
            roster_change(read_header(mls(b"g" * 16, 1, COMMIT, aad=change.encode())))
        assert caught.value.code == "roster"
