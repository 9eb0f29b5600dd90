"""Blobs: ciphertext of files, and payloads too large for a frame. Who knows the id may fetch it."""

from typing import Any, Final

import sqlalchemy as sa

from pli_protocol.relay import frames as f

from ..audit.acts import Act, blob_name
from ..errors import Refusal
from ..relay import Relay
from ..session import Session
from ..settings import Limits
from ..storage import tables as t
from ..storage.blobs import GIVEN_UP
from ..storage.transaction import Transaction
from ..storage.usage import Amount

RETRY_MS: Final = 1_000

SMALLEST: Final = 64 * 1024
"""Bytes that a blob counts for at least."""


async def put_blob(relay: Relay, session: Session, frame: f.PutBlob) -> f.Done:
    """Take one part: noted at the first, flushed, put in place at the last."""
    limits = relay.limits
    if frame.size > limits.blob_bytes:
        raise Refusal("too-large", f"a blob has at most {limits.blob_bytes} bytes")
    end = frame.offset + len(frame.data)
    if end > frame.size:
        raise Refusal("invalid", "the part reaches beyond the blob's size")
    if frame.offset % f.BLOB_PART or (len(frame.data) < f.BLOB_PART and end < frame.size):
        raise Refusal("invalid", f"each part but the last one has {f.BLOB_PART} bytes")
    known = await relay.readers.run(lambda db: db.execute(_BLOB, {"blob": frame.blob}).first())
    if known is None:
        await relay.writer.do(
            "blob", lambda tx: _reserve(tx, session, frame, limits), owners=session.owners
        )
    elif not _own(known, session):
        raise Refusal("not-found")
    elif known.size != frame.size:
        raise Refusal("conflict", "this blob was begun with another size")
    elif known.complete:
        return f.Done(frame.rid)
    elif known.created == GIVEN_UP:
        raise _given_up()
    held = await relay.blobs.run(relay.blobs.put, frame.blob, frame.offset, frame.size, frame.data)
    if held == frame.size:
        await relay.blobs.run(relay.blobs.place, frame.blob, frame.size)
        done = await relay.writer.do("blob", lambda tx: _complete(tx, session, frame), owners=())
        if not done:
            raise _given_up()
    return f.Done(frame.rid)


async def get_upload(relay: Relay, session: Session, frame: f.GetUpload) -> f.Upload:
    """Where an upload of one's own goes on."""
    known = await relay.readers.run(lambda db: db.execute(_BLOB, {"blob": frame.blob}).first())
    if known is None or not _own(known, session):
        raise Refusal("not-found")
    if known.complete:
        return f.Upload(frame.rid, known.size)
    return f.Upload(frame.rid, await relay.blobs.run(relay.blobs.held, frame.blob, known.size))


async def get_blob(relay: Relay, session: Session, frame: f.GetBlob) -> f.BlobPart:
    """One part, from an offset on; empty at the end."""
    known = await relay.readers.run(lambda db: db.execute(_BLOB, {"blob": frame.blob}).first())
    if known is None or not known.complete:
        raise Refusal("not-found")
    if session.fetching != frame.blob:
        # Once for its parts, and after the answer: what is stored is served from a full disk too.
        session.fetching = frame.blob
        name = blob_name(frame.blob)
        relay.writer.note("blob-fetch", lambda tx: session.trace(tx, Act.BLOB_FETCHED, blob=name))
    if frame.offset >= known.size:
        return f.BlobPart(frame.rid, known.size, b"")
    data = await relay.blobs.run(relay.blobs.get, frame.blob, frame.offset, known.size)
    return f.BlobPart(frame.rid, known.size, data)


def _own(known: sa.Row[Any], session: Session) -> bool:
    account = session.account_no if session.device is not None else None
    return bool(known.account_no == account and known.establishment == session.establishment)


def _reserve(tx: Transaction, session: Session, frame: f.PutBlob, limits: Limits) -> None:
    account = session.account_no if session.device is not None else None
    known = tx.connection.execute(_BLOB, {"blob": frame.blob}).first()
    if known is not None:
        # Two connections began at once: the second one goes on with the next part.
        raise Refusal("conflict", "this blob was begun just now")
    owner = (
        t.blobs.c.establishment == session.establishment,
        t.blobs.c.account_no == account if account is not None else t.blobs.c.account_no.is_(None),
    )
    counted = sa.func.sum(sa.case((t.blobs.c.size < SMALLEST, SMALLEST), else_=t.blobs.c.size))
    used = tx.connection.scalar(sa.select(counted).where(*owner))
    if (used or 0) + max(frame.size, SMALLEST) > limits.blob_bytes_per_account:
        raise Refusal("limit", "this account has stored too many bytes")
    open_uploads = sa.select(sa.func.count()).where(*owner, t.blobs.c.complete == 0)
    if (tx.connection.scalar(open_uploads) or 0) >= limits.open_uploads_per_account:
        raise Refusal("limit", "this account has too many uploads under way")
    tx.usage.room(tx.connection, session.establishment, max(frame.size, SMALLEST))
    tx.connection.execute(
        sa.insert(t.blobs).values(
            blob=frame.blob,
            account_no=account,
            establishment=session.establishment,
            size=frame.size,
            complete=0,
            created=tx.now,
        )
    )


def _complete(tx: Transaction, session: Session, frame: f.PutBlob) -> bool:
    """Whether the blob is complete now, by this part or by the same one before it."""
    begun = (t.blobs.c.blob == frame.blob, t.blobs.c.complete == 0, t.blobs.c.created != GIVEN_UP)
    if tx.connection.execute(sa.update(t.blobs).where(*begun).values(complete=1)).rowcount:
        if session.device is not None:
            tx.store(session.account_no, Amount(files=max(frame.size, SMALLEST)))
        session.trace(tx, Act.BLOB_STORED, blob=blob_name(frame.blob), size=frame.size)
        return True
    known = tx.connection.execute(_BLOB, {"blob": frame.blob}).first()
    return known is not None and bool(known.complete)


def _given_up() -> Refusal:
    """The sweep is taking away what was held: it begins anew after that."""
    return Refusal("try-later", "this upload was abandoned", retry_after=RETRY_MS)


_BLOB = sa.select(t.blobs).where(t.blobs.c.blob == sa.bindparam("blob"))
