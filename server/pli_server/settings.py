"""The relay's settings: one TOML file in its folder, every value checked, none unknown.

The text below a setting is its comment in the file that `init` writes (settings_file.py).
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from .addresses import parse_listen
from .environment import overridden, refuse_passwords
from .errors import OperatorError
from .proxy import networks
from .storage.url import DatabaseURL

FILE_NAME = "relay.toml"

Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Days = Annotated[int, Meta(ge=1, le=3650)]
Seconds = Annotated[int, Meta(ge=1, le=86400)]
Bytes = Annotated[int, Meta(ge=1024, le=2**50)]


class Retention(Struct, frozen=True, forbid_unknown_fields=True):
    """How long the relay keeps what it carries."""

    days: Days = 90
    """Everything that the relay carries goes at this age, fetched or not."""
    repair_days: Days = 8
    """What every device has acknowledged goes at this age (the repair window)."""
    enrolment_days: Days = 30
    """Requests to be enrolled, and their answers."""
    trace_months: Annotated[int, Meta(ge=6, le=12)] = 12
    """Months after which the trace keeps only hashes; from 6 to 12."""
    sweep_seconds: Seconds = 3600
    """Seconds between two sweeps."""


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What a client can make grow, and how far; docs/operations.md says what is answered above."""

    connections: Count = 10_000
    """Connections of everybody together."""
    connections_per_address: Count = 2_000
    """Of one address; of IPv6, one network of 64 bits."""
    unsigned_per_address: Count = 128
    """Connections of one address that have not signed in."""
    sign_in_seconds: Seconds = 20
    """A connection that neither signs in nor waits for an enrolment is closed after this time."""
    enrolment_wait_seconds: Seconds = 900
    """A connection that waits for an enrolment's answer is closed after this time."""
    unsigned_requests: Count = 64
    """Frames that a connection may send before it signs in."""
    requests_in_flight: Count = 64
    """Unanswered requests of one connection; more are read when these are answered."""
    frames_per_second: Count = 5_000
    """Of one connection; who sends faster is read later."""
    queued_bytes: Bytes = 64 * 1024 * 1024
    """Bytes of requests that wait for the disk; above, `try-later`."""
    accounts_per_establishment: Count = 10_000
    """Accounts, closed ones too."""
    devices_per_account: Count = 10
    """Devices of one account that may sign in."""
    enrolments_waiting: Count = 1_000
    """Requests to be enrolled, per establishment, not answered yet; above, those older than a day
    give way."""
    enrolments_per_address: Count = 200
    """Requests to be enrolled that one address may leave in a day."""
    enrolments_answered: Count = 1_000
    """Answers that are kept, per establishment; above, the oldest answers go."""
    enrolment_bytes: Bytes = 8 * 1024
    """The largest request to be enrolled."""
    key_packages_per_device: Count = 100
    """Key packages of one device that wait to be claimed."""
    claims_per_hour: Count = 1_000
    """Key packages that one account may claim in an hour."""
    claims_per_target_hour: Count = 50
    """Of them, of one device."""
    messages_per_day: Count = 1_000_000
    """Rows that one account may add to its groups in a day (UTC)."""
    message_bytes_per_day: Bytes = 2 * 1024 * 1024 * 1024
    """Their bytes, with Welcomes."""
    bytes_per_establishment: Bytes = 100 * 1024 * 1024 * 1024
    """What an establishment may have stored within `days` of [retention]: messages and files."""
    groups_per_account: Count = 10_000
    """Groups that one account may open."""
    members_per_group: Count = 1_000
    """Devices on a group's roster."""
    welcomes_waiting: Count = 1_000
    """Per device, not acknowledged yet."""
    returns_per_day: Count = 50
    """Requests to return of one device in one group."""
    handshake_bytes: Bytes = 16 * 1024 * 1024
    """The largest commit or Welcome."""
    blob_bytes: Bytes = 256 * 1024 * 1024
    """The largest blob: a file, a large commit."""
    blob_bytes_per_account: Bytes = 4 * 1024 * 1024 * 1024
    """A blob counts for 64 KiB at least, so their number is bounded too."""
    partners_per_establishment: Count = 200
    """Establishments that one establishment has signed to be its partners, ended ones included."""
    own_revocations: Count = 64
    """Devices that one person may declare revoked."""
    open_uploads_per_account: Count = 32
    """Uploads that one account has begun and not finished."""
    linkings_per_day: Count = 20
    """Further devices that may ask to be linked to one account in a day."""


class Metrics(Struct, frozen=True, forbid_unknown_fields=True):
    """Figures to watch, for Prometheus (/metrics), and whether the relay serves (/health)."""

    enabled: bool = True
    """Whether there is such a port."""
    listen: Annotated[str, Meta(min_length=1, max_length=300)] = "127.0.0.1:9440"
    """Where. Plain HTTP without a password: on loopback only, unless `exposed` says otherwise."""
    exposed: bool = False
    """Allows another address than loopback. Let a firewall keep everybody but Prometheus out."""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """The log on standard error. It names no person, device, group, key or address."""

    format: Literal["text", "json"] = "text"
    """Lines of text, or one JSON object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important that is still told."""


class Bus(Struct, frozen=True, forbid_unknown_fields=True):
    """What wakes the other nodes of one PostgreSQL database. Without it they look every second."""

    url: (
        Annotated[
            str,
            Meta(
                pattern=r"^(nats|tls|ws|wss)://\S+$",
                max_length=2000,
                examples=["nats://127.0.0.1:4222"],
            ),
        ]
        | None
    ) = None
    """The NATS server; several of one cluster with commas. With user and password only in PLI_BUS_URL."""
    credentials: Annotated[str, Meta(examples=["/etc/pli/bus.creds"])] | None = None
    """A file of NATS credentials (JWT and key)."""
    ca: Annotated[str, Meta(examples=["/etc/pli/bus-ca.pem"])] | None = None
    """The authorities that may certify the server, PEM; the system's where it is left out."""
    look_seconds: Annotated[int, Meta(ge=1, le=4)] = 3
    """Seconds between two looks into the database while the bus is up; one second while it is down."""

    def __repr__(self) -> str:
        return "Bus(<hidden>)"


class Blobs(Struct, frozen=True, forbid_unknown_fields=True):
    """Where blobs lie."""

    url: (
        Annotated[str, Meta(pattern="^s3://[^/?#@]+(/[^?#@]*)?$", examples=["s3://pli/blobs"])]
        | None
    ) = None
    """An S3 bucket instead of the folder `blobs`, for several nodes. Keys and endpoint come from the
    environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION."""


class Accounts(Struct, frozen=True, forbid_unknown_fields=True):
    """Passwords and second factors: their cost here, and what stops guessing."""

    password_memory_kib: Annotated[int, Meta(ge=8 * 1024, le=1024 * 1024)] = 19 * 1024
    """Memory of one Argon2id; the device has computed one of 64 MiB before."""
    password_passes: Annotated[int, Meta(ge=1, le=64)] = 2
    """Its passes over that memory."""
    password_checks: Annotated[int, Meta(ge=1, le=64)] = 1
    """Argon2ids at a time."""
    password_checks_waiting: Count = 256
    """Above, `try-later`."""
    attempts: Annotated[int, Meta(ge=1, le=100)] = 5
    """Failed ones in a row of one account, before each further one locks it."""
    lock_seconds: Seconds = 60
    """The first lock; each further failure doubles it."""
    lock_seconds_most: Seconds = 3600
    """The longest lock."""
    attempts_kept: Count = 100_000
    """Names whose failed attempts are remembered, whether they exist or not."""
    step_up_seconds: Seconds = 600
    """How long an act of administration needs no further code on the same connection."""


class Backup(Struct, frozen=True, forbid_unknown_fields=True):
    """Backups on a schedule. With several nodes, on one of them only."""

    directory: Annotated[str, Meta(min_length=1, examples=["/var/backups/pli"])] | None = None
    """Where to: a folder on another disk, or one that another program carries away. None: no schedule."""
    key: Annotated[str, Meta(min_length=1, examples=["pli-backup-…"])] | None = None
    """The public key that backups are sealed to, as `pli-server backup-key` prints it."""
    hours: Annotated[int, Meta(ge=1, le=8760)] = 24
    """Hours between two backups; never more than `repair_days` of [retention], for which clients keep
    what a restored relay would lack."""
    keep: Count = 14
    """How many are kept; older ones are removed after a new one is complete."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    name: Annotated[str, Meta(min_length=1, max_length=253)]
    """The relay's name: the host in the address that clients are given (wss://NAME). A device's
    signature at sign-in is bound to it, so it never changes once people have joined."""
    listen: Annotated[str, Meta(min_length=1, max_length=300)] = "127.0.0.1:8440"
    """Where to listen. Without certificate and key, on loopback only."""
    certificate: Annotated[str, Meta(examples=["/etc/pli/fullchain.pem"])] | None = None
    """TLS: the certificate with its chain, PEM. Read again within a minute when it changes."""
    key: Annotated[str, Meta(examples=["/etc/pli/key.pem"])] | None = None
    """The certificate's key, PEM."""
    database_url: (
        Annotated[DatabaseURL, Meta(examples=["postgresql://pli@db.example.fr/pli"])] | None
    ) = None
    """A PostgreSQL database, which several nodes may share, instead of the file relay.db in this
    folder. With a password it comes from PLI_DATABASE_URL, or a file that PLI_DATABASE_URL_FILE names."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.0.0.0/8) of reverse proxies in front. From them, and nobody else, the
    X-Forwarded-For header says whose connection it is."""
    plain_behind_proxy: bool = False
    """Lets the relay speak plain WebSocket on another address than loopback, to the trusted proxies
    only. Whoever can listen to that network sees who talks to the relay, and when."""
    ping_seconds: Seconds = 30
    """Seconds between two pings to a silent connection."""
    retention: Retention = Retention()
    limits: Limits = Limits()
    blobs: Blobs = Blobs()
    backup: Backup = Backup()
    bus: Bus = Bus()
    metrics: Metrics = Metrics()
    log: Log = Log()
    accounts: Accounts = Accounts()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`; raises OperatorError."""
        return parse_listen(self.listen)


def load(folder: Path) -> Settings:
    """Read the folder's settings.

    Raises:
        OperatorError: no such file, not TOML, an unknown or wrong value; the text names it.
    """
    path = folder / FILE_NAME
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OperatorError(
            f"{folder} is not a relay's folder; make one with: pli-server init {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise OperatorError(f"{path} cannot be read ({error}); mend it and try again") from None
    refuse_passwords(data)
    try:
        settings = msgspec.convert(
            overridden(data, Settings, os.environ), Settings, dec_hook=decode_value
        )
    except msgspec.ValidationError as error:
        raise OperatorError(f"{path}: {error}; mend the value and try again") from None
    settings.address  # noqa: B018  (raises for a wrong address)
    if (settings.certificate is None) != (settings.key is None):
        raise OperatorError(f"{path}: TLS needs both `certificate` and `key`; give both or none")
    _check_proxies(path, settings)
    _check_backup(path, settings)
    return settings


def _check_proxies(path: Path, settings: Settings) -> None:
    try:
        trusted = networks(settings.trusted_proxies)
    except ValueError as error:
        raise OperatorError(f"{path}: trusted_proxies: {error}; mend the value") from None
    if settings.plain_behind_proxy and not trusted:
        raise OperatorError(
            f"{path}: plain_behind_proxy needs the proxies' addresses in trusted_proxies"
        )


def _check_backup(path: Path, settings: Settings) -> None:
    backup = settings.backup
    if backup.directory is not None and backup.key is None:  # a key alone is for those by hand
        raise OperatorError(
            f"{path}: a schedule of backups needs the `key` in [backup] that they are sealed to; "
            "make one with: pli-server backup-key"
        )
    most = 24 * settings.retention.repair_days
    if backup.directory is not None and backup.hours > most:
        raise OperatorError(
            f"{path}: backups every {backup.hours} hours are too rare: clients keep what a restored "
            f"relay would lack for {most} hours; set `hours` of [backup] to {most} or less"
        )


def database_url(given: str | None) -> DatabaseURL | None:
    """The database that the environment or a command's option names; raises OperatorError."""
    data = {"name": "init"} if given is None else {"name": "init", "database_url": given}
    refuse_passwords(data)
    found = overridden(data, Settings, os.environ).get("database_url")
    return None if found is None else DatabaseURL(found)


def decode_value(kind: type, value: Any) -> Any:
    """A setting of a type of our own, for msgspec; raises OperatorError."""
    if kind is DatabaseURL and isinstance(value, str):
        return DatabaseURL(value)
    raise NotImplementedError(f"a {kind.__name__} is made of text")
