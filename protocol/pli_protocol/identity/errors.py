"""Errors of the identity layer.

IdentityError            a certificate, chain or statement that does not check (.rule names the check)
└── StatementError       a statement that is malformed or not signed by whom it must be
InvitationError          an invitation code, or a partner code, that cannot be read (.cause says why)
LinkingError             a request or a letter of linking that is malformed or does not open
"""


class IdentityError(Exception):
    """A peer's certificate, chain or statement breaks a rule of the profile.

    `rule` is a short stable id ("chain-length", "signature"…); the text is generic and quotes nothing.
    """

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{text} [{rule}]")
        self.rule = rule
        self.text = text


class StatementError(IdentityError):
    """A statement that is malformed, not canonical, or not signed by the key it needs."""


class LinkingError(Exception):
    """A request to be linked, or its letter, that is not what it must be. Quotes nothing of it."""


class InvitationError(Exception):
    """An invitation code, or a partner code, that cannot be used.

    `cause` is one of "empty", "character", "too-short", "checksum", "relay".
    """

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(text)
        self.cause = cause
        self.text = text
