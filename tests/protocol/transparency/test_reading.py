"""What comes from files and databases is read strictly: anything else is one error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.identity import IdentityError, SigningKey
from pli_protocol.transparency import (
    HeadFile,
    SignedHead,
    TreeHead,
    batch_body,
    batch_root,
    head_code,
    leaf_data,
    leaf_hash,
    read_batch,
    sign_head,
    verify_head,
)

KEY = SigningKey.from_seed(bytes(32))
HEAD = TreeHead(1, 7, b"r" * 32, 1_795_000_000_000)
FILE = HeadFile("relay.test", KEY.public, sign_head("relay.test", HEAD, KEY))

heads = st.builds(
    TreeHead,
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
    st.binary(min_size=32, max_size=32),
    st.integers(0, 2**43 - 1),
)


@given(heads, st.text("abcXYZ019.-", min_size=1, max_size=60))
def test_a_head_goes_into_a_file_and_comes_back(head: TreeHead, relay: str) -> None:
    file = HeadFile(relay, KEY.public, sign_head(relay, head, KEY))
    assert HeadFile.decode(file.encode()) == file
    assert verify_head(relay.swapcase(), file.signed, KEY.public) == head


@given(st.text(max_size=300))
def test_any_text_is_a_head_or_one_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a head"):
        HeadFile.decode(text)


@given(
    st.sampled_from(sorted(json.loads(FILE.encode()))),
    st.none() | st.integers() | st.text(max_size=80) | st.lists(st.integers(), max_size=2),
)
def test_a_file_with_one_value_changed_is_refused_or_signed_by_nobody(
    name: str, value: object
) -> None:
    fields = json.loads(FILE.encode())
    if value == fields[name]:
        return
    try:
        changed = HeadFile.decode(json.dumps({**fields, name: value}))
    except ValueError:
        return
    with pytest.raises(IdentityError):
        verify_head(changed.relay, changed.signed, changed.log_key)


@given(heads, heads)
def test_a_signature_is_of_one_head_of_one_relay(one: TreeHead, other: TreeHead) -> None:
    signed = sign_head("relay.test", one, KEY)
    if one != other:
        with pytest.raises(IdentityError):
            verify_head("relay.test", SignedHead(other, signed.signature), KEY.public)
    with pytest.raises(IdentityError):
        verify_head("relay.tes", signed, KEY.public)


def test_a_code_shows_timeline_size_and_120_bits_of_the_root() -> None:
    assert head_code(HEAD) == "1.7.OJZH-E4TS-OJZH-E4TS-OJZH-E4TS"


@given(st.binary(max_size=120))
def test_any_bytes_are_a_batch_or_one_error(data: bytes) -> None:
    try:
        batch = read_batch(data)
    except ValueError:
        return
    assert batch.count >= 1


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=9, unique=True))
def test_a_batch_commits_to_its_rows_in_whatever_order_they_come(chains: list[bytes]) -> None:
    batch = read_batch(batch_body(5, chains))
    assert (batch.time, batch.count, batch.root) == (5, len(chains), batch_root(chains[::-1]))
    assert batch_root([*chains[:-1], bytes(33)]) != batch.root


def test_class_and_digest_cannot_run_into_each_other() -> None:
    assert leaf_data("ab", b"c" * 32) != leaf_data("a", b"b" + b"c" * 31)
    assert len(leaf_hash(leaf_data("messages", bytes(32)))) == 32
