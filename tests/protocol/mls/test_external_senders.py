"""The external_senders extension."""

from __future__ import annotations

import pytest

from pli_protocol.mls import (
    ACCEPT_BASIC,
    BasicCredential,
    Extension,
    ExtensionType,
    ExternalSender,
    ValidationError,
    X509Credential,
    external_senders_extension,
)
from pli_protocol.mls.external_senders import (
    check_external_senders,
    external_sender,
    external_senders,
)

SERVICE = ExternalSender(b"key", BasicCredential(b"service"))


def test_senders_are_read_back_from_the_extension() -> None:
    extension = external_senders_extension([SERVICE])
    assert external_senders([Extension(1, b""), extension]) == (SERVICE,)
    assert external_senders([]) == ()
    assert external_sender([extension], 0) == SERVICE


@pytest.mark.parametrize("index", [1, 2**32 - 1])
def test_an_unknown_sender_is_refused(index: int) -> None:
    with pytest.raises(ValidationError) as failed:
        external_sender([external_senders_extension([SERVICE])], index)
    assert failed.value.rule == "external-sender-unknown"


def test_an_extension_that_does_not_decode_is_refused() -> None:
    with pytest.raises(ValidationError) as failed:
        external_senders([Extension(ExtensionType.EXTERNAL_SENDERS, b"\x04")])
    assert failed.value.rule == "external-senders"


def test_the_application_is_asked_about_each_sender() -> None:
    check_external_senders([external_senders_extension([SERVICE])], ACCEPT_BASIC)
    stranger = ExternalSender(b"key", X509Credential((b"chain",)))
    with pytest.raises(ValidationError):
        check_external_senders([external_senders_extension([SERVICE, stranger])], ACCEPT_BASIC)
