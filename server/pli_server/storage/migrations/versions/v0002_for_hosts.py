"""What a host needs for years: portable types, the trace, accounts, succession, timelines, quotas."""

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


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


def _trace() -> None:
    """The audit log."""


def _accounts() -> None:
    """Password, second factor, recovery codes, attempts."""


def _succession() -> None:
    """Replaced identity keys, changed authorities, issuers that followed others."""


def _partners() -> None:
    """Partner statements between establishments."""


def _timelines() -> None:
    """Backups, restored relays, what clients bring back."""


def _quotas() -> None:
    """What an establishment may store."""
