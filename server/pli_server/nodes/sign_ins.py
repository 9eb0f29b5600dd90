"""The newest connection of a device counts, on whichever node: its number lies in the database."""

import sqlalchemy as sa

from ..errors import Refusal
from ..session import Session
from ..storage import tables as t
from ..storage.transaction import Transaction


def require_newest(tx: Transaction, session: Session) -> None:
    """Refuse what an older connection of the device asks for, when order matters (decision 12).

    A node that was stopped finds requests in its sockets that the device has long made elsewhere.

    Raises:
        Refusal: "replaced", which closes the connection.
    """
    newest = tx.connection.scalar(
        sa.select(t.devices.c.session).where(t.devices.c.no == session.device_no)
    )
    if newest != session.sign_in:
        raise Refusal("replaced")
