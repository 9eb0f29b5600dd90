"""A driver's process, and clients at it: what the tests of the driver's ops speak to."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from pli_protocol.mls import MLSMessage, decode

from .process import DriverProcess, Failed


def body(data: str) -> Any:
    """What an MLSMessage in hex holds."""
    return decode(MLSMessage, bytes.fromhex(data)).body


_numbers = itertools.count()


class Table:
    """Clients of one driver, all in one group of their own.

    Attributes:
        group: the group's id, hex.
        suite: of its clients.

    """

    def __init__(self, driver: DriverProcess, suite: int = 1) -> None:
        self.driver = driver
        self.suite = suite
        self.number = next(_numbers)
        self.group = f"{self.number:08x}"

    def client(self, name: str, **fields: Any) -> None:
        """Seat a client, whose identity is its name."""
        identity = fields.pop("identity", name.encode().hex())
        request = {"identity": identity, "suite": self.suite, **fields}
        self.driver.call("new_client", client=self._name(name), **request)

    def ok(self, op: str, client: str, **fields: Any) -> dict[str, Any]:
        """An op that must work."""
        return self.driver.call(op, client=self._name(client), **{"group": self.group, **fields})

    def refused(self, op: str, client: str, **fields: Any) -> str:
        """An op that must fail without being unknown; returns the reason."""
        with pytest.raises(Failed) as failed:
            self.ok(op, client, **fields)
        assert "unsupported" not in failed.value.reply
        return str(failed.value)

    def _name(self, client: str) -> str:
        return f"{self.number} {client}"

    # Several ops

    def found(self, *names: str, **fields: Any) -> None:
        """A group of all these; the first one adds the others."""
        for name in names:
            self.client(name)
        self.ok("create_group", names[0], **fields)
        if names[1:]:
            self.add(names[0], *names[1:])

    def package(self, name: str, **fields: Any) -> str:
        package: str = self.ok("key_package", name, **fields)["key_package"]
        return package

    def add(self, by: str, *names: str, others: tuple[str, ...] = (), **fields: Any) -> None:
        packages = [self.package(name) for name in names]
        made = self.settle(by, self.ok("add", by, key_packages=packages, **fields), *others)
        for name in names:
            self.join(name, made)

    def join(self, name: str, made: dict[str, Any]) -> None:
        tree = {"tree": made["tree"]} if "tree" in made else {}
        assert self.ok("join", name, welcome=made["welcome"], **tree)["group"] == self.group

    def settle(self, by: str, made: dict[str, Any], *others: str) -> dict[str, Any]:
        """A commit wins: its maker merges it, the others take it over."""
        self.ok("merge", by)
        for other in others:
            assert self.process(other, made["commit"])["kind"] == "commit"
        return made

    def update(self, by: str, *others: str) -> None:
        self.settle(by, self.ok("commit_update", by), *others)

    def process(self, name: str, message: str) -> dict[str, Any]:
        return self.ok("process", name, message=message)

    def send(self, name: str, text: str = "00") -> str:
        message: str = self.ok("send", name, plaintext=text)["message"]
        return message

    def agree(self, *names: str) -> None:
        """All of them are at one epoch with the same secrets, and read each other."""
        exported = {"label": "6c", "context": "63", "length": 16}
        for op, fields in {
            "epoch": {},
            "members": {},
            "tree": {},
            "export_secret": exported,
        }.items():
            seen = [self.ok(op, name, **fields) for name in names]
            for reply in seen:
                del reply["id"], reply["us"]
            assert all(reply == seen[0] for reply in seen), op
        for name in names:
            message = self.send(name, name.encode().hex())
            for other in names:
                if other != name:
                    got = self.process(other, message)
                    assert got["plaintext"] == got["sender"] == name.encode().hex()
