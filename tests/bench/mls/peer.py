"""The live peer of the measurements: mls-rs behind its Python bindings, where they are installed.

The bindings have suite 0x0001 only, send handshakes as PublicMessages, and keep a group in memory: they
write to storage when `write_to_storage` is called, which no operation does by itself.
"""

from __future__ import annotations

from typing import Any

try:
    import mls_rs_uniffi as mls_rs
except ImportError:  # No wheel for this platform.
    mls_rs = None

SUITE = 0x0001
GROUP_ID = b"bench"
"""Of all groups that are measured; the bindings do not tell."""


def available(suite: int) -> bool:
    """Whether the peer can take part in measurements of a suite."""
    return mls_rs is not None and suite == SUITE


def _client(name: bytes) -> Any:
    config = mls_rs.client_config_default()
    key = mls_rs.generate_signature_keypair(mls_rs.CipherSuite.CURVE25519_AES128)
    return mls_rs.Client(name, key, config)


class Peer:
    """One member that runs mls-rs."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.client = _client(name)
        self.group: Any = None

    def key_package(self) -> bytes:
        """A fresh KeyPackage as an MLSMessage."""
        data: bytes = self.client.generate_key_package_message().to_bytes()
        return data

    def create(self) -> None:
        self.group = self.client.create_group(None)

    def welcoming(self, key_package: bytes) -> bytes:
        """Add somebody, take the commit over at once, and give the Welcome."""
        output = self.group.add_members([mls_rs.Message.from_bytes(key_package)])
        self.group.process_incoming_message(output.commit_message)
        welcome: bytes = output.welcome_message.to_bytes()
        return welcome

    def join(self, welcome: bytes) -> None:
        self.group = self.client.join_group(None, mls_rs.Message.from_bytes(welcome)).group

    def seal(self, data: bytes) -> bytes:
        message: bytes = self.group.encrypt_application_message(data).to_bytes()
        return message

    def process(self, message: bytes) -> Any:
        return self.group.process_incoming_message(mls_rs.Message.from_bytes(message))

    def open(self, message: bytes) -> bytes:
        data: bytes = self.process(message).data
        return data

    def update(self) -> bytes:
        """A commit of nothing but a new path."""
        return self._sent(self.group.commit())

    def add(self, key_package: bytes) -> bytes:
        return self._sent(self.group.add_members([mls_rs.Message.from_bytes(key_package)]))

    def remove(self, name: bytes) -> bytes:
        """A commit that removes the member of this name."""
        # The bindings find members by identity, which only a client can make.
        identity = _client(name).signing_identity()
        return self._sent(self.group.remove_members([identity]))

    @staticmethod
    def _sent(output: Any) -> bytes:
        welcome = output.welcome_message
        if welcome is not None:
            welcome.to_bytes()
        message: bytes = output.commit_message.to_bytes()
        return message

    def store(self) -> None:
        self.group.write_to_storage()

    def load(self) -> Any:
        """Another value of the group as it was stored."""
        return self.client.load_group(GROUP_ID)
