"""Every struct of the lower half decodes to what was encoded, and to nothing when it is cut or damaged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pli_protocol.mls.codec import Reader, Writer, decode, encode
from pli_protocol.mls.credential import Credential, read_credential, write_credential
from pli_protocol.mls.errors import CodecError
from pli_protocol.mls.extension import Extension, read_extensions, write_extensions
from pli_protocol.mls.node import Node, read_node, write_node

from . import structs

STRUCTS: dict[str, st.SearchStrategy[Any]] = {
    "RequiredCapabilities": structs.required_capabilities,
    "Capabilities": structs.capabilities,
    "Lifetime": structs.lifetimes,
    "LeafNode": structs.leaf_nodes(),
    "KeyPackage": structs.key_packages,
    "ParentNode": structs.parent_nodes,
    "HPKECiphertext": structs.ciphertexts,
    "UpdatePathNode": structs.path_nodes,
    "UpdatePath": structs.update_paths,
    "RatchetTree": structs.ratchet_trees(),
}


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_decodes_to_what_was_encoded(name: str) -> None:
    @given(STRUCTS[name])
    def check(value: Any) -> None:
        data = encode(value)
        decoded = decode(type(value), data)
        assert decoded == value
        assert encode(decoded) == data

    check()


@pytest.mark.parametrize("name", STRUCTS)
def test_a_struct_that_is_cut_short_is_a_codec_error(name: str) -> None:
    @given(STRUCTS[name], st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = encode(value)
        length = data.draw(st.integers(0, len(encoded) - 1))
        with pytest.raises(CodecError):
            decode(type(value), encoded[:length])

    check()


@pytest.mark.parametrize("name", STRUCTS)
def test_a_damaged_struct_is_a_codec_error_or_another_value(name: str) -> None:
    @given(STRUCTS[name], st.data())
    def check(value: Any, data: st.DataObject) -> None:
        encoded = bytearray(encode(value))
        at = data.draw(st.integers(0, len(encoded) - 1))
        encoded[at] ^= data.draw(st.integers(1, 255))
        try:
            decoded = decode(type(value), bytes(encoded))
        except CodecError:
            return
        # One form only: two encodings never stand for one value.
        assert decoded != value
        assert encode(decoded) == encoded

    check()


@given(structs.credentials)
def test_credentials_round_trip_those_of_unknown_types_too(credential: Credential) -> None:
    w = Writer()
    write_credential(w, credential)
    r = Reader(w.getvalue())
    assert read_credential(r) == credential
    r.finish()


@given(structs.extensions)
def test_extensions_round_trip_whatever_their_type(extensions: tuple[Extension, ...]) -> None:
    w = Writer()
    write_extensions(w, extensions)
    assert read_extensions(Reader(w.getvalue())) == extensions


@given(structs.nodes)
def test_nodes_round_trip_with_their_type(node: Node) -> None:
    w = Writer()
    write_node(w, node)
    assert read_node(Reader(w.getvalue())) == node
