"""The relay's tables (SQLAlchemy Core). Ids of the protocol are BLOBs, `no` is the row's own number.

Numbers and times (milliseconds since 1970) are `Number`: 64 bits on both databases. A payload
column holds the bytes, or where `is_blob` is 1 the BlobRef in MessagePack; it is NULL once
retention took it.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

Number = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits. SQLite numbers rows by themselves only where the type is called INTEGER, of any size."""

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

establishment_codes = Table(
    "establishment_codes",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column("created", Number, nullable=False),
    Column("used", Number),
    Column("establishment", LargeBinary),
    Column("issuer", LargeBinary),
)

establishments = Table(
    "establishments",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("authority", LargeBinary, nullable=False),
    Column("created", Number, nullable=False),
    Column("revocations_number", Number, nullable=False, server_default="0"),
    Column("revocations", LargeBinary),
    Column("revocations_payload", LargeBinary),
    Column("revocations_is_blob", Number, nullable=False, server_default="0"),
    Column("revision", Number, nullable=False, server_default="0"),
)
"""`revision` counts changes of what nodes keep in memory: certificates, lists, statements, partners."""

issuers = Table(
    "issuers",
    metadata,
    Column("certificate_hash", LargeBinary, primary_key=True),
    Column("establishment", LargeBinary, ForeignKey("establishments.id"), nullable=False),
    Column("issuer_id", LargeBinary, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("enrolment_key", LargeBinary, nullable=False),
    Column("created", Number, nullable=False),
)

statements = Table(
    "statements",
    metadata,
    Column("no", Number, primary_key=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("number", Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", LargeBinary, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("created", Number, nullable=False),
    UniqueConstraint("establishment", "number"),
    UniqueConstraint("establishment", "kind", "subject"),
)
"""Signed statements beside the revocation lists, one of a kind about a subject; `number` only grows."""

partners = Table(
    "partners",
    metadata,
    Column("establishment", LargeBinary, ForeignKey("establishments.id"), primary_key=True),
    Column("partner", LargeBinary, primary_key=True),
    Column("statement", LargeBinary, nullable=False),
    Column("authority", LargeBinary, nullable=False),
    Column("signed", Number, nullable=False),
    Column("until", Number, nullable=False),
    Index("partners_of", "partner"),
    sqlite_with_rowid=False,
)
"""What an establishment's authority signed of another one, which need not be at this relay."""

accounts = Table(
    "accounts",
    metadata,
    Column("no", Number, primary_key=True),
    Column("establishment", LargeBinary, ForeignKey("establishments.id"), nullable=False),
    Column("account", LargeBinary, nullable=False),
    Column("person_id", LargeBinary, nullable=False),
    Column("issuer_id", LargeBinary, nullable=False),
    Column("person", LargeBinary, nullable=False),
    Column("issuer", LargeBinary, nullable=False),
    Column("created", Number, nullable=False),
    Column("revoked", Number),
    Column("closed", Number),
    Column("ends", Number),
    UniqueConstraint("establishment", "account"),
)
"""`ends`: the end of the person's certificate; NULL: none, or not known before the next sign-in.

Of a person whose identity key was replaced, `account` is the person id: the account is the new one's."""

devices = Table(
    "devices",
    metadata,
    Column("no", Number, primary_key=True),
    Column("device_id", LargeBinary, nullable=False, unique=True),
    Column("account_no", Number, ForeignKey("accounts.no"), nullable=False, index=True),
    Column("created", Number, nullable=False),
    Column("last_seen", Number),
    Column("token", LargeBinary),
    Column("next_token", LargeBinary),
    Column("locked", Number),
    Column("revoked", Number),
    Column("session", Number, nullable=False, server_default="0"),
    Column("signed_in", Number, nullable=False, server_default="0"),
)
"""`token` and `next_token` are SHA-256 of the confirmed and the unconfirmed sign-in token. `session` counts
sign-ins, the last of which was at `signed_in`: the newest connection counts, on whichever node."""

enrolments = Table(
    "enrolments",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("created", Number, nullable=False),
    Column("answered", Number),
    Index("enrolments_waiting", "establishment", "answered", "created"),
)

key_packages = Table(
    "key_packages",
    metadata,
    Column("no", Number, primary_key=True),
    Column("device_no", Number, ForeignKey("devices.no"), nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("key_package", LargeBinary),
    Column("last_resort", Number, nullable=False),
    Column("claimed", Number),
    Column("created", Number, nullable=False),
    Index("key_packages_left", "device_no", "claimed", "last_resort", "no"),
)
"""A claimed one keeps its hash, so that it cannot be published again, and loses its bytes."""

claims = Table(
    "claims",
    metadata,
    Column("no", Number, primary_key=True),
    Column("claimant", Number, ForeignKey("accounts.no"), nullable=False),
    Column("device_no", Number, nullable=False),
    Column("time", Number, nullable=False),
    Index("claims_recent", "claimant", "time"),
)

groups = Table(
    "groups",
    metadata,
    Column("no", Number, primary_key=True),
    Column("group_id", LargeBinary, nullable=False, unique=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("creator", Number, ForeignKey("accounts.no"), nullable=False, index=True),
    Column("epoch", Number, nullable=False),
    Column("last", Number, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("predecessor", Number, ForeignKey("groups.no"), unique=True),
    Column("successor", LargeBinary),
    Column("created", Number, nullable=False),
    Column("roster", Number, nullable=False, server_default="0"),
)
"""`roster` counts the changes of the group's members: another node sees that its own copy is old."""

members = Table(
    "members",
    metadata,
    Column("group_no", Number, ForeignKey("groups.no"), primary_key=True),
    Column("device_no", Number, ForeignKey("devices.no"), primary_key=True),
    Column("account_no", Number, nullable=False),
    Column("state", Number, nullable=False),
    Column("since", Number, nullable=False),
    Column("until", Number),
    Column("removed_at", Number),
    Column("removed_by", Number),
    Column("acked", Number, nullable=False),
    Column("last_send", LargeBinary),
    Index("members_of_device", "device_no"),
    Index("members_of_account", "account_no"),
    sqlite_with_rowid=False,
)
"""`state` as in groups.MemberState; rows with since < seq <= until are the device's."""

rows = Table(
    "rows",
    metadata,
    Column("no", Number, primary_key=True),
    Column("group_no", Number, nullable=False),
    Column("seq", Number, nullable=False),
    Column("epoch", Number, nullable=False),
    Column("kind", Number, nullable=False),
    Column("sender_no", Number, nullable=False),
    Column("send_id", LargeBinary, nullable=False),
    Column("time", Number, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("is_blob", Number, nullable=False),
    Column("payload", LargeBinary),
    Column("batch", Number),
    Index("rows_batch", "batch"),
    Index("rows_order", "group_no", "seq", unique=True),
    Index("rows_send", "sender_no", "send_id", unique=True),
)

welcomes = Table(
    "welcomes",
    metadata,
    Column("no", Number, primary_key=True),
    Column("group_no", Number, ForeignKey("groups.no"), nullable=False),
    Column("seq", Number, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("sender", LargeBinary, nullable=False),
    Column("time", Number, nullable=False),
    Column("predecessor", LargeBinary),
    Column("is_blob", Number, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

welcome_items = Table(
    "welcome_items",
    metadata,
    Column("item", LargeBinary, primary_key=True),
    Column("welcome_no", Number, ForeignKey("welcomes.no"), nullable=False, index=True),
    Column("device_no", Number, nullable=False),
    Column("group_no", Number, nullable=False),
    Index("welcome_items_of_device", "device_no", "welcome_no"),
)

reports = Table(
    "reports",
    metadata,
    Column("group_no", Number, primary_key=True),
    Column("seq", Number, primary_key=True),
    Column("device_no", Number, primary_key=True),
    Column("applied", Number, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("blob", LargeBinary, primary_key=True),
    Column("account_no", Number, ForeignKey("accounts.no")),
    Column("establishment", LargeBinary, nullable=False),
    Column("size", Number, nullable=False),
    Column("complete", Number, nullable=False),
    Column("created", Number, nullable=False),
    Index("blobs_of_account", "account_no", "complete"),
    Index("blobs_by_age", "created"),
)

timelines = Table(
    "timelines",
    metadata,
    Column("timeline", Number, primary_key=True, autoincrement=False),
    Column("rows_after", Number, nullable=False),
    Column("groups_after", Number, nullable=False),
    Column("welcomes_after", Number, nullable=False),
    Column("restored_at", Number, nullable=False),
)
"""Of each restored timeline, the last numbers of what was there when it began."""

old_logs = Table(
    "old_logs",
    metadata,
    Column("group_no", Number, ForeignKey("groups.no"), primary_key=True),
    Column("timeline", Number, primary_key=True),
    Column("last", Number, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""How far the log of an older timeline is held, where clients brought rows of it."""

brought_rows = Table(
    "brought_rows",
    metadata,
    Column("group_no", Number, ForeignKey("groups.no"), primary_key=True),
    Column("seq", Number, primary_key=True),
    Column("timeline", Number, nullable=False),
    Column("first_seq", Number, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Where a row that a client brought stood first, and the old log's chain at it."""

returned = Table(
    "returned",
    metadata,
    Column("device_no", Number, ForeignKey("devices.no"), primary_key=True),
    Column("timeline", Number, nullable=False),
    sqlite_with_rowid=False,
)
"""The newest timeline in which a device has brought all that it had."""

trace_trees = Table(
    "trace_trees",
    metadata,
    Column("timeline", Number, primary_key=True, autoincrement=False),
    Column("size", Number, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
)
"""One row for each timeline's log; locked last in a transaction that appends."""

trace_entries = Table(
    "trace_entries",
    metadata,
    Column("timeline", Number, primary_key=True),
    Column("no", Number, primary_key=True),
    Column("time", Number, nullable=False),
    Column("kind", Text, nullable=False),
    Column("establishment", LargeBinary),
    Column("batch", Number, unique=True),
    Column("digest", LargeBinary, nullable=False),
    Column("salt", LargeBinary),
    Column("body", LargeBinary),
    Index("trace_entries_by_time", "time"),
)
"""`digest` is SHA-256(salt || body) and stays; salt and body go with retention. `batch` as in `rows`."""

trace_nodes = Table(
    "trace_nodes",
    metadata,
    Column("timeline", Number, primary_key=True),
    Column("level", Number, primary_key=True),
    Column("no", Number, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Complete subtrees of two leaves and more; leaves are computed from the entries."""

trace_heads = Table(
    "trace_heads",
    metadata,
    Column("timeline", Number, primary_key=True),
    Column("size", Number, primary_key=True),
    Column("root", LargeBinary, nullable=False),
    Column("time", Number, nullable=False),
    Column("signature", LargeBinary, nullable=False),
)
"""Heads that were signed, kept at intervals, for `audit verify` to compare with."""
credentials = Table(
    "credentials",
    metadata,
    Column("establishment", LargeBinary, primary_key=True),
    Column("holder", LargeBinary, primary_key=True),
    Column("password", Text),
    Column("totp", LargeBinary),
    Column("totp_new", LargeBinary),
    Column("totp_step", Number, nullable=False),
    Column("changed", Number, nullable=False),
    sqlite_with_rowid=False,
)
"""Of an account, or of an issuer. TOTP secrets are sealed under the folder's `accounts.key`."""

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("establishment", LargeBinary, primary_key=True),
    Column("holder", LargeBinary, primary_key=True),
    Column("hash", LargeBinary, primary_key=True),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("establishment", LargeBinary, primary_key=True),
    Column("holder", LargeBinary, primary_key=True),
    Column("failures", Number, nullable=False),
    Column("locked_until", Number, nullable=False),
    Column("time", Number, nullable=False),
    Index("attempts_by_age", "time"),
    sqlite_with_rowid=False,
)
"""Failed attempts in a row, of names that exist and of names that do not."""

usage = Table(
    "usage",
    metadata,
    Column("account_no", Number, primary_key=True),
    Column("day", Number, primary_key=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("messages", Number, nullable=False),
    Column("bytes", Number, nullable=False),
    Column("files", Number, nullable=False),
    Index("usage_by_establishment", "establishment", "day"),
    sqlite_with_rowid=False,
)
"""What each account had stored per day (days since 1970); goes with retention, as what it counts."""

linkings = Table(
    "linkings",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),
    Column("account_no", Number, ForeignKey("accounts.no"), nullable=False),
    Column("request", LargeBinary),
    Column("answer", LargeBinary),
    Column("device_id", LargeBinary),
    Column("created", Number, nullable=False),
    Column("answered", Number),
    Index("linkings_of_account", "account_no", "created"),
    Index("linkings_by_age", "created"),
)
"""For a day: further devices that asked, and the sealed letters to those that were approved."""

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", LargeBinary, nullable=False),
    Column("until", Number, nullable=False),
)
"""Work that one node does at a time, and which node has it until when."""
