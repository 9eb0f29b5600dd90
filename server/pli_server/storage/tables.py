"""The relay's tables (SQLAlchemy Core). Ids of the protocol are BLOBs, `no` is the row's own number.

Times are milliseconds since 1970. A payload column holds the bytes, or where `is_blob` is 1 the
BlobRef in MessagePack; it is NULL once retention took it.
"""

from sqlalchemy import (
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
    Column("created", Integer, nullable=False),
    Column("used", Integer),
    Column("establishment", LargeBinary),
    Column("issuer", LargeBinary),
)

establishments = Table(
    "establishments",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("authority", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
    Column("revocations_number", Integer, nullable=False, server_default="0"),
    Column("revocations", LargeBinary),
    Column("revocations_payload", LargeBinary),
    Column("revocations_is_blob", Integer, nullable=False, server_default="0"),
)

issuers = Table(
    "issuers",
    metadata,
    Column("certificate_hash", LargeBinary, primary_key=True),
    Column("establishment", LargeBinary, ForeignKey("establishments.id"), nullable=False),
    Column("issuer_id", LargeBinary, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("enrolment_key", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
)

device_revocations = Table(
    "device_revocations",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("device_id", LargeBinary, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    UniqueConstraint("establishment", "device_id"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("establishment", LargeBinary, ForeignKey("establishments.id"), nullable=False),
    Column("account", LargeBinary, nullable=False),
    Column("person_id", LargeBinary, nullable=False),
    Column("issuer_id", LargeBinary, nullable=False),
    Column("person", LargeBinary, nullable=False),
    Column("issuer", LargeBinary, nullable=False),
    Column("created", Integer, nullable=False),
    Column("revoked", Integer),
    UniqueConstraint("establishment", "account"),
)

devices = Table(
    "devices",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("device_id", LargeBinary, nullable=False, unique=True),
    Column("account_no", Integer, ForeignKey("accounts.no"), nullable=False, index=True),
    Column("created", Integer, nullable=False),
    Column("token", LargeBinary),
    Column("next_token", LargeBinary),
    Column("locked", Integer),
    Column("revoked", Integer),
)
"""`token` and `next_token` are SHA-256 of the confirmed and the unconfirmed sign-in token."""

enrolments = Table(
    "enrolments",
    metadata,
    Column("request_id", LargeBinary, primary_key=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("answer", LargeBinary),
    Column("created", Integer, nullable=False),
    Column("answered", Integer),
    Index("enrolments_waiting", "establishment", "answered", "created"),
)

key_packages = Table(
    "key_packages",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("device_no", Integer, ForeignKey("devices.no"), nullable=False),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("key_package", LargeBinary),
    Column("last_resort", Integer, nullable=False),
    Column("claimed", Integer),
    Column("created", Integer, nullable=False),
    Index("key_packages_left", "device_no", "claimed", "last_resort", "no"),
)
"""A claimed one keeps its hash, so that it cannot be published again, and loses its bytes."""

claims = Table(
    "claims",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("claimant", Integer, ForeignKey("accounts.no"), nullable=False),
    Column("device_no", Integer, nullable=False),
    Column("time", Integer, nullable=False),
    Index("claims_recent", "claimant", "time"),
)

groups = Table(
    "groups",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("group_id", LargeBinary, nullable=False, unique=True),
    Column("establishment", LargeBinary, nullable=False),
    Column("creator", Integer, ForeignKey("accounts.no"), nullable=False, index=True),
    Column("epoch", Integer, nullable=False),
    Column("last", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("predecessor", Integer, ForeignKey("groups.no"), unique=True),
    Column("successor", LargeBinary),
    Column("created", Integer, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("group_no", Integer, ForeignKey("groups.no"), primary_key=True),
    Column("device_no", Integer, ForeignKey("devices.no"), primary_key=True),
    Column("account_no", Integer, nullable=False),
    Column("state", Integer, nullable=False),
    Column("since", Integer, nullable=False),
    Column("until", Integer),
    Column("removed_at", Integer),
    Column("removed_by", Integer),
    Column("acked", Integer, nullable=False),
    Column("last_send", LargeBinary),
    Index("members_of_device", "device_no"),
    Index("members_of_account", "account_no"),
    sqlite_with_rowid=False,
)
"""`state` as in groups.MemberState; rows with since < seq <= until are the device's."""

rows = Table(
    "rows",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("group_no", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("kind", Integer, nullable=False),
    Column("sender_no", Integer, nullable=False),
    Column("send_id", LargeBinary, nullable=False),
    Column("time", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("is_blob", Integer, nullable=False),
    Column("payload", LargeBinary),
    Index("rows_order", "group_no", "seq", unique=True),
    Index("rows_send", "sender_no", "send_id", unique=True),
)

welcomes = Table(
    "welcomes",
    metadata,
    Column("no", Integer, primary_key=True),
    Column("group_no", Integer, ForeignKey("groups.no"), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("sender", LargeBinary, nullable=False),
    Column("time", Integer, nullable=False),
    Column("predecessor", LargeBinary),
    Column("is_blob", Integer, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)

welcome_items = Table(
    "welcome_items",
    metadata,
    Column("item", LargeBinary, primary_key=True),
    Column("welcome_no", Integer, ForeignKey("welcomes.no"), nullable=False, index=True),
    Column("device_no", Integer, nullable=False),
    Column("group_no", Integer, nullable=False),
    Index("welcome_items_of_device", "device_no", "welcome_no"),
)

reports = Table(
    "reports",
    metadata,
    Column("group_no", Integer, primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("device_no", Integer, primary_key=True),
    Column("applied", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)

blobs = Table(
    "blobs",
    metadata,
    Column("blob", LargeBinary, primary_key=True),
    Column("account_no", Integer, ForeignKey("accounts.no")),
    Column("establishment", LargeBinary, nullable=False),
    Column("size", Integer, nullable=False),
    Column("complete", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Index("blobs_of_account", "account_no", "complete"),
    Index("blobs_by_age", "created"),
)
