"""Pushes to this node's people about what another node stored for their establishment."""

from typing import TYPE_CHECKING

from pli_protocol.relay import frames as f

from ..storage.partners import concerned, partners_of

if TYPE_CHECKING:
    from ..checker import Known
    from ..relay import Relay


async def tell_changes(relay: "Relay", before: "Known", now: "Known") -> None:
    """The frames that the node which stored it has pushed to its own; hearing twice does no harm."""
    establishment = now.id
    partners = await relay.readers.run(lambda db: partners_of(db, establishment, relay.clock()))
    for told in (establishment, *partners):
        if now.number > before.number:
            relay.tell_establishment(told, f.RevocationsChanged(establishment, now.number))
        if now.newest_statement > before.newest_statement:
            relay.tell_establishment(told, f.StatementsChanged(establishment, now.newest_statement))
    if now._replace(revision=before.revision) == before:
        # Nothing that is known here: certificates of its people.
        relay.tell_establishment(establishment, f.DirectoryChanged(establishment))
    if now.partners != before.partners:
        others = await relay.readers.run(lambda db: concerned(db, establishment, relay.clock()))
        for told in (establishment, *others):
            relay.tell_establishment(told, f.PartnersChanged())
