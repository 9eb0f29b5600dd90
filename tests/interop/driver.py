"""The interoperability driver: every op of the line protocol over `pli_protocol.mls`.

For random scenarios against another implementation. One JSON object a line on stdin, one reply a
line on stdout, in order; bytes are lower-case hex. One process hosts any number of clients, with
keys and group state in memory. Run it as `python -m tests.interop.driver`; the ops
stand in docs/testing.md.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pli_protocol.mls import (
    SUITES,
    Add,
    ApplicationReceived,
    CommitReceived,
    Extension,
    Group,
    KeyPackage,
    MLSMessage,
    PreSharedKey,
    PreSharedKeyID,
    Proposal,
    ProposalReceived,
    Remove,
    Removed,
    RequiredCapabilities,
    Welcome,
    WireFormat,
    decode,
    encode,
    required_capabilities_extension,
    suite,
)

from .clients import ACCEPT_ANY, KEY_PACKAGE_DAYS, Client, clock, identity_of, lifetime
from .line_protocol import (
    JSON,
    BadRequest,
    Operation,
    answer,
    items,
    octets,
    optional_octets,
    serve,
)

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
WIRES = {"public": WireFormat.PUBLIC_MESSAGE, "private": WireFormat.PRIVATE_MESSAGE}


class Driver:
    """All clients of one process; `handle` answers one request."""

    def __init__(self) -> None:
        self.clients: dict[str, Client] = {}
        self.operations: dict[str, Operation] = {
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
        return answer(self.operations, request)

    # Clients

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
            identity=octets(request, "identity"),
            suite=chosen,
            signer=chosen.generate_signature_key(os.urandom),
            extension_types=tuple(int(kind) for kind in items(request, "extension_types")),
            tree_ext=bool(request.get("tree_ext", True)),
        )
        return {}

    def key_package(self, request: JSON) -> JSON:
        package = self._client(request).new_package(grease=bool(request.get("grease")))
        return {"key_package": encode(MLSMessage(package)).hex()}

    def create_group(self, request: JSON) -> JSON:
        client, group_id = self._client(request), octets(request, "group")
        made = Group.create(
            client.suite,
            group_id,
            client.credential,
            client.signer,
            lifetime=lifetime(),
            capabilities=client.capabilities,
            extensions=group_extensions(request),
        )
        client.enter(made.group)
        return {}

    def _client(self, request: JSON) -> Client:
        try:
            return self.clients[request["client"]]
        except KeyError:
            raise BadRequest("no such client") from None

    def _group(self, request: JSON) -> tuple[Client, Group]:
        client = self._client(request)
        return client, client.group(octets(request, "group"))

    # Commits

    def _commit(self, request: JSON, proposals: Sequence[Proposal], pending: bool = False) -> JSON:
        client, group = self._group(request)
        tree_ext = wants_tree(request, client)
        made = group.commit(
            proposals,
            include_pending=pending,
            wire_format=wire(request),
            tree_in_welcome=tree_ext,
            psks=client.psks,
            identity=ACCEPT_ANY,
            now=clock(),
        )
        client.groups[group.group_id] = made.sent
        client.pending[group.group_id] = made
        reply: JSON = {"commit": made.message.hex()}
        if made.welcome is not None:
            reply["welcome"] = made.welcome.hex()
            reply["group_info"] = made.group_info.hex()
            if not tree_ext:
                reply["tree"] = made.ratchet_tree.hex()
        return reply

    def add(self, request: JSON) -> JSON:
        packages = items(request, "key_packages")
        if not packages:
            raise BadRequest("no key packages to add")
        return self._commit(request, [Add(key_package_of(data)) for data in packages])

    def remove(self, request: JSON) -> JSON:
        _, group = self._group(request)
        gone = items(request, "identities")
        if not gone:
            raise BadRequest("no identities to remove")
        return self._commit(request, [Remove(leaf_of(group, identity)) for identity in gone])

    def commit_update(self, request: JSON) -> JSON:
        return self._commit(request, [])

    def commit_pending(self, request: JSON) -> JSON:
        return self._commit(request, [], pending=True)

    def psk_register(self, request: JSON) -> JSON:
        client = self._client(request)
        client.psks[octets(request, "psk_id")] = octets(request, "psk")
        return {}

    def commit_psk(self, request: JSON) -> JSON:
        client, psk_id = self._client(request), octets(request, "psk_id")
        if request.get("psk") is not None:
            self.psk_register(request)
        nonce = os.urandom(client.suite.hash_size)
        return self._commit(request, [PreSharedKey(PreSharedKeyID.external(psk_id, nonce))])

    def merge(self, request: JSON) -> JSON:
        client, group = self._group(request)
        made = client.take_pending(group.group_id)
        client.groups[group.group_id] = made.group.merged(group).group
        return {}

    def discard(self, request: JSON) -> JSON:
        client, group = self._group(request)
        client.take_pending(group.group_id)
        return {}

    # Proposals

    def _propose(self, request: JSON, proposal: Proposal) -> JSON:
        client, group = self._group(request)
        made = group.propose(proposal, wire_format=wire(request), identity=ACCEPT_ANY, now=clock())
        client.groups[group.group_id] = made.group
        return {"proposal": made.message.hex()}

    def propose_add(self, request: JSON) -> JSON:
        return self._propose(request, Add(key_package_of(request["key_package"])))

    def propose_remove(self, request: JSON) -> JSON:
        _, group = self._group(request)
        return self._propose(request, Remove(leaf_of(group, request["identity"])))

    # Joining

    def join(self, request: JSON) -> JSON:
        client, welcome = self._client(request), octets(request, "welcome")
        body = decode(MLSMessage, welcome).body
        if not isinstance(body, Welcome):
            raise BadRequest("not a Welcome")
        held = client.package_for(body)
        joined = Group.join(
            welcome,
            *held,
            client.signer,
            tree=optional_octets(request, "tree"),
            psks=client.psks,
            identity=ACCEPT_ANY,
            now=clock(),
        )
        client.packages.remove(held)
        client.enter(joined.group)
        return {"group": joined.group.group_id.hex()}

    def group_info(self, request: JSON) -> JSON:
        client, group = self._group(request)
        tree_ext = wants_tree(request, client)
        reply: JSON = {"group_info": group.group_info(tree=tree_ext).hex()}
        if not tree_ext:
            reply["tree"] = encode(group.tree).hex()
        return reply

    def external_join(self, request: JSON) -> JSON:
        client = self._client(request)
        joined = Group.join_external(
            octets(request, "group_info"),
            client.credential,
            client.signer,
            tree=optional_octets(request, "tree"),
            resync=bool(request.get("resync")),
            psks=client.psks,
            capabilities=client.capabilities,
            identity=ACCEPT_ANY,
            now=clock(),
        )
        client.enter(joined.group)
        return {"group": joined.group.group_id.hex(), "commit": joined.message.hex()}

    # Messages

    def process(self, request: JSON) -> JSON:
        client, group = self._group(request)
        outcome = group.process(
            octets(request, "message"), identity=ACCEPT_ANY, now=clock(), psks=client.psks
        )
        if isinstance(outcome, Removed):
            client.leave(group.group_id)
            return {"kind": "removed"}
        client.groups[group.group_id] = outcome.group
        match outcome:
            case ApplicationReceived():
                sender = identity_of(outcome.sender.credential)
                return {"kind": "application", "plaintext": outcome.data.hex(), "sender": sender}
            case ProposalReceived():
                return {"kind": "proposal"}
            case CommitReceived():
                # It won against a commit of ours that waited.
                client.pending.pop(group.group_id, None)
                return {"kind": "commit"}

    def send(self, request: JSON) -> JSON:
        client, group = self._group(request)
        sealed = group.seal(octets(request, "plaintext"), ahead_of_proposals=True)
        client.groups[group.group_id] = sealed.group
        return {"message": sealed.message.hex()}

    # Looking

    def export_secret(self, request: JSON) -> JSON:
        _, group = self._group(request)
        label, context = octets(request, "label"), optional_octets(request, "context") or b""
        return {"secret": group.export_secret(label, context, int(request["length"])).hex()}

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


def wire(request: JSON) -> WireFormat:
    """How a handshake travels; private unless the request says otherwise."""
    name = request.get("wire") or "private"
    if name not in WIRES:
        raise BadRequest("'wire' is neither public nor private")
    return WIRES[name]


def wants_tree(request: JSON, client: Client) -> bool:
    """Whether Welcome and GroupInfo carry the tree: the request's word, else the client's."""
    chosen = request.get("tree_ext")
    return client.tree_ext if chosen is None else bool(chosen)


def group_extensions(request: JSON) -> list[Extension]:
    extensions = [
        Extension(int(kind), bytes.fromhex(data)) for kind, data in items(request, "extensions")
    ]
    required: dict[str, Any] | None = request.get("required_capabilities")
    if required is not None:
        wanted = [items(required, name) for name in ("extensions", "proposals", "credentials")]
        extensions.append(
            required_capabilities_extension(RequiredCapabilities(*map(tuple, wanted)))
        )
    return extensions


def key_package_of(data: str) -> KeyPackage:
    body = decode(MLSMessage, bytes.fromhex(data)).body
    if not isinstance(body, KeyPackage):
        raise BadRequest("not a key package")
    return body


def leaf_of(group: Group, identity: str) -> int:
    wanted = identity.lower()
    for member in group.members():
        if identity_of(member.credential) == wanted:
            return member.leaf
    raise BadRequest("nobody of that identity in the group")


if __name__ == "__main__":
    serve(Driver().operations, sys.stdin.buffer, sys.stdout.buffer)
