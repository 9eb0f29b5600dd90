"""No input of n bytes costs more than O(n) beyond MLS: frames, content, statements, displayed text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pli_protocol.content import (
    MAX_CONTENT,
    ContentError,
    Message,
    Post,
    TextPart,
)
from pli_protocol.content import decode as decode_content
from pli_protocol.content import encode as encode_content
from pli_protocol.display_text import displayable
from pli_protocol.identity import (
    IdentityError,
    Invitation,
    InvitationError,
    RevocationEntry,
    RevocationList,
    Trust,
    sign,
    verify_authority,
)
from pli_protocol.relay.codec import FrameError, decode_client_frame, decode_relay_frame
from pli_protocol.relay.frames import MAX_FRAME
from pli_protocol.relay.log import RosterChange

from .cost import assert_linear, cost
from .identity.establishment import NOW, establishment

HOME = establishment()
ID = verify_authority(HOME.authority).establishment
Prepared = Callable[[], object]

FILLERS = {
    "empty maps": b"\x80",
    "empty lists": b"\x90",
    "lists within lists": b"\x91",
    "maps within maps": b"\x81\x00",
    "numbers": b"\x00",
    "empty texts": b"\xa0",
}


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize("decode", [decode_client_frame, decode_relay_frame, decode_content])
def test_garbage_costs_little_memory(decode: Callable[[bytes], object], filler: str) -> None:
    """Whatever it decodes to before it is refused: at most 100 bytes for each of the input's."""
    one = FILLERS[filler]
    for head in (b"", b"\xdd\x00\x00\xff\x00", b"\x93\x01\x02\xdc\xff\x00"):
        data = (head + one * MAX_FRAME)[:MAX_CONTENT]
        spent = cost(lambda data=data: decode(data), FrameError, ContentError)
        assert spent.peak < 100 * len(data)
        assert spent.lines < 200


def test_a_frame_or_message_over_its_limit_is_not_looked_at() -> None:
    data = b"\x80" * 2**20
    for decode in (decode_client_frame, decode_relay_frame, decode_content):
        spent = cost(lambda decode=decode: decode(data), FrameError, ContentError)
        assert spent.peak < 8192


def test_a_message_of_many_parts_is_read_in_one_go() -> None:
    def prepare(size: int) -> Prepared:
        message = Message(bytes(16), 5, Post((TextPart("x"),) * size))
        data = encode_content(message)
        return lambda: decode_content(data)

    assert_linear(prepare, 5)


@pytest.mark.parametrize("text", ["a", "\u202e", "\x1b[2J", "é\u0301", "\U0001f468\u200d", "\n"])
def test_displayed_text_costs_what_it_is_long(text: str) -> None:
    def prepare(size: int) -> Prepared:
        return lambda: displayable(text * size)

    assert_linear(prepare, 500)


def test_a_revocation_list_costs_what_it_is_long() -> None:
    """The next list holds all entries of the one before: each is compared once."""

    def revocations(number: int, size: int, before: bytes = bytes(32)) -> bytes:
        entries = tuple(
            RevocationEntry("device", at.to_bytes(16, "big"), "lost", NOW) for at in range(size)
        )
        listed = RevocationList(ID, number, before, entries, NOW)
        return sign(listed, HOME.issuer_key, (HOME.issuer,))

    def prepare(size: int) -> Prepared:
        first, third = revocations(1, size), revocations(3, size + 1)

        def run() -> None:
            trust = Trust(HOME.authority)
            trust.accept_revocations(first)
            trust.accept_revocations(third)

        return run

    assert_linear(prepare, 200, IdentityError)


def test_a_roster_change_costs_what_it_is_long() -> None:
    def prepare(size: int) -> Prepared:
        data = RosterChange(tuple(at.to_bytes(16, "big") for at in range(size))).encode()
        return lambda: RosterChange.decode(data)

    assert_linear(prepare, 500)


def test_an_invitation_code_is_of_bounded_length() -> None:
    longest = cost(lambda: Invitation.parse("A" * 440), InvitationError)
    spent = cost(lambda: Invitation.parse("A" * 100_000), InvitationError)
    assert spent.lines <= longest.lines
    assert spent.peak < 1_000_000


def test_what_counts_can_count() -> None:
    """The measure itself: it tells a loop in a loop from a loop, and a square of memory."""

    def once(size: int) -> Prepared:
        return lambda: [at for at in range(size)]

    def twice(size: int) -> Prepared:
        return lambda: [a for a in range(size) for b in range(size)]

    def square(size: int) -> Prepared:
        return lambda: bytes(size * size)

    assert_linear(once, 1000)
    for quadratic in (twice, square):
        with pytest.raises(AssertionError):
            assert_linear(quadratic, 200)
