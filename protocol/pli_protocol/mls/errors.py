"""What can go wrong in MLS, sorted by who must act.

MLSError
├── CodecError            the peer's bytes are not what RFC 9420 §2.1 and the structs describe
├── ValidationError       the peer broke a rule of the RFC; `rule` names it
│   ├── WrongEpochError   a message of another epoch than those at hand
│   ├── UnknownGroupError a message of another group
│   └── GenerationError   a ratchet generation outside the window, or used before
├── CryptoError           a signature, tag or ciphertext did not check
├── UnsupportedError      a version, cipher suite or feature that this library does not have
└── UsageError            our caller's fault
"""


class MLSError(Exception):
    """Base of all errors of this package. Texts hold no secret and nothing that a peer chose."""


class CodecError(MLSError):
    """Bytes that do not decode (RFC 9420 §2.1).

    Args:
        text: one sentence for a developer.
        rule: short id of the RFC's rule that was broken, where one names the fault.
        clause: where the RFC states it.
    """

    def __init__(self, text: str = "", rule: str = "", clause: str = "") -> None:
        self.rule = rule
        self.clause = clause
        super().__init__(text)


class ValidationError(MLSError):
    """A rule of the RFC was broken by a peer.

    Args:
        rule: short id of the rule, such as "leaf-lifetime".
        clause: where the RFC states it, such as "§7.3".
        text: one sentence for a developer.
    """

    def __init__(self, rule: str, clause: str = "", text: str = "") -> None:
        self.rule = rule
        self.clause = clause
        super().__init__(" ".join(part for part in (rule, clause, text) if part))


class WrongEpochError(ValidationError):
    """The message belongs to an epoch that is not at hand (§12.4.2, §15.1)."""


class UnknownGroupError(ValidationError):
    """The message belongs to another group (§12.4.2)."""


class GenerationError(ValidationError):
    """The generation lies outside the window or its key was used already (§9.2, §15.3)."""


class CryptoError(MLSError):
    """A signature, MAC or ciphertext did not verify or open."""


class UnsupportedError(MLSError):
    """A protocol version, cipher suite or feature that this library does not have."""


class UsageError(MLSError):
    """The caller asked for something that makes no sense in this state.

    Args:
        text: one sentence for a developer.
        rule: short id where the RFC forbids a sender to do it, such as "sender-closed".
        clause: where the RFC states it.
    """

    def __init__(self, text: str = "", rule: str = "", clause: str = "") -> None:
        self.rule = rule
        self.clause = clause
        super().__init__(text)
