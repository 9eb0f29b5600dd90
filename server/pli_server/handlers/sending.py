"""Send, CreateGroup, AskReturn: everything that appends a row to a log."""

from pli_protocol.identity import IdentityError
from pli_protocol.relay import frames as f

from ..errors import Refusal, StorageFailed
from ..group_log.appending import AppendJob, ReturnJob, SendJob
from ..group_log.creation import CreateJob
from ..group_log.header import Header, read_header, roster_change
from ..relay import Relay
from ..session import Session
from ..storage.transaction import COMMIT


async def _whole(relay: Relay, payload: f.Payload) -> bytes:
    """The bytes of a payload, from the blob where it is one, checked against its reference."""
    if not isinstance(payload, f.BlobRef):
        return payload
    return await relay.blobs.run(relay.blobs.read_checked, payload, relay.limits.handshake_bytes)


async def _header(relay: Relay, payload: f.Payload, message: bytes) -> Header:
    """A large message is read beside the loop."""
    if isinstance(payload, f.BlobRef):
        return await relay.blobs.run(read_header, message)
    return read_header(message)


def _submit(relay: Relay, session: Session, job: AppendJob) -> None:
    if not session.open:
        # Replaced, revoked or found out as a clone while the request was checked.
        return
    session.begin_request()
    try:
        relay.writer.submit(job)
    except (Refusal, StorageFailed):
        session.end_request()
        raise


async def send(relay: Relay, session: Session, frame: f.Send) -> None:
    """Check what can be checked without the database, then queue it; the answer comes after COMMIT."""
    message = await _whole(relay, frame.message)
    header = await _header(relay, frame.message, message)
    change = None
    if header.kind == COMMIT:
        change = roster_change(header, relay.limits.members_per_group)
        if frame.welcome is not None:
            await _whole(relay, frame.welcome)
    elif frame.welcome is not None:
        raise Refusal("invalid", "a Welcome goes with a commit only")
    elif isinstance(frame.message, f.BlobRef):
        raise Refusal("invalid", "only a commit may be a blob")
    job = SendJob(
        relay,
        session,
        frame.rid,
        frame.send_id,
        frame.previous,
        frame.message,
        header,
        change,
        frame.welcome,
    )
    _submit(relay, session, job)


async def create_group(relay: Relay, session: Session, frame: f.CreateGroup) -> None:
    """Check the first commit's header, then queue it."""
    header = await _header(relay, frame.commit, await _whole(relay, frame.commit))
    if header.kind != COMMIT or header.group_id != frame.group or header.epoch != 0:
        raise Refusal("invalid", "the first row is this group's commit of epoch 0")
    change = roster_change(header, relay.limits.members_per_group)
    if change.removed:
        raise Refusal("roster", "the first commit removes nobody")
    if frame.predecessor == frame.group:
        raise Refusal("invalid", "a group does not re-found itself")
    if frame.welcome is not None:
        await _whole(relay, frame.welcome)
    _submit(relay, session, CreateJob(relay, session, frame, change))


async def ask_return(relay: Relay, session: Session, frame: f.AskReturn) -> None:
    """Check the signed request, then queue it."""
    assert session.device is not None
    try:
        checked = await relay.checker.run(
            relay.checker.return_request, frame.request, session.establishment
        )
    except IdentityError:
        raise Refusal("invalid", "not a request to return that checks") from None
    if (
        checked.statement.device_id != session.device.device_id
        or checked.statement.group != frame.group
    ):
        raise Refusal("invalid", "the request names another device or group")
    job = ReturnJob(relay, session, frame.rid, frame.group, frame.send_id, frame.request)
    _submit(relay, session, job)
