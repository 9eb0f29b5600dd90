"""What can go wrong for the person in front of a client, one class each.

    PliError                 everything below: code, cause, remedy, exit code
    ├── InvalidInput         what was asked cannot be (exit code 2)
    ├── MissingExtra         a part of Pli that is not installed
    ├── VaultError
    │   ├── VaultMissing  VaultExists  VaultBusy  VaultDamaged  VaultTooNew  VaultTooOld
    │   ├── VaultUnusable    the folder cannot be read or written
    │   ├── VaultWiped       a signed revocation of this device was found
    │   ├── WrongPassphrase  (exit code 3)
    │   └── DiskFull         (exit code 5); nothing was changed, trying again is safe
    ├── RelayError           (exit code 4)
    │   ├── Offline          not connected now; the connection goes on trying
    │   │   └── RequestTimedOut   no answer in time: whether it was done is unknown
    │   ├── RelayRefused     the relay's answer was no (exit code 1); .refusal is its code
    │   ├── RelayMisbehaved  it sent what no relay of this protocol sends
    │   ├── WrongRelay       another name than expected (exit code 1)
    │   ├── UntrustedCertificate  ProxyFailed  ClientOutdated  RelayOutdated
    │   └── SignInRefused  VaultCopied  SignedInElsewhere     the connection stops for good
    │       └── DeviceRevoked  AccountEnded     a signed statement, or certificate, says why
    ├── FileError            an attachment: FileUnreadable  FileUnwritable  FileDamaged  FileTooLarge
    └── HandoverFailed       the process that has the vault did not do what was asked

Every class states its cause and its remedy as msgids; `str(error)` is both in the language in use.
"""

import errno
from collections.abc import Mapping
from typing import ClassVar, Self

from pli_protocol.display_text import displayable

from .i18n import N_, Language, translate

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PASSPHRASE = 3
EXIT_RELAY = 4
EXIT_DISK = 5


class PliError(Exception):
    """Something that a person should know: one sentence of cause, one of remedy.

    Subclasses give `code` (stable, for programs), `exit_code`, and the msgids CAUSE and REMEDY, whose
    placeholders `%(name)s` are filled from the keyword arguments. These must hold no secret.
    """

    code: str = "error"
    exit_code: int = EXIT_FAILED
    CAUSE: ClassVar[str] = N_("Something went wrong.")
    REMEDY: ClassVar[str] = ""

    def __init__(self, **details: object) -> None:
        super().__init__(self.code)
        self.details: Mapping[str, object] = details

    @property
    def cause(self) -> str:
        """What happened, in one sentence of the language in use."""
        return self.text(self.CAUSE)

    @property
    def remedy(self) -> str:
        """What to do about it; empty where there is nothing."""
        return self.text(self.REMEDY)

    def text(self, message: str, language: Language | None = None) -> str:
        """One of this class's msgids, translated and filled in."""
        words = {name: _shown(value, language) for name, value in self.details.items()}
        return translate(message, language) % words if message else ""

    def sentence(self, language: Language | None = None) -> str:
        """Cause and remedy in the given language."""
        parts = (self.text(self.CAUSE, language), self.text(self.REMEDY, language))
        return " ".join(part for part in parts if part)

    def again(self) -> Self:
        """The same error without its traceback: one kept as a state is raised in several tasks."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        return twin

    def __str__(self) -> str:
        return self.sentence()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r})"


class Text(str):
    """A detail that is a msgid itself: translated when the error is shown."""


def _shown(value: object, language: Language | None) -> str:
    """A detail as it may be shown: some come from strangers."""
    if isinstance(value, PliError):
        return value.text(value.CAUSE, language)
    text = translate(value, language) if isinstance(value, Text) else str(value)
    return displayable(text, one_line=True, limit=500)


_SYSTEM_REASONS: Mapping[int, str] = {
    errno.ENOENT: N_("it does not exist"),
    errno.EACCES: N_("you have no right to it"),
    errno.EPERM: N_("you have no right to it"),
    errno.EEXIST: N_("it exists already"),
    errno.EISDIR: N_("it is a folder"),
    errno.ENOTDIR: N_("it is not a folder"),
    errno.EROFS: N_("the disk cannot be written to"),
    errno.ENAMETOOLONG: N_("its name is too long"),
    errno.EIO: N_("the disk does not work properly"),
    errno.ENOSPC: N_("the disk is full"),
    errno.EDQUOT: N_("the disk is full"),
    errno.ELOOP: N_("its links lead in a circle"),
    errno.EBUSY: N_("another program uses it"),
    errno.EMFILE: N_("too many files are open"),
    errno.ENFILE: N_("too many files are open"),
    errno.EBADF: N_("it is not open"),
}

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
"""errno of a disk, or a share of it, that is full."""


def system_reason(error: OSError) -> str:
    """Why the system refused, as a detail of an error; the system's own words where we have none."""
    known = _SYSTEM_REASONS.get(error.errno or 0)
    return Text(known) if known is not None else str(error.strerror or type(error).__name__)


class InvalidInput(PliError):
    """What was asked for cannot be; `what` says it in the language in use."""

    code = "invalid-input"
    exit_code = EXIT_USAGE
    CAUSE = N_("This is not possible: %(what)s.")

    def __init__(self, what: str) -> None:
        super().__init__(what=what)


class MissingExtra(PliError):
    """A part of Pli that needs libraries which are not installed."""

    code = "missing-extra"
    CAUSE = N_("This part of Pli is not installed.")
    REMEDY = N_("Install it with: pip install 'pli[%(extra)s]'")

    def __init__(self, extra: str) -> None:
        super().__init__(extra=extra)


# --- vault ------------------------------------------------------------------------------------


class VaultError(PliError):
    """About the vault on this computer."""

    code = "vault"
    CAUSE = N_("The vault cannot be used.")


class VaultMissing(VaultError):
    code = "vault-missing"
    CAUSE = N_("There is no vault in %(folder)s.")
    REMEDY = N_("Join with an invitation first (pli join CODE), or name the vault with --vault.")


class VaultExists(VaultError):
    code = "vault-exists"
    CAUSE = N_("There is a vault in %(folder)s already.")
    REMEDY = N_("Use it, or choose another folder with --vault.")


class VaultBusy(VaultError):
    """Another process has the vault; see pli_client.handover."""

    code = "vault-busy"
    CAUSE = N_("Another program has this vault open.")
    REMEDY = N_("Close it, then try again.")


class WrongPassphrase(VaultError):
    code = "wrong-passphrase"
    exit_code = EXIT_PASSPHRASE
    CAUSE = N_("The passphrase is wrong.")
    REMEDY = N_("Try again; check the keyboard's layout and the capitals. Nothing was changed.")


class VaultDamaged(VaultError):
    code = "vault-damaged"
    CAUSE = N_("The vault is damaged (%(part)s).")
    REMEDY = N_("Keep its folder as it is, and restore a copy of it or join again.")

    def __init__(self, part: str) -> None:
        super().__init__(part=part)


class VaultTooNew(VaultError):
    code = "vault-too-new"
    CAUSE = N_(
        "This vault was written by a newer Pli (format %(found)s; this one reads %(known)s)."
    )
    REMEDY = N_("Update Pli on this computer. Nothing was changed.")


class VaultTooOld(VaultError):
    code = "vault-too-old"
    CAUSE = N_("This vault's format %(found)s is older than what this Pli reads.")
    REMEDY = N_("Open it once with an older Pli, which brings it up to date.")


class VaultUnusable(VaultError):
    code = "vault-unusable"
    CAUSE = N_("The vault's folder %(folder)s cannot be used: %(reason)s.")
    REMEDY = N_("Check that it exists and that it is yours.")


_DECLARED: Mapping[str, str] = {
    "lost": N_("lost"),
    "stolen": N_("stolen"),
    "retired": N_("out of service"),
    "left": N_("that of somebody who has left"),
}


class VaultWiped(VaultError):
    """A signed statement said that this device is not in its owner's hands: nothing is left of the vault."""

    code = "vault-wiped"
    CAUSE = N_("This vault was wiped: your establishment declared this device %(reason)s.")
    REMEDY = N_("Ask your establishment for a new invitation, and join with it.")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=Text(_DECLARED.get(reason, reason)))
        self.reason = reason


class DiskFull(VaultError):
    """Rolled back: the vault is as it was before."""

    code = "disk-full"
    exit_code = EXIT_DISK
    CAUSE = N_("The disk is full.")
    REMEDY = N_("Make room, then try again. Nothing was lost.")


# --- relay ------------------------------------------------------------------------------------


class RelayError(PliError):
    """About the relay and the way to it."""

    code = "relay"
    exit_code = EXIT_RELAY
    CAUSE = N_("The relay cannot be used.")

    permanent: ClassVar[bool] = False
    """A person must act before a connection can come about; waiting does not help."""


class Offline(RelayError):
    """Not connected (`reason` in the language in use); what was asked was not done, but may be.

    A request that was under way when the connection broke may have been done or not.
    """

    code = "offline"
    CAUSE = N_("The relay cannot be reached: %(reason)s.")
    REMEDY = N_("Check the network; what is waiting is sent when the relay is back.")

    def __init__(self, reason: str) -> None:
        super().__init__(reason=reason)


class RequestTimedOut(Offline):
    code = "timed-out"
    CAUSE = N_("The relay did not answer in time.")
    REMEDY = N_("Try again later.")

    def __init__(self) -> None:
        super().__init__("")


_OTHER_REFUSAL = N_("it gives no reason that is known here")

_REFUSALS: Mapping[str, str] = {
    "not-found": N_("it does not exist there, or is not yours to see"),
    "stale-epoch": N_("the group changed in the meantime"),
    "predecessor-missing": N_("an earlier message has not arrived there"),
    "roster": N_("the change of members is not in order"),
    "conflict": N_("somebody else was first"),
    "too-large": N_("it is too large"),
    "limit": N_("there are too many"),
    "try-later": N_("it cannot store anything now; nothing was lost, try again later"),
    "invalid": N_("something in it does not check"),
    "used": N_("the code was used already"),
    "bad-frame": N_("it does not understand the request"),
    "out-of-order": N_("it did not expect this request now"),
}


class RelayRefused(RelayError):
    """The relay refused a request. `refusal` is a code of pli_protocol.relay.errors.CODES."""

    code = "relay-refused"
    exit_code = EXIT_FAILED
    CAUSE = N_("The relay refused: %(why)s (%(refusal)s).")

    def __init__(
        self,
        refusal: str,
        detail: str = "",
        *,
        epoch: int | None = None,
        retry_after: int | None = None,
    ) -> None:
        refusal = displayable(refusal, one_line=True)
        super().__init__(refusal=refusal, why=Text(_REFUSALS.get(refusal, _OTHER_REFUSAL)))
        self.refusal = refusal
        self.detail = displayable(detail, one_line=True)
        """The relay's own words, safe to print, for a log."""
        self.epoch = epoch
        """The group's current epoch, with `stale-epoch`."""
        self.retry_after = retry_after
        """Milliseconds, with `try-later`."""

    def __repr__(self) -> str:
        return f"RelayRefused({self.refusal!r})"


class RelayMisbehaved(RelayError):
    """`what` is for a log: what the relay did that the protocol does not allow."""

    code = "relay-misbehaved"
    CAUSE = N_("The relay does not keep to the protocol (%(what)s).")
    REMEDY = N_("Tell the person who runs the relay.")

    def __init__(self, what: str) -> None:
        super().__init__(what=what)
        self.what = what


class WrongRelay(RelayError):
    code = "wrong-relay"
    exit_code = EXIT_FAILED
    permanent = True
    CAUSE = N_("The relay calls itself %(found)s, but %(expected)s is expected.")
    REMEDY = N_(
        "If it is the right relay, write its name %(found)s in the address instead of %(expected)s; "
        "else check the address. Nothing was sent."
    )


class UntrustedCertificate(RelayError):
    code = "untrusted-certificate"
    permanent = True
    CAUSE = N_("The relay's certificate is not trusted: %(reason)s.")
    REMEDY = N_(
        "If your establishment has a certificate authority of its own, name its file with --ca-file."
    )


class ProxyFailed(RelayError):
    code = "proxy"
    CAUSE = N_("The proxy does not let the connection through: %(reason)s.")
    REMEDY = N_("Check the proxy's address and your rights on it.")


class ClientOutdated(RelayError):
    code = "client-outdated"
    permanent = True
    CAUSE = N_("The relay speaks a newer protocol than this Pli.")
    REMEDY = N_("Update Pli on this computer.")


class RelayOutdated(RelayError):
    code = "relay-outdated"
    permanent = True
    CAUSE = N_("The relay speaks an older protocol than this Pli.")
    REMEDY = N_("Ask the person who runs the relay to update it.")


class SignInRefused(RelayError):
    code = "sign-in-refused"
    exit_code = EXIT_FAILED
    permanent = True
    CAUSE = N_("The relay refuses this device: it is unknown there, or it was revoked.")
    REMEDY = N_("Ask your establishment for a new invitation.")


class DeviceRevoked(SignInRefused):
    """A signed statement says so; what the vault holds stays readable."""

    code = "device-revoked"
    CAUSE = N_("Your establishment, or you, declared this device %(reason)s: it cannot connect.")
    REMEDY = N_(
        "What it has received can still be read. To go on with it, ask your establishment for a new "
        "invitation: pli rejoin CODE."
    )

    def __init__(self, reason: str) -> None:
        super().__init__(reason=Text(_DECLARED.get(reason, reason)))
        self.reason = reason


class AccountEnded(SignInRefused):
    """The account's certificate has an end date, which has come."""

    code = "account-ended"
    CAUSE = N_("Your account ended on %(date)s: it cannot connect.")
    REMEDY = N_(
        "What it has received can still be read. Ask your establishment to extend it; this device then "
        "goes on by itself."
    )

    def __init__(self, date: str) -> None:
        super().__init__(date=date)


class VaultCopied(RelayError):
    """Another copy of this vault signed in since (reliability rule 9): both must stop."""

    code = "vault-copied"
    exit_code = EXIT_FAILED
    permanent = True
    CAUSE = N_("This vault is a copy, or it was set back to an older state: the relay refuses it.")
    REMEDY = N_("Ask your establishment for a new invitation, and join with it in a new folder.")


class SignedInElsewhere(RelayError):
    code = "signed-in-elsewhere"
    exit_code = EXIT_FAILED
    permanent = True
    CAUSE = N_("This device has signed in from another program.")
    REMEDY = N_("Close one of the two.")


# --- files and handing over -------------------------------------------------------------------


class FileError(PliError):
    """About an attachment."""

    code = "file"
    CAUSE = N_("The file cannot be used.")


class FileUnreadable(FileError):
    code = "file-unreadable"
    CAUSE = N_("The file %(name)s cannot be read: %(reason)s.")
    REMEDY = N_("Check its name and that you may read it.")


class FileUnwritable(FileError):
    code = "file-unwritable"
    CAUSE = N_("The file %(name)s cannot be written: %(reason)s.")
    REMEDY = N_("Choose another folder.")


class FileDamaged(FileError):
    """What came from the relay is not what its sender announced; nothing of it was kept."""

    code = "file-damaged"
    CAUSE = N_("The file %(name)s did not arrive as it was sent.")
    REMEDY = N_("Ask its sender to send it again. Nothing of it was kept.")


class FileTooLarge(FileError):
    code = "file-too-large"
    CAUSE = N_("The file %(name)s is too large (%(size)s bytes; at most %(limit)s).")
    REMEDY = N_("Send a smaller one.")


class HandoverFailed(PliError):
    code = "handover"
    CAUSE = N_("The program that has this vault open did not answer.")
    REMEDY = N_("Close it, then try again.")
