"""GroupInfo: what a joiner is told about a group (RFC 9420 §12.4.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from .ciphersuite import CipherSuite, SignatureKeyPair
from .codec import Reader, Writer
from .errors import CodecError, CryptoError, ValidationError
from .extension import Extension, ExtensionType, read_extensions, write_extensions
from .group_context import GroupContext
from .labels import sign_with_label, verify_with_label
from .quick import quick


# struct {
#     GroupContext group_context;
#     Extension extensions<V>;
#     MAC confirmation_tag;
#     uint32 signer;
#     /* SignWithLabel(., "GroupInfoTBS", GroupInfoTBS) */
#     opaque signature<V>;
# } GroupInfo;
@quick
@dataclass(frozen=True, slots=True)
class GroupInfo:
    """The state of a group in one epoch, signed by the member at leaf `signer`."""

    group_context: GroupContext
    extensions: tuple[Extension, ...]
    confirmation_tag: bytes
    signer: int
    signature: bytes = b""

    def _write_signed(self, w: Writer) -> None:
        self.group_context.write(w)
        write_extensions(w, self.extensions)
        w.opaque(self.confirmation_tag)
        w.u32(self.signer)

    def write(self, w: Writer) -> None:
        """Append the struct of §12.4.3."""
        self._write_signed(w)
        w.opaque(self.signature)

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the struct of §12.4.3."""
        return cls(GroupContext.read(r), read_extensions(r), r.opaque(), r.u32(), r.opaque())

    # struct {
    #     GroupContext group_context;
    #     Extension extensions<V>;
    #     MAC confirmation_tag;
    #     uint32 signer;
    # } GroupInfoTBS;
    def to_be_signed(self) -> bytes:
        """GroupInfoTBS: everything but the signature."""
        w = Writer()
        self._write_signed(w)
        return w.getvalue()

    def signed_by(self, suite: CipherSuite, signer: SignatureKeyPair) -> GroupInfo:
        """The same GroupInfo with its signature."""
        signature = sign_with_label(suite, signer, "GroupInfoTBS", self.to_be_signed())
        return GroupInfo(
            self.group_context, self.extensions, self.confirmation_tag, self.signer, signature
        )

    def verify(self, suite: CipherSuite, signature_key: bytes) -> None:
        """Check the signature. Raises ValidationError("group-info-signature")."""
        try:
            verify_with_label(
                suite, signature_key, "GroupInfoTBS", self.to_be_signed(), self.signature
            )
        except CryptoError as error:
            raise ValidationError("group-info-signature", "§12.4.3.1") from error

    def extension(self, extension_type: int) -> bytes | None:
        """The data of the extension of this type, or None; unknown ones are ignored (§13.4)."""
        for extension in self.extensions:
            if extension.extension_type == extension_type:
                return extension.extension_data
        return None

    def external_pub(self) -> bytes | None:
        """The HPKE public key for external commits, or None (§12.4.3.2)."""
        data = self.extension(ExtensionType.EXTERNAL_PUB)
        if data is None:
            return None
        r = Reader(data)
        try:
            key = r.opaque()
            r.finish()
        except CodecError as error:
            raise ValidationError("external-pub", "§12.4.3.2") from error
        return key


# struct {
#     HPKEPublicKey external_pub;
# } ExternalPub;
def external_pub_extension(public_key: bytes) -> Extension:
    """The key for external commits, as an extension (§12.4.3.2)."""
    w = Writer()
    w.opaque(public_key)
    return Extension(ExtensionType.EXTERNAL_PUB, w.getvalue())
