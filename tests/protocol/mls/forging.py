"""What honest code never sends: messages that break one rule, and are sound in all else.

A forger here is a member (or a joiner) with real keys: what it changes is signed, given its tags
and encrypted anew, so that nothing but the rule in question is wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pli_protocol.mls import (
    Commit,
    CommitPlan,
    Committed,
    CryptoError,
    FramedContent,
    MLSMessage,
    Proposal,
    Sender,
    SenderType,
    SignatureKeyPair,
    WireFormat,
    X509Credential,
    encode,
)
from pli_protocol.mls.framing import AuthenticatedContent, Content, FramedContentAuthData
from pli_protocol.mls.labels import sign_with_label
from pli_protocol.mls.public_message import PublicMessage, _membership_tag, protect_public
from pli_protocol.mls.update_path import CreatedPath, UpdatePath

from .groups import Member

COMMITTING = "pli_protocol.mls.committing"
EXTERNAL = "pli_protocol.mls.external_join"
_CHECKS = (
    *(f"{COMMITTING}.{name}" for name in ("check_list", "check_proposal", "check_applied")),
    *(f"{COMMITTING}.{name}" for name in ("check_sendable", "check_successor")),
    *(f"{COMMITTING}.{name}" for name in ("check_predecessor", "check_own_content")),
    *(f"{EXTERNAL}.{name}" for name in ("check_list", "check_proposal", "check_applied")),
    "pli_protocol.mls.external_join.check_own_content",
    "pli_protocol.mls.key_package.check_own_content",
    "pli_protocol.mls.update_path.check_leaf",
)


@contextmanager
def careless() -> Iterator[None]:
    """Whoever sends in here checks nothing of what it sends."""
    with ExitStack() as stack:
        for name in _CHECKS:
            stack.enter_context(patch(name))
        yield


def forged_commit(
    member: Member,
    *proposals: Proposal,
    path: Callable[[CreatedPath], UpdatePath] | None = None,
    commit: Callable[[Commit], Commit] | None = None,
    path_wanted: bool = True,
    **more: Any,
) -> Committed:
    """A commit whose path or whole content was changed before it was signed."""
    from pli_protocol.mls import committing

    create, sign = committing.create_update_path, committing.sign_content
    welcome = committing._welcome

    def welcomed(*args: Any, **named: Any) -> bytes | None:
        try:
            return welcome(*args, **named)
        except CryptoError:
            return None  # nobody can encrypt to that init key

    def created(*args: Any, **named: Any) -> CreatedPath:
        made = create(*args, **named)
        return made if path is None else replace(made, path=path(made))

    def signed(used: Any, key: Any, wire: Any, content: FramedContent, context: Any) -> Any:
        found = content.content
        if commit is not None and isinstance(found, Commit):
            content = replace(content, content=commit(found))
        return sign(used, key, wire, content, context)

    with (
        careless(),
        patch.object(committing, "create_update_path", created),
        patch.object(committing, "sign_content", signed),
        patch.object(committing, "_plan", lambda group, *_: CommitPlan(b"", 0, (), (), ())),
        patch.object(committing, "_welcome", welcomed),
        patch.object(committing, "_with_path", lambda *_: path_wanted),
    ):
        return member.commit(*proposals, **more)


def public_message(
    member: Member,
    content: Content,
    *,
    sender: Sender | None = None,
    key: SignatureKeyPair | None = None,
    group: Any = None,
) -> bytes:
    """A PublicMessage, signed by `key`, with the tags that belong to it."""
    group = group or member.group
    sender = sender or Sender(SenderType.MEMBER, group.own_leaf)
    framed = FramedContent(group.group_id, group.epoch, sender, b"", content)
    wire, context = WireFormat.PUBLIC_MESSAGE, group.context
    signature = sign_with_label(
        group.suite,
        key or member.signer,
        "FramedContentTBS",
        framed.to_be_signed(wire, context),
    )
    confirmation = bytes(group.suite.hash_size) if isinstance(content, Commit) else None
    signed = AuthenticatedContent(wire, framed, FramedContentAuthData(signature, confirmation))
    membership_key = group.secrets.membership_key
    if isinstance(content, bytes):
        tag = _membership_tag(group.suite, signed, context, membership_key)
        return encode(MLSMessage(PublicMessage(framed, signed.auth, tag)))
    return encode(MLSMessage(protect_public(group.suite, signed, context, membership_key)))


def certified(signer: SignatureKeyPair, name: str) -> X509Credential:
    """A chain of one: a certificate of this signature key, signed by itself."""
    key = Ed25519PrivateKey.from_private_bytes(signer.private)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365))
        .sign(key, None)
    )
    return X509Credential((made.public_bytes(Encoding.DER),))
