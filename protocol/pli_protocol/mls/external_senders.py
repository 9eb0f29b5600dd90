"""The external_senders extension: who outside may propose (RFC 9420 §12.1.8.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from .codec import Reader, Writer
from .credential import Credential, read_credential, write_credential
from .errors import CodecError, ValidationError
from .extension import Extension, ExtensionType
from .identity import IdentityCheck


# struct {
#   SignaturePublicKey signature_key;
#   Credential credential;
# } ExternalSender;
@dataclass(frozen=True, slots=True)
class ExternalSender:
    """Somebody outside the group who may send proposals to it."""

    signature_key: bytes
    credential: Credential

    def write(self, w: Writer) -> None:
        """Append the struct of §12.1.8.1."""
        w.opaque(self.signature_key)
        write_credential(w, self.credential)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.1.8.1."""
        return cls(r.opaque(), read_credential(r))


def external_senders_extension(senders: Sequence[ExternalSender]) -> Extension:
    """The extension that names these senders."""
    w = Writer()
    w.vector(senders, lambda w, sender: sender.write(w))
    return Extension(ExtensionType.EXTERNAL_SENDERS, w.getvalue())


def external_senders(extensions: Sequence[Extension]) -> tuple[ExternalSender, ...]:
    """The senders that a list of extensions names; none without the extension.

    Raises ValidationError("external-senders") when it cannot be read.
    """
    for extension in extensions:
        if extension.extension_type == ExtensionType.EXTERNAL_SENDERS:
            r = Reader(extension.extension_data)
            try:
                senders = r.vector(ExternalSender.read)
                r.finish()
            except CodecError as error:
                raise ValidationError("external-senders", "§12.1.8.1") from error
            return senders
    return ()


def external_sender(extensions: Sequence[Extension], index: int) -> ExternalSender:
    """The sender at this index. Raises ValidationError("external-sender-unknown")."""
    senders = external_senders(extensions)
    if index >= len(senders):
        raise ValidationError("external-sender-unknown", "§12.1.8.1")
    return senders[index]


def check_external_senders(extensions: Sequence[Extension], identity: IdentityCheck) -> None:
    """Have the application check every credential of new external senders (§5.3.1)."""
    for sender in external_senders(extensions):
        identity.check(sender.credential, sender.signature_key)
