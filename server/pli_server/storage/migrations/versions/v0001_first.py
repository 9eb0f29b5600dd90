"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """From an empty file."""
    op.create_table(
        "device_revocations",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("device_id", sa.LargeBinary, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("establishment", "device_id"),
    )
    op.create_table(
        "enrolments",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("answered", sa.Integer),
    )
    op.create_index("enrolments_waiting", "enrolments", ["establishment", "answered", "created"])
    op.create_table(
        "establishment_codes",
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer),
        sa.Column("establishment", sa.LargeBinary),
        sa.Column("issuer", sa.LargeBinary),
    )
    op.create_table(
        "establishments",
        sa.Column("id", sa.LargeBinary, primary_key=True),
        sa.Column("authority", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("revocations_number", sa.Integer, nullable=False, server_default="0"),
        sa.Column("revocations", sa.LargeBinary),
        sa.Column("revocations_payload", sa.LargeBinary),
        sa.Column("revocations_is_blob", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "meta",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("group_no", sa.Integer, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("device_no", sa.Integer, primary_key=True),
        sa.Column("applied", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "rows",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("group_no", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("kind", sa.Integer, nullable=False),
        sa.Column("sender_no", sa.Integer, nullable=False),
        sa.Column("send_id", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.Integer, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("is_blob", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary),
    )
    op.create_index("rows_order", "rows", ["group_no", "seq"], unique=True)
    op.create_index("rows_send", "rows", ["sender_no", "send_id"], unique=True)
    op.create_table(
        "accounts",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column(
            "establishment", sa.LargeBinary, sa.ForeignKey("establishments.id"), nullable=False
        ),
        sa.Column("account", sa.LargeBinary, nullable=False),
        sa.Column("person_id", sa.LargeBinary, nullable=False),
        sa.Column("issuer_id", sa.LargeBinary, nullable=False),
        sa.Column("person", sa.LargeBinary, nullable=False),
        sa.Column("issuer", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("revoked", sa.Integer),
        sa.UniqueConstraint("establishment", "account"),
    )
    op.create_table(
        "issuers",
        sa.Column("certificate_hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "establishment", sa.LargeBinary, sa.ForeignKey("establishments.id"), nullable=False
        ),
        sa.Column("issuer_id", sa.LargeBinary, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("enrolment_key", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_table(
        "blobs",
        sa.Column("blob", sa.LargeBinary, primary_key=True),
        sa.Column("account_no", sa.Integer, sa.ForeignKey("accounts.no")),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("complete", sa.Integer, nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
    )
    op.create_index("blobs_by_age", "blobs", ["created"])
    op.create_index("blobs_of_account", "blobs", ["account_no", "complete"])
    op.create_table(
        "claims",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("claimant", sa.Integer, sa.ForeignKey("accounts.no"), nullable=False),
        sa.Column("device_no", sa.Integer, nullable=False),
        sa.Column("time", sa.Integer, nullable=False),
    )
    op.create_index("claims_recent", "claims", ["claimant", "time"])
    op.create_table(
        "devices",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("device_id", sa.LargeBinary, nullable=False),
        sa.Column("account_no", sa.Integer, sa.ForeignKey("accounts.no"), nullable=False),
        sa.Column("created", sa.Integer, nullable=False),
        sa.Column("token", sa.LargeBinary),
        sa.Column("next_token", sa.LargeBinary),
        sa.Column("locked", sa.Integer),
        sa.Column("revoked", sa.Integer),
        sa.UniqueConstraint("device_id"),
    )
    op.create_index("ix_devices_account_no", "devices", ["account_no"])
    op.create_table(
        "groups",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("group_id", sa.LargeBinary, nullable=False),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("creator", sa.Integer, sa.ForeignKey("accounts.no"), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("predecessor", sa.Integer, sa.ForeignKey("groups.no")),
        sa.Column("successor", sa.LargeBinary),
        sa.Column("created", sa.Integer, nullable=False),
        sa.UniqueConstraint("group_id"),
        sa.UniqueConstraint("predecessor"),
    )
    op.create_index("ix_groups_creator", "groups", ["creator"])
    op.create_table(
        "key_packages",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("device_no", sa.Integer, sa.ForeignKey("devices.no"), nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("key_package", sa.LargeBinary),
        sa.Column("last_resort", sa.Integer, nullable=False),
        sa.Column("claimed", sa.Integer),
        sa.Column("created", sa.Integer, nullable=False),
        sa.UniqueConstraint("hash"),
    )
    op.create_index(
        "key_packages_left", "key_packages", ["device_no", "claimed", "last_resort", "no"]
    )
    op.create_table(
        "members",
        sa.Column("group_no", sa.Integer, sa.ForeignKey("groups.no"), primary_key=True),
        sa.Column("device_no", sa.Integer, sa.ForeignKey("devices.no"), primary_key=True),
        sa.Column("account_no", sa.Integer, nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("since", sa.Integer, nullable=False),
        sa.Column("until", sa.Integer),
        sa.Column("removed_at", sa.Integer),
        sa.Column("removed_by", sa.Integer),
        sa.Column("acked", sa.Integer, nullable=False),
        sa.Column("last_send", sa.LargeBinary),
        sqlite_with_rowid=False,
    )
    op.create_index("members_of_account", "members", ["account_no"])
    op.create_index("members_of_device", "members", ["device_no"])
    op.create_table(
        "welcomes",
        sa.Column("no", sa.Integer, primary_key=True),
        sa.Column("group_no", sa.Integer, sa.ForeignKey("groups.no"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sa.Column("sender", sa.LargeBinary, nullable=False),
        sa.Column("time", sa.Integer, nullable=False),
        sa.Column("predecessor", sa.LargeBinary),
        sa.Column("is_blob", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "welcome_items",
        sa.Column("item", sa.LargeBinary, primary_key=True),
        sa.Column("welcome_no", sa.Integer, sa.ForeignKey("welcomes.no"), nullable=False),
        sa.Column("device_no", sa.Integer, nullable=False),
        sa.Column("group_no", sa.Integer, nullable=False),
    )
    op.create_index("ix_welcome_items_welcome_no", "welcome_items", ["welcome_no"])
    op.create_index("welcome_items_of_device", "welcome_items", ["device_no", "welcome_no"])
