"""A live peer: mls-rs through its Python bindings, by the same line protocol as our driver.

`python -m tests.interop.mls_rs_peer`. Its features say what the bindings can do. What they cannot:

* suite 0x0001 only; handshakes leave as PublicMessages (both formats are understood);
* no external join and no GroupInfo to offer (an external commit of others is understood);
* no pre-shared keys: it can neither propose nor process them (a member cannot be given one);
* no application message after a proposal before that is committed ("commit required");
* a late message of a member removed since is lost ("node index is out of bounds", or a signature that
  does not verify once somebody else sits at the leaf): it looks for the sender in the tree of now;
* who sent a message is an object without contents, hence no `sender`;
* no extensions, required capabilities or credential types to choose; key packages live 365 days.

The bindings have neither epoch, GroupContext nor epoch authenticator: these are read from the state that
they store (`mls_rs_state`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import mls_rs_uniffi as mls_rs

from pli_protocol.mls import RatchetTree, decode

from .clients import identity_of
from .line_protocol import (
    JSON,
    BadRequest,
    Operation,
    Unsupported,
    items,
    octets,
    optional_octets,
    serve,
)
from .mls_rs_state import Store, epoch_authenticator, group_context

FEATURES: JSON = {
    "wire": ["public"],
    "exporter": "any",
    "group_context": True,
    "authenticator": True,
    "tree_ext": [True, False],
    "external_commit": False,
    "group_info": False,
    "psk": False,
    "proposals": ["add", "remove"],
    "accepts_proposals": True,
    "sender": False,
    "update": True,
    "multi_remove": True,
    "discard": True,
    "past_epochs": 5,
    "out_of_order": 64,
    "late_from_removed": False,
    "kp_days": 365,
    "x509_capable": False,
    "required_capabilities": False,
    "extensions": False,
}
SUITE = mls_rs.CipherSuite.CURVE25519_AES128


@dataclass
class Client:
    """A member. `with_tree` and `without_tree` are it twice, as its Welcomes carry the tree or not."""

    identity: bytes
    tree_ext: bool
    store: Store = field(default_factory=Store)
    groups: dict[bytes, Any] = field(default_factory=dict)
    pending: dict[bytes, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = mls_rs.generate_signature_keypair(SUITE)
        self.with_tree, self.without_tree = (
            mls_rs.Client(
                self.identity,
                key,
                mls_rs.ClientConfig(
                    group_state_storage=self.store, use_ratchet_tree_extension=tree
                ),
            )
            for tree in (True, False)
        )

    def group(self, group_id: bytes) -> Any:
        if group_id not in self.groups:
            raise BadRequest("the client is not in this group")
        return self.groups[group_id]

    def load(self, group_id: bytes, *, tree: bool = True) -> Any:
        """Read the group again from what was stored of it."""
        client = self.with_tree if tree else self.without_tree
        self.groups[group_id] = client.load_group(group_id)
        return self.groups[group_id]

    def forget(self, group_id: bytes) -> None:
        self.groups.pop(group_id, None)
        self.pending.pop(group_id, None)
        self.store.forget(group_id)


class Peer:
    """All clients of one process."""

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
            "commit_pending": self.commit_update,
            "merge": self.merge,
            "discard": self.discard,
            "join": self.join,
            "process": self.process,
            "receive": self.process,
            "send": self.send,
            "export_secret": self.export_secret,
            "epoch": self.epoch,
            "members": self.members,
            "tree": self.tree,
        }

    # Clients

    def info(self, request: JSON) -> JSON:
        return {
            "name": "mls-rs",
            "version": version("agentvault-mls-rs-uniffi"),
            "suites": [1],
            "features": FEATURES,
        }

    def new_client(self, request: JSON) -> JSON:
        if request["suite"] != 1:
            raise Unsupported("the bindings have suite 0x0001 only")
        if items(request, "extension_types"):
            raise Unsupported("the bindings choose a leaf's capabilities")
        identity, tree = octets(request, "identity"), request.get("tree_ext", True)
        self.clients[request["client"]] = Client(identity, bool(tree))
        return {}

    def _client(self, request: JSON) -> Client:
        try:
            return self.clients[request["client"]]
        except KeyError:
            raise BadRequest("no such client") from None

    def _group(self, request: JSON) -> Any:
        return self._client(request).group(octets(request, "group"))

    def key_package(self, request: JSON) -> JSON:
        made = self._client(request).with_tree.generate_key_package_message()
        return {"key_package": made.to_bytes().hex()}

    def create_group(self, request: JSON) -> JSON:
        if request.get("extensions") or request.get("required_capabilities"):
            raise Unsupported("the bindings set no extensions")
        client, group_id = self._client(request), octets(request, "group")
        client.forget(group_id)
        client.groups[group_id] = client.with_tree.create_group(group_id)
        return {}

    # Commits

    def _begin(self, request: JSON) -> tuple[Client, bytes, Any]:
        """The group, stored as it is before a commit: the bindings drop none but by loading."""
        public_only(request)
        client, group_id = self._client(request), octets(request, "group")
        client.group(group_id).write_to_storage()
        tree = request.get("tree_ext")
        return (
            client,
            group_id,
            client.load(group_id, tree=client.tree_ext if tree is None else tree),
        )

    def _made(self, client: Client, group_id: bytes, output: Any) -> JSON:
        commit = output.commit_message.to_bytes()
        client.pending[group_id] = commit
        reply = {"commit": commit.hex()}
        if output.welcome_message is not None:
            reply["welcome"] = output.welcome_message.to_bytes().hex()
            if output.ratchet_tree is not None:
                reply["tree"] = output.ratchet_tree.bytes.hex()
        return reply

    def add(self, request: JSON) -> JSON:
        client, group_id, group = self._begin(request)
        packages = [message(bytes.fromhex(data)) for data in items(request, "key_packages")]
        return self._made(client, group_id, group.add_members(packages))

    def remove(self, request: JSON) -> JSON:
        client, group_id, group = self._begin(request)
        gone = [signing_identity(bytes.fromhex(one)) for one in items(request, "identities")]
        return self._made(client, group_id, group.remove_members(gone))

    def commit_update(self, request: JSON) -> JSON:
        """Also what is pending: the bindings leave out no proposal that they hold."""
        client, group_id, group = self._begin(request)
        return self._made(client, group_id, group.commit())

    def merge(self, request: JSON) -> JSON:
        client, group_id = self._client(request), octets(request, "group")
        group = client.group(group_id)
        if group_id not in client.pending:
            raise BadRequest("no commit is pending")
        group.process_incoming_message(message(client.pending.pop(group_id)))
        return {}

    def discard(self, request: JSON) -> JSON:
        client, group_id = self._client(request), octets(request, "group")
        if client.pending.pop(group_id, None) is None:
            raise BadRequest("no commit is pending")
        client.load(group_id)
        return {}

    # Proposals

    def propose_add(self, request: JSON) -> JSON:
        public_only(request)
        package = message(octets(request, "key_package"))
        return proposed(self._group(request).propose_add_members([package]))

    def propose_remove(self, request: JSON) -> JSON:
        public_only(request)
        gone = signing_identity(octets(request, "identity"))
        return proposed(self._group(request).propose_remove_members([gone]))

    # Joining

    def join(self, request: JSON) -> JSON:
        client, welcome = self._client(request), message(octets(request, "welcome"))
        beside = optional_octets(request, "tree")
        tree = None if beside is None else mls_rs.RatchetTree(bytes=beside)
        group = client.with_tree.join_group(tree, welcome).group
        # The bindings tell the group's id to the storage only.
        group.write_to_storage()
        group_id = client.store.last_written
        client.groups[group_id] = group
        return {"group": group_id.hex()}

    # Messages

    def process(self, request: JSON) -> JSON:
        client, group_id = self._client(request), octets(request, "group")
        got = client.group(group_id).process_incoming_message(message(octets(request, "message")))
        if got.is_application_message():
            return {"kind": "application", "plaintext": got.data.hex()}
        if got.is_received_proposal():
            return {"kind": "proposal"}
        if not got.is_commit():
            raise BadRequest("neither a message, a proposal nor a commit")
        client.pending.pop(group_id, None)
        if got.effect.is_removed():
            client.forget(group_id)
            return {"kind": "removed"}
        return {"kind": "commit"}

    def send(self, request: JSON) -> JSON:
        sealed = self._group(request).encrypt_application_message(octets(request, "plaintext"))
        return {"message": sealed.to_bytes().hex()}

    # Looking

    def export_secret(self, request: JSON) -> JSON:
        label, context = octets(request, "label"), octets(request, "context")
        secret = self._group(request).export_secret(label, context, int(request["length"]))
        return {"secret": secret.hex()}

    def epoch(self, request: JSON) -> JSON:
        group = self._group(request)
        group.write_to_storage()
        state = self._client(request).store.states[octets(request, "group")]
        context, encoded = group_context(state)
        authenticator = epoch_authenticator(state, group.export_secret)
        return {
            "epoch": context.epoch,
            "group_context": encoded.hex(),
            "authenticator": authenticator.hex(),
        }

    def members(self, request: JSON) -> JSON:
        tree = decode(RatchetTree, self._group(request).export_tree().bytes)
        return {
            "members": [
                {"identity": identity_of(leaf.credential), "leaf": int(index)}
                for index, leaf in tree.leaves()
            ]
        }

    def tree(self, request: JSON) -> JSON:
        return {"tree": self._group(request).export_tree().bytes.hex()}


def public_only(request: JSON) -> None:
    if request.get("wire", "public") != "public":
        raise Unsupported("the bindings send PublicMessages only")


def message(data: bytes) -> Any:
    return mls_rs.Message.from_bytes(data)


def signing_identity(identity: bytes) -> Any:
    """What the bindings name a member by; only a client has one, hence one to throw away."""
    key = mls_rs.generate_signature_keypair(SUITE)
    return mls_rs.Client(identity, key, mls_rs.client_config_default()).signing_identity()


def proposed(messages: list[Any]) -> JSON:
    return {"proposal": messages[0].to_bytes().hex()}


if __name__ == "__main__":
    serve(Peer().operations, sys.stdin.buffer, sys.stdout.buffer)
