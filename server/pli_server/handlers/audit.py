"""The relay's log, for who signed in: its newest head, consistency, the inclusion of own rows."""

import sqlalchemy as sa

from pli_protocol.relay import frames as f
from pli_protocol.transparency import SignedHead, consistency_path

from ..audit import reading as log
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from .reading import member_of


async def get_head(relay: Relay, session: Session, frame: f.GetHead) -> f.Head:
    """The newest head: never older than one that any node has given before."""
    return f.Head(frame.rid, await _head(relay, relay.timeline))


async def get_consistency(relay: Relay, session: Session, frame: f.GetConsistency) -> f.Consistency:
    """The proof between two sizes that the log has reached."""

    def read(db: sa.Connection) -> tuple[bytes, ...]:
        if not frame.first <= frame.second <= log.tree(db, frame.timeline).size:
            raise Refusal("not-found")
        nodes = log.node_reader(db, frame.timeline)
        return consistency_path(frame.first, frame.second, nodes)

    return f.Consistency(frame.rid, await relay.readers.run(read))


async def get_inclusion(relay: Relay, session: Session, frame: f.GetInclusion) -> f.Inclusion:
    """The proof of one row, to a device whose row it is: it shows nothing of the others beside it."""

    def read(db: sa.Connection) -> f.Inclusion:
        member = member_of(db, frame.group, session.device_no)
        last = member.last if member.until is None else member.until
        if not member.since < frame.seq <= last:
            raise Refusal("not-found")
        found = log.row_proof(db, member.no, frame.seq)
        if found is None:
            raise Refusal("not-found")
        timeline, tree, proof = found
        return f.Inclusion(frame.rid, relay.heads.sign(timeline, tree, relay.clock()), proof)

    return await relay.readers.run(read)


async def _head(relay: Relay, timeline: int) -> SignedHead:
    tree = await relay.readers.run(lambda db: log.tree(db, timeline))
    return relay.heads.sign(timeline, tree, relay.clock())
