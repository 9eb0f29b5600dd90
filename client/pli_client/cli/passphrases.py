"""Where a passphrase comes from: a file, a file descriptor, or the keyboard; nothing else.

An argument or a variable would be seen by others (ps, /proc, the shell's history).
"""

import os
import sys
from pathlib import Path

from pli_protocol.secret import Secret

from ..errors import EXIT_PASSPHRASE, PliError, system_reason
from ..i18n import N_, _
from .options import Settings

SHORTEST = 8
"""Characters of the shortest passphrase for a new vault."""

_LONGEST = 4096


class NoPassphrase(PliError):
    code = "no-passphrase"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("There is no terminal to ask for the passphrase.")
    REMEDY = N_("Give it with --passphrase-file or --passphrase-fd.")


class NoAuthorityPassphrase(NoPassphrase):
    CAUSE = N_("There is no terminal to ask for the authority's own passphrase.")
    REMEDY = N_("Give it with --authority-passphrase-file.")


class NoAccountPassword(NoPassphrase):
    CAUSE = N_("There is no terminal to ask for the account password.")
    REMEDY = N_("Give it with --password-file, a new one with --new-password-file.")


class PassphraseUnreadable(PliError):
    code = "passphrase-unreadable"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("The passphrase cannot be read from %(source)s: %(reason)s.")
    REMEDY = N_("Check the file or descriptor.")


class PassphraseTooShort(PliError):
    code = "passphrase-too-short"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("This passphrase is too short: %(shortest)s characters at least.")
    REMEDY = N_("Four or five words that nobody guesses are good.")


class PasswordTooShort(PassphraseTooShort):
    code = "password-too-short"
    CAUSE = N_("This account password is too short: %(shortest)s characters at least.")


class PassphrasesDiffer(PliError):
    code = "passphrases-differ"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("The two passphrases are not the same.")
    REMEDY = N_("Try again. Nothing was changed.")


class PasswordsDiffer(PassphrasesDiffer):
    code = "passwords-differ"
    CAUSE = N_("The two passwords are not the same.")


def known(settings: Settings, prompt: str | None = None) -> Secret:
    """The passphrase of a vault that exists."""
    from ..vault import passphrase

    return passphrase(_given(settings) or _typed(prompt or _("Passphrase: ")))


def chosen(settings: Settings, prompt: str | None = None) -> Secret:
    """The passphrase of a vault that is about to be made; typed twice."""
    from ..vault import passphrase

    text = _given(settings)
    if text is None:
        text = _typed(prompt or _("Choose a passphrase: "))
        if _typed(_("The same once more: ")) != text:
            raise PassphrasesDiffer()
    if len(text) < SHORTEST:
        raise PassphraseTooShort(shortest=SHORTEST)
    return passphrase(text)


def password(file: Path | None, prompt: str) -> str:
    """An account password, as text."""
    if file is not None:
        return _first_line(str(file), file)
    try:
        return _typed(prompt)
    except NoPassphrase:
        raise NoAccountPassword() from None


def chosen_password(file: Path | None) -> str:
    """A new account password; typed twice."""
    if file is not None:
        text = _first_line(str(file), file)
    else:
        text = password(None, _("Choose an account password: "))
        if _typed(_("The same once more: ")) != text:
            raise PasswordsDiffer()
    if len(text) < SHORTEST:
        raise PasswordTooShort(shortest=SHORTEST)
    return text


def replacement(file: Path | None) -> Secret:
    """A passphrase in the place of the one that a vault has."""
    return chosen(Settings(passphrase_file=file), _("Choose a new passphrase: "))


def from_file(path: Path) -> Secret:
    """The first line of a file, as a passphrase."""
    from ..vault import passphrase

    return passphrase(_first_line(str(path), path))


def _given(settings: Settings) -> str | None:
    if settings.passphrase_fd is not None:
        return _first_line(f"fd {settings.passphrase_fd}", settings.passphrase_fd)
    if settings.passphrase_file is not None:
        return _first_line(str(settings.passphrase_file), settings.passphrase_file)
    return None


def _first_line(source: str, file: Path | int) -> str:
    try:
        with open(file, "rb", closefd=True) as stream:
            data = stream.readline(_LONGEST)
        text = data.decode().rstrip("\r\n")
    except OSError as error:
        raise PassphraseUnreadable(source=source, reason=system_reason(error)) from None
    except UnicodeDecodeError:
        raise PassphraseUnreadable(source=source, reason="UTF-8") from None
    if not text:
        raise PassphraseUnreadable(source=source, reason=_("it is empty"))
    return text


def _typed(prompt: str) -> str:
    import getpass

    if not sys.stdin.isatty() and not _has_terminal():
        raise NoPassphrase()
    try:
        text = getpass.getpass(prompt, stream=sys.stderr)
    except EOFError:
        raise NoPassphrase() from None
    if not text:
        raise PassphraseUnreadable(source=_("the keyboard"), reason=_("it is empty"))
    return text


def _has_terminal() -> bool:
    """getpass speaks with the terminal itself, also where stdin is a pipe."""
    if sys.platform == "win32":
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
