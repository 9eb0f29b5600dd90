"""A head as a file: what a witness keeps, a colleague sends, `audit check` compares with. JSON."""

import json
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from .heads import SignedHead

MAX_FILE: Final = 4096
"""Bytes of the largest file that is read."""


@dataclass(frozen=True, slots=True)
class HeadFile:
    """A signed head with the relay's name and the key that signed it."""

    relay: str
    log_key: bytes
    signed: SignedHead

    def encode(self) -> str:
        """One JSON object; ids and hashes in hexadecimal."""
        head = self.signed.head
        shown = {
            "pli-tree-head": 1,
            "relay": self.relay,
            "log_key": self.log_key.hex(),
            "timeline": head.timeline,
            "size": head.size,
            "root": head.root.hex(),
            "time": head.time,
            "signature": self.signed.signature.hex(),
        }
        return json.dumps(shown, indent=2) + "\n"

    @classmethod
    def decode(cls, text: str) -> "HeadFile":
        """Read it; the signature is not checked here.

        Raises:
            ValueError: it is no head.
        """
        try:
            found: dict[str, Any] = json.loads(text[:MAX_FILE])
            names = ("timeline", "size", "time")
            head = {**{name: found[name] for name in names}, "root": bytes.fromhex(found["root"])}
            signed = {"head": head, "signature": bytes.fromhex(found["signature"])}
            log_key, relay = bytes.fromhex(found["log_key"]), found["relay"]
            if found["pli-tree-head"] != 1 or len(log_key) != 32 or not isinstance(relay, str):
                raise ValueError
            return cls(relay, log_key, msgspec.convert(signed, SignedHead))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise ValueError("not a head of an audit log") from None
