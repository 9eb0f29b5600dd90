"""Leases: work that one node at a time does for all, as long as it says so in time."""

import sqlalchemy as sa

from ..storage import tables as t
from ..storage.transaction import Transaction


def take(tx: Transaction, name: str, holder: bytes, seconds: int) -> bool:
    """Whether this node does the work from now on, for so long; false while another node has it.

    A lease that was not given back ends by its time. What is done under it must be safe if two nodes do it:
    a node that was stopped in the middle wakes up and goes on.
    """
    values = {"holder": holder, "until": tx.now + 1000 * seconds}
    free = sa.or_(t.leases.c.holder == holder, t.leases.c.until <= tx.now)
    taken = tx.connection.execute(
        sa.update(t.leases).where(t.leases.c.name == name, free).values(values)
    )
    if taken.rowcount:
        return True
    if tx.connection.execute(sa.select(t.leases.c.name).where(t.leases.c.name == name)).first():
        return False
    # Two nodes may come here at once: the second one's request meets the key, and is refused.
    tx.connection.execute(sa.insert(t.leases).values(name=name, **values))
    return True
