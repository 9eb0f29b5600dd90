"""What members must support of each other and of the group (RFC 9420 §7.3, §11.1, §13.4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .codec import decode, encode
from .errors import CodecError, ValidationError
from .extension import (
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    Extension,
    ExtensionType,
    RequiredCapabilities,
    find_extension,
)
from .leaf_node import LeafNode
from .tree_index import TreeIndex


def required_capabilities(extensions: Sequence[Extension]) -> RequiredCapabilities | None:
    """The required_capabilities of a GroupContext, or None.

    Raises ValidationError("required-capabilities") when it cannot be read.
    """
    data = find_extension(extensions, ExtensionType.REQUIRED_CAPABILITIES)
    if data is None:
        return None
    try:
        return decode(RequiredCapabilities, data)
    except CodecError as error:
        raise ValidationError("required-capabilities", "§11.1") from error


def required_capabilities_extension(required: RequiredCapabilities) -> Extension:
    """The extension that demands these capabilities of every member."""
    return Extension(ExtensionType.REQUIRED_CAPABILITIES, encode(required))


def check_supports_group(extensions: Sequence[Extension], leaves: Iterable[LeafNode]) -> None:
    """Every leaf must support the group's extensions and required capabilities.

    Raises ValidationError: "extension-unsupported" or "required-capabilities".
    """
    in_use = {extension.extension_type for extension in extensions} - DEFAULT_EXTENSIONS
    required = required_capabilities(extensions) or RequiredCapabilities()
    # Made once: a list may be long and its entries the same again and again.
    needed_extensions = set(required.extension_types) - DEFAULT_EXTENSIONS
    needed_proposals = set(required.proposal_types) - DEFAULT_PROPOSALS
    needed_credentials = set(required.credential_types)
    for leaf in leaves:
        capabilities = leaf.capabilities
        if not in_use.issubset(capabilities.extensions):
            raise ValidationError("extension-unsupported", "§13.4")
        if not (
            needed_extensions.issubset(capabilities.extensions)
            and needed_proposals.issubset(capabilities.proposals)
            and needed_credentials.issubset(capabilities.credentials)
        ):
            raise ValidationError("required-capabilities", "§11.1")


def check_best_suite(suite: int, leaves: Iterable[LeafNode], preferred: Sequence[int]) -> None:
    """Against a downgrade: nothing better may be supported by everybody (§11).

    For a group's creator, with the leaves of the key packages that it is about to add and its own.

    Args:
        suite: number of the suite that was chosen.
        preferred: numbers of the suites that we would use, the best first.

    Raises:
        ValidationError: "suite-downgrade".
    """
    listed = [set(leaf.capabilities.cipher_suites) for leaf in leaves]
    for number in preferred:
        if number == suite:
            return
        if all(number in suites for suites in listed):
            raise ValidationError("suite-downgrade", "§11")


def check_credential_types(index: TreeIndex) -> None:
    """Every member must support the credential types of all (§7.3).

    Raises ValidationError("credential-type").
    """
    # Members of one kind share few different lists: each is looked at once.
    for supported in index.supported_credentials:
        if not index.credential_types.keys() <= set(supported):
            raise ValidationError("credential-type", "§7.3")


def check_unique_keys(index: TreeIndex) -> None:
    """No two members have the same signature key, no two nodes the same encryption key.

    §7.3 asks it of members; a leaf with a parent node's key is refused by whoever joins (§12.4.3.1).

    Raises ValidationError: "signature-key-twice" or "encryption-key-twice".
    """
    if len(index.signature_keys) != index.leaves:
        raise ValidationError("signature-key-twice", "§7.3")
    if len(index.encryption_keys) != index.nodes:
        raise ValidationError("encryption-key-twice", "§7.3")
