"""Extensions (RFC 9420 §13.4) and RequiredCapabilities (§11.1)."""

import pytest

from pli_protocol.mls.codec import encode
from pli_protocol.mls.errors import ValidationError
from pli_protocol.mls.extension import (
    Extension,
    ExtensionType,
    RequiredCapabilities,
    check_unique,
    find_extension,
)
from pli_protocol.mls.group_support import required_capabilities


def test_an_extension_is_found_by_its_type() -> None:
    extensions = (Extension(0x1A1A, b"grease"), Extension(5, b"senders"))
    assert find_extension(extensions, ExtensionType.EXTERNAL_SENDERS) == b"senders"
    assert find_extension(extensions, ExtensionType.RATCHET_TREE) is None


def test_a_list_has_one_extension_of_a_type_at_most() -> None:
    check_unique((Extension(1, b""), Extension(2, b"")))
    with pytest.raises(ValidationError, match="extensions-duplicate"):
        check_unique((Extension(1, b"a"), Extension(2, b""), Extension(1, b"b")))


def test_required_capabilities_are_read_from_a_list_of_extensions() -> None:
    wanted = RequiredCapabilities((0xF000,), (0xF001,), (1, 2))
    extension = Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(wanted))
    assert required_capabilities((Extension(1, b""), extension)) == wanted
    assert required_capabilities((Extension(1, b""),)) is None


def test_required_capabilities_that_do_not_decode_are_refused() -> None:
    with pytest.raises(ValidationError, match="required-capabilities"):
        required_capabilities((Extension(ExtensionType.REQUIRED_CAPABILITIES, b"\x01"),))
