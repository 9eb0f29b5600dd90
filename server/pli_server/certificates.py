"""The relay's TLS certificate: read at the start, and again when its files change or on SIGHUP.

New connections get the new certificate, open ones stay as they are. A pair that cannot be used changes
nothing: it is logged and counted, and the old one goes on.
"""

import logging
import ssl
from collections import Counter
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from .errors import OperatorError

log = logging.getLogger(__name__)

CHECK_SECONDS: Final = 60


class Certificates:
    """One certificate chain and its key, as files."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Read both; raises OperatorError."""
        self._chain, self._key = chain, key
        self._seen = self._state()
        self.read: Counter[str] = Counter()
        """How often the files were read again: `done`, or `refused`."""
        self.expires = 0.0
        """Unix time at which the certificate ends."""
        self._current = self._load()
        self.context = _context()
        """For the listener: who begins a handshake is given the current certificate."""
        self.context.load_cert_chain(chain, key, _no_passphrase)
        self.context.sni_callback = self._hand_over

    def reload(self) -> bool:
        """Read the files again; False: they cannot be used, the ones of before go on."""
        self._seen = self._state()
        try:
            self._current = self._load()
        except OperatorError as error:
            self.read["refused"] += 1
            log.error("the old certificate goes on: %s", error)
            return False
        self.read["done"] += 1
        log.info("the certificate was read again")
        return True

    def reload_changed(self) -> None:
        """The same if a file is another one than when it was read last."""
        if self._state() != self._seen:
            self.reload()

    def _load(self) -> ssl.SSLContext:
        context = _context()
        try:
            context.load_cert_chain(self._chain, self._key, _no_passphrase)
            self.expires = leaf(self._chain).not_valid_after_utc.timestamp()
        except (OSError, ValueError) as error:
            # An OSError names the file, which is what the operator needs; an SSLError says why.
            raise OperatorError(
                f"the certificate or its key cannot be used ({_reason(error)}); "
                "check `certificate` and `key` in relay.toml"
            ) from None
        return context

    def _hand_over(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _state(self) -> tuple[Any, ...]:
        return tuple(_stamp(path) for path in (self._chain, self._key))


def leaf(chain: Path) -> x509.Certificate:
    """The first certificate of a PEM file; raises OSError or ValueError."""
    return x509.load_pem_x509_certificates(chain.read_bytes())[0]


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # A session ticket costs memory per connection and saves a device that stays for hours nothing.
    context.num_tickets = 0
    return context


def _no_passphrase() -> bytes:
    """For a key that needs one: OpenSSL would ask for it on the terminal, and everybody would wait."""
    return b""


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not PEM").lower().replace("_", " ")
    return getattr(error, "strerror", None) or "not a certificate in PEM"
