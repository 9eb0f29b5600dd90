"""A line protocol over `pli_protocol.mls`, for random scenarios against another implementation.

One JSON object a line on stdin, one reply a line on stdout, in order; bytes are lower-case hex.
One process hosts any number of clients, with keys and group state in memory. Run it as
`python -m tests.interop.driver`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, TextIO

from pli_protocol.mls import (
    SUITES,
    Add,
    ApplicationReceived,
    BasicCredential,
    Capabilities,
    CipherSuite,
    CommitReceived,
    Committed,
    Credential,
    Extension,
    Group,
    KeyPackage,
    KeyPackageSecrets,
    Lifetime,
    MLSError,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalReceived,
    Remove,
    Removed,
    RequiredCapabilities,
    SignatureKeyPair,
    UnsupportedError,
    ValidationError,
    Welcome,
    WireFormat,
    X509Credential,
    decode,
    encode,
    generate_key_package,
    required_capabilities_extension,
    suite,
)

JSON = dict[str, Any]

KEY_PACKAGE_DAYS = 60
DAY = 86400
GREASE = 0x2A2A
FEATURES: JSON = {
    "wire": ["public", "private"],
    "exporter": "any",
    "group_context": True,
    "authenticator": True,
    "tree_ext": [True, False],
    "external_commit": True,
    "group_info": True,
    "psk": True,
    "proposals": ["add", "remove"],
    "accepts_proposals": True,
    "sender": True,
    "update": True,
    "multi_remove": True,
    "discard": True,
    "past_epochs": 5,
    "out_of_order": 64,
    "late_from_removed": True,
    "kp_days": KEY_PACKAGE_DAYS,
    "x509_capable": True,
    "required_capabilities": True,
    "extensions": True,
}


@dataclass
class Client:
    """One member of groups: its keys, its key packages and its groups by hex id."""

    name: str
    identity: bytes
    suite: CipherSuite
    signer: SignatureKeyPair
    extension_types: tuple[int, ...]
    tree_ext: bool
    packages: list[tuple[KeyPackage, KeyPackageSecrets]] = field(default_factory=list)
    psks: dict[bytes, bytes] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    pending: dict[str, Committed] = field(default_factory=dict)

    @property
    def credential(self) -> BasicCredential:
        return BasicCredential(self.identity)

    def capabilities(self, grease: bool = False) -> Capabilities:
        greased = (GREASE,) if grease else ()
        return Capabilities(
            versions=(1,),
            cipher_suites=(self.suite.number, *greased),
            extensions=(*self.extension_types, *greased),
            proposals=greased,
            credentials=(1, 2, *greased),
        )


class AcceptAny:
    """Any basic or x509 credential, compared by its bytes: scenarios have no authority."""

    def check(self, credential: Credential, signature_key: bytes) -> None:
        if not isinstance(credential, BasicCredential | X509Credential):
            raise ValidationError("credential")

    def same_identity(self, old: Credential, new: Credential) -> bool:
        return old == new


ACCEPT_ANY = AcceptAny()


class BadRequest(Exception):
    """The request does not say what the op needs."""


def lifetime() -> Lifetime:
    now = int(time.time())
    return Lifetime(now - 3600, now + KEY_PACKAGE_DAYS * DAY)


def clock() -> int:
    return int(time.time())


class Driver:
    """All clients of one process; `handle` answers one request."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.ops: dict[str, Callable[[JSON], JSON]] = {
            "info": self.info,
            "new_client": self.new_client,
            "key_package": self.key_package,
            "create_group": self.create_group,
            "add": self.add,
            "remove": self.remove,
            "commit_update": self.commit_update,
            "propose_add": self.propose_add,
            "propose_remove": self.propose_remove,
            "commit_pending": self.commit_pending,
            "psk_register": self.psk_register,
            "commit_psk": self.commit_psk,
            "merge": self.merge,
            "discard": self.discard,
            "join": self.join,
            "group_info": self.group_info,
            "external_join": self.external_join,
            "process": self.process,
            "receive": self.process,
            "send": self.send,
            "export_secret": self.export_secret,
            "epoch": self.epoch,
            "members": self.members,
            "tree": self.tree,
        }

    def handle(self, request: JSON) -> JSON:
        """Answer one request; every failure of an op becomes `ok: false`."""
        operation = self.ops.get(str(request.get("op")))
        begun = time.perf_counter_ns()
        if operation is None:
            reply: JSON = {"ok": False, "error": "unknown op", "unsupported": True}
        else:
            try:
                reply = {"ok": True, **operation(request)}
            except UnsupportedError as error:
                reply = {"ok": False, "error": repr(error), "unsupported": True}
            except (MLSError, BadRequest, KeyError, ValueError, TypeError) as error:
                reply = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        reply["us"] = (time.perf_counter_ns() - begun) // 1000
        return {"id": request.get("id"), **reply}

    # What is there

    def info(self, request: JSON) -> JSON:
        return {
            "name": "pli",
            "version": version("pli"),
            "suites": sorted(SUITES),
            "features": FEATURES,
        }

    def new_client(self, request: JSON) -> JSON:
        chosen = suite(int(request["suite"]))
        self.clients[request["client"]] = Client(
            name=request["client"],
            identity=bytes.fromhex(request["identity"]),
            suite=chosen,
            signer=chosen.generate_signature_key(os.urandom),
            extension_types=tuple(request.get("extension_types") or ()),
            tree_ext=bool(request.get("tree_ext", True)),
        )
        return {}

    def _client(self, request: JSON) -> Client:
        try:
            return self.clients[request["client"]]
        except KeyError:
            raise BadRequest("no such client") from None

    def _group(self, request: JSON) -> tuple[Client, Group]:
        client = self._client(request)
        try:
            return client, client.groups[request["group"]]
        except KeyError:
            raise BadRequest("no such group") from None

    def key_package(self, request: JSON) -> JSON:
        client = self._client(request)
        grease = bool(request.get("grease"))
        extra = (Extension(GREASE, b"grease"),) if grease else ()
        package, secrets = generate_key_package(
            client.suite,
            client.credential,
            client.signer,
            lifetime=lifetime(),
            capabilities=client.capabilities(grease),
            extensions=extra,
        )
        client.packages.append((package, secrets))
        return {"key_package": encode(MLSMessage(package)).hex()}

    def create_group(self, request: JSON) -> JSON:
        client = self._client(request)
        extensions = [
            Extension(int(kind), bytes.fromhex(data))
            for kind, data in request.get("extensions") or ()
        ]
        required = request.get("required_capabilities")
        if required is not None:
            extensions.append(
                required_capabilities_extension(
                    RequiredCapabilities(
                        tuple(required.get("extensions") or ()),
                        tuple(required.get("proposals") or ()),
                        tuple(required.get("credentials") or ()),
                    )
                )
            )
        client.groups[request["group"]] = Group.create(
            client.suite,
            bytes.fromhex(request["group"]),
            client.credential,
            client.signer,
            lifetime=lifetime(),
            capabilities=client.capabilities(),
            extensions=extensions,
        ).group
        return {}

    # Commits

    def _commit(self, request: JSON, proposals: list[Proposal], pending: bool = False) -> JSON:
        client, group = self._group(request)
        tree_ext = bool(request.get("tree_ext", client.tree_ext))
        made = group.commit(
            proposals,
            include_pending=pending,
            wire_format=wire(request),
            tree_in_welcome=tree_ext,
            psks=client.psks,
            identity=ACCEPT_ANY,
            now=clock(),
        )
        client.pending[request["group"]] = made
        reply: JSON = {"commit": made.message.hex()}
        if made.welcome is not None:
            reply["welcome"] = made.welcome.hex()
            reply["group_info"] = made.group_info.hex()
            if not tree_ext:
                reply["tree"] = made.ratchet_tree.hex()
        return reply

    def add(self, request: JSON) -> JSON:
        return self._commit(request, [Add(package(data)) for data in request["key_packages"]])

    def remove(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return self._commit(
            request, [Remove(leaf_of(group, identity)) for identity in request["identities"]]
        )

    def commit_update(self, request: JSON) -> JSON:
        return self._commit(request, [])

    def commit_pending(self, request: JSON) -> JSON:
        return self._commit(request, [], pending=True)

    def psk_register(self, request: JSON) -> JSON:
        client = self._client(request)
        client.psks[bytes.fromhex(request["psk_id"])] = bytes.fromhex(request["psk"])
        return {}

    def commit_psk(self, request: JSON) -> JSON:
        client = self._client(request)
        if request.get("psk") is not None:
            self.psk_register(request)
        nonce = os.urandom(client.suite.hash_size)
        psk = PreSharedKeyID.external(bytes.fromhex(request["psk_id"]), nonce)
        return self._commit(request, [PreSharedKey(psk)])

    def merge(self, request: JSON) -> JSON:
        client, group = self._group(request)
        made = client.pending.pop(request["group"])
        client.groups[request["group"]] = made.group.merged(made.sent).group
        return {}

    def discard(self, request: JSON) -> JSON:
        client, _ = self._group(request)
        client.groups[request["group"]] = client.pending.pop(request["group"]).sent
        return {}

    def _propose(self, request: JSON, proposal: Proposal) -> JSON:
        client, group = self._group(request)
        made = group.propose(proposal, wire_format=wire(request), identity=ACCEPT_ANY, now=clock())
        client.groups[request["group"]] = made.group
        return {"proposal": made.message.hex()}

    def propose_add(self, request: JSON) -> JSON:
        return self._propose(request, Add(package(request["key_package"])))

    def propose_remove(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return self._propose(request, Remove(leaf_of(group, request["identity"])))

    # Joining

    def join(self, request: JSON) -> JSON:
        client = self._client(request)
        welcome = bytes.fromhex(request["welcome"])
        tree = bytes.fromhex(request["tree"]) if request.get("tree") else None
        held = find_package(client, welcome)
        joined = Group.join(
            welcome,
            *held,
            client.signer,
            tree=tree,
            psks=client.psks,
            identity=ACCEPT_ANY,
            now=clock(),
        )
        client.packages.remove(held)
        return {"group": self._entered(client, joined.group)}

    def _entered(self, client: Client, group: Group) -> str:
        name = group.group_id.hex()
        client.groups[name] = group
        client.pending.pop(name, None)
        return name

    def group_info(self, request: JSON) -> JSON:
        client, group = self._group(request)
        tree_ext = bool(request.get("tree_ext", client.tree_ext))
        reply: JSON = {"group_info": group.group_info(tree=tree_ext).hex()}
        if not tree_ext:
            reply["tree"] = encode(group.tree).hex()
        return reply

    def external_join(self, request: JSON) -> JSON:
        client = self._client(request)
        joined = Group.join_external(
            bytes.fromhex(request["group_info"]),
            client.credential,
            client.signer,
            tree=bytes.fromhex(request["tree"]) if request.get("tree") else None,
            resync=bool(request.get("resync")),
            capabilities=client.capabilities(),
            identity=ACCEPT_ANY,
            now=clock(),
        )
        return {"group": self._entered(client, joined.group), "commit": joined.message.hex()}

    # Messages

    def process(self, request: JSON) -> JSON:
        client, group = self._group(request)
        outcome = group.process(
            bytes.fromhex(request["message"]),
            identity=ACCEPT_ANY,
            now=clock(),
            psks=client.psks,
        )
        if isinstance(outcome, Removed):
            del client.groups[request["group"]]
            client.pending.pop(request["group"], None)
            return {"kind": "removed"}
        client.groups[request["group"]] = outcome.group
        match outcome:
            case ApplicationReceived():
                sender = identity_of(outcome.sender.credential)
                return {"kind": "application", "plaintext": outcome.data.hex(), "sender": sender}
            case ProposalReceived():
                return {"kind": "proposal"}
            case CommitReceived():
                # It won against a commit of ours that waited.
                client.pending.pop(request["group"], None)
                return {"kind": "commit"}

    def send(self, request: JSON) -> JSON:
        client, group = self._group(request)
        sealed = group.seal(bytes.fromhex(request["plaintext"]))
        client.groups[request["group"]] = sealed.group
        return {"message": sealed.message.hex()}

    # Looking

    def export_secret(self, request: JSON) -> JSON:
        _, group = self._group(request)
        secret = group.export_secret(
            bytes.fromhex(request["label"]),
            bytes.fromhex(request["context"]),
            int(request["length"]),
        )
        return {"secret": secret.hex()}

    def epoch(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return {
            "epoch": group.epoch,
            "group_context": encode(group.context).hex(),
            "authenticator": group.epoch_authenticator.hex(),
        }

    def members(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return {
            "members": [
                {"identity": identity_of(member.credential), "leaf": int(member.leaf)}
                for member in group.members()
            ]
        }

    def tree(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return {"tree": encode(group.tree).hex()}


def wire(request: Mapping[str, Any]) -> WireFormat:
    if request.get("wire", "private") == "public":
        return WireFormat.PUBLIC_MESSAGE
    return WireFormat.PRIVATE_MESSAGE


def package(data: str) -> KeyPackage:
    body = decode(MLSMessage, bytes.fromhex(data)).body
    if not isinstance(body, KeyPackage):
        raise BadRequest("not a key package")
    return body


def find_package(client: Client, welcome: bytes) -> tuple[KeyPackage, KeyPackageSecrets]:
    body = decode(MLSMessage, welcome).body
    if not isinstance(body, Welcome):
        raise BadRequest("not a Welcome")
    for held in client.packages:
        if body.secrets_for(held[0].reference(client.suite)) is not None:
            return held
    raise BadRequest("the Welcome is for none of this client's key packages")


def identity_of(credential: Credential) -> str:
    match credential:
        case BasicCredential(identity):
            return identity.hex()
        case X509Credential(certificates):
            return certificates[0].hex() if certificates else ""
        case _:
            return ""


def leaf_of(group: Group, identity: str) -> int:
    for member in group.members():
        if identity_of(member.credential) == identity:
            return member.leaf
    raise BadRequest("nobody of that identity in the group")


def run(lines: TextIO, replies: TextIO) -> None:
    """Answer requests until `quit` or the end of input."""
    driver = Driver()
    for line in lines:
        if not line.strip():
            continue
        try:
            request = json.loads(line)
        except ValueError:
            request = {}
        if not isinstance(request, dict):
            request = {}
        quits = request.get("op") == "quit"
        reply = {"id": request.get("id"), "ok": True, "us": 0} if quits else driver.handle(request)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()
        if quits:
            return


if __name__ == "__main__":
    run(sys.stdin, sys.stdout)
