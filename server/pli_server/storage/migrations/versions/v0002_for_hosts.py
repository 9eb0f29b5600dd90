"""What a host needs for years: portable types, the trace, accounts, succession, timelines, quotas."""

import os

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""As tables.Number: for every number and time of the steps below."""


def upgrade() -> None:
    """From the first schema. One function for each family of tables."""
    _portable()
    _trace()
    _accounts()
    _succession()
    _partners()
    _timelines()
    _quotas()


def _portable() -> None:
    """Types and columns that PostgreSQL needs, and what several nodes share."""
    db = op.get_bind()
    if db.dialect.name == "postgresql":
        _widen(db)
    op.add_column("groups", sa.Column("roster", NUMBER, nullable=False, server_default="0"))
    for table, column in (
        ("devices", "session"),
        ("devices", "signed_in"),
        ("establishments", "revision"),
    ):
        op.add_column(table, sa.Column(column, NUMBER, nullable=False, server_default="0"))
    db.execute(
        sa.text("INSERT INTO meta (key, value) VALUES ('cluster', :value)"),
        {"value": os.urandom(16).hex()},
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.LargeBinary, nullable=False),
        sa.Column("until", NUMBER, nullable=False),
    )


def _widen(db: sa.Connection) -> None:
    """PostgreSQL's INTEGER has 32 bits, and so have the sequences that number rows."""
    inspector = sa.inspect(db)
    for table in inspector.get_table_names():
        changes = ", ".join(
            f'ALTER COLUMN "{column["name"]}" TYPE BIGINT'
            for column in inspector.get_columns(table)
            if isinstance(column["type"], sa.Integer)
        )
        if changes:
            op.execute(f'ALTER TABLE "{table}" {changes}')
    for sequence in inspector.get_sequence_names():
        op.execute(f'ALTER SEQUENCE "{sequence}" AS BIGINT')


def _trace() -> None:
    """The audit log."""
    op.create_table(
        "trace_trees",
        sa.Column("timeline", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("frontier", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "trace_entries",
        sa.Column("timeline", NUMBER, primary_key=True),
        sa.Column("no", NUMBER, primary_key=True),
        sa.Column("time", NUMBER, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("establishment", sa.LargeBinary),
        sa.Column("batch", NUMBER, unique=True),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("body", sa.LargeBinary),
    )
    op.create_index("trace_entries_by_time", "trace_entries", ["time"])
    op.create_table(
        "trace_nodes",
        sa.Column("timeline", NUMBER, primary_key=True),
        sa.Column("level", NUMBER, primary_key=True),
        sa.Column("no", NUMBER, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trace_heads",
        sa.Column("timeline", NUMBER, primary_key=True),
        sa.Column("size", NUMBER, primary_key=True),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("time", NUMBER, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
    )
    op.add_column("rows", sa.Column("batch", NUMBER))
    op.create_index("rows_batch", "rows", ["batch"])


def _accounts() -> None:
    """Password, second factor, recovery codes, attempts."""
    op.add_column("devices", sa.Column("last_seen", NUMBER))
    op.add_column("accounts", sa.Column("closed", NUMBER))
    op.create_table(
        "credentials",
        sa.Column("establishment", sa.LargeBinary, primary_key=True),
        sa.Column("holder", sa.LargeBinary, primary_key=True),
        sa.Column("password", sa.Text),
        sa.Column("totp", sa.LargeBinary),
        sa.Column("totp_new", sa.LargeBinary),
        sa.Column("totp_step", NUMBER, nullable=False),
        sa.Column("changed", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "recovery_codes",
        sa.Column("establishment", sa.LargeBinary, primary_key=True),
        sa.Column("holder", sa.LargeBinary, primary_key=True),
        sa.Column("hash", sa.LargeBinary, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempts",
        sa.Column("establishment", sa.LargeBinary, primary_key=True),
        sa.Column("holder", sa.LargeBinary, primary_key=True),
        sa.Column("failures", NUMBER, nullable=False),
        sa.Column("locked_until", NUMBER, nullable=False),
        sa.Column("time", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("attempts_by_age", "attempts", ["time"])
    op.create_table(
        "linkings",
        sa.Column("request_id", sa.LargeBinary, primary_key=True),
        sa.Column("account_no", NUMBER, sa.ForeignKey("accounts.no"), nullable=False),
        sa.Column("request", sa.LargeBinary),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("device_id", sa.LargeBinary),
        sa.Column("created", NUMBER, nullable=False),
        sa.Column("answered", NUMBER),
    )
    op.create_index("linkings_of_account", "linkings", ["account_no", "created"])
    op.create_index("linkings_by_age", "linkings", ["created"])


def _succession() -> None:
    """Replaced identity keys, changed authorities, issuers that followed others."""
    op.create_table(
        "statements",
        sa.Column("no", NUMBER, primary_key=True),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.LargeBinary, nullable=False),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("created", NUMBER, nullable=False),
        sa.UniqueConstraint("establishment", "number"),
        sa.UniqueConstraint("establishment", "kind", "subject"),
    )
    _device_revocations()
    op.add_column("accounts", sa.Column("ends", NUMBER))


def _device_revocations() -> None:
    """They are about a device by a person, whose id stands in the statement."""
    db = op.get_bind()
    known = sa.text("SELECT establishment, no, device_id, statement FROM device_revocations")
    insert = sa.text(
        "INSERT INTO statements (establishment, number, kind, subject, statement, created)"
        " VALUES (:establishment, :no, 'device-revocation', :subject, :statement, 0)"
    )
    for row in db.execute(known).mappings().all():
        signed = msgspec.msgpack.decode(row["statement"])
        person = msgspec.msgpack.decode(signed[2])[1]
        db.execute(insert, {**row, "subject": person + row["device_id"]})
    op.drop_table("device_revocations")


def _partners() -> None:
    """Partner statements between establishments."""
    op.create_table(
        "partners",
        sa.Column(
            "establishment", sa.LargeBinary, sa.ForeignKey("establishments.id"), primary_key=True
        ),
        sa.Column("partner", sa.LargeBinary, primary_key=True),
        sa.Column("statement", sa.LargeBinary, nullable=False),
        sa.Column("authority", sa.LargeBinary, nullable=False),
        sa.Column("signed", NUMBER, nullable=False),
        sa.Column("until", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("partners_of", "partners", ["partner"])


def _timelines() -> None:
    """Backups, restored relays, what clients bring back."""
    op.create_table(
        "timelines",
        sa.Column("timeline", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("rows_after", NUMBER, nullable=False),
        sa.Column("groups_after", NUMBER, nullable=False),
        sa.Column("welcomes_after", NUMBER, nullable=False),
        sa.Column("restored_at", NUMBER, nullable=False),
    )
    op.create_table(
        "old_logs",
        sa.Column("group_no", NUMBER, sa.ForeignKey("groups.no"), primary_key=True),
        sa.Column("timeline", NUMBER, primary_key=True),
        sa.Column("last", NUMBER, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "brought_rows",
        sa.Column("group_no", NUMBER, sa.ForeignKey("groups.no"), primary_key=True),
        sa.Column("seq", NUMBER, primary_key=True),
        sa.Column("timeline", NUMBER, nullable=False),
        sa.Column("first_seq", NUMBER, nullable=False),
        sa.Column("chain", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "returned",
        sa.Column("device_no", NUMBER, sa.ForeignKey("devices.no"), primary_key=True),
        sa.Column("timeline", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )


def _quotas() -> None:
    """What an establishment may store."""
    op.create_table(
        "usage",
        sa.Column("account_no", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("day", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("establishment", sa.LargeBinary, nullable=False),
        sa.Column("messages", NUMBER, nullable=False),
        sa.Column("bytes", NUMBER, nullable=False),
        sa.Column("files", NUMBER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("usage_by_establishment", "usage", ["establishment", "day"])
