"""One frame: decode it, check that it is allowed now, let its handler work, answer."""

import inspect
from typing import Final

from pli_protocol.relay.codec import FrameError, decode_client_frame
from pli_protocol.relay.frames import Hello

from .errors import Refusal, StorageFailed
from .handlers import HANDLERS, UNANSWERED
from .relay import Relay
from .session import ACCOUNT, CLOSE_GOING_AWAY, CLOSE_POLICY, GREETED, GREETING, Session

UNSIGNED: Final = (GREETING, GREETED, ACCOUNT)
"""The states in which nobody has signed in."""


async def step(relay: Relay, session: Session, data: bytes | str) -> None:
    """One frame: decode, check that it is allowed now, handle, answer."""
    if isinstance(data, str):
        session.refuse(None, Refusal("bad-frame", "frames are binary"))
        return
    try:
        frame = decode_client_frame(data)
    except FrameError:
        session.refuse(None, Refusal("bad-frame"))
        return
    rid: int | None = getattr(frame, "rid", None)
    kind = type(frame)
    relay.metrics.frames[kind.__name__] += 1
    handler = HANDLERS[kind]
    if session.state not in handler.states:
        _not_now(session, rid, kind)
        return
    if session.state in UNSIGNED:
        session.requests += 1
        if session.requests > relay.limits.unsigned_requests:
            session.refuse(rid, Refusal("limit", "too many requests before signing in"))
            session.close(CLOSE_POLICY)
            return
    try:
        answer = handler.function(relay, session, frame)
        if inspect.isawaitable(answer):
            answer = await answer
    except Refusal as refusal:
        if kind not in UNANSWERED:
            session.refuse(rid, refusal)
    except StorageFailed:
        # Whether it was stored is not known: no answer is the honest one.
        session.close(CLOSE_GOING_AWAY)
    else:
        if answer is not None:
            session.answer(answer)


def _not_now(session: Session, rid: int | None, kind: type) -> None:
    """Before its time: out of order. Of the other role (an issuer's, a device's): not to be seen."""
    if session.state in UNSIGNED or kind is Hello or GREETED in HANDLERS[kind].states:
        session.refuse(rid, Refusal("out-of-order"))
    elif rid is not None:
        session.refuse(rid, Refusal("not-found"))
