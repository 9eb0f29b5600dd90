"""What an establishment may have: counted where something is added, inside the write transaction."""

import sqlalchemy as sa

from ..errors import Refusal
from . import tables as t


def room_for_account(db: sa.Connection, establishment: bytes, limit: int) -> None:
    """Raises Refusal "limit" where the establishment has as many accounts as it may have."""
    # A sign-in finds out late that it adds an account: other nodes wait here until it is counted.
    db.execute(
        sa.select(t.establishments.c.id)
        .where(t.establishments.c.id == establishment)
        .with_for_update(key_share=True)
    )
    count = sa.select(sa.func.count()).where(t.accounts.c.establishment == establishment)
    if (db.scalar(count) or 0) >= limit:
        raise Refusal("limit", f"an establishment has at most {limit} accounts")
