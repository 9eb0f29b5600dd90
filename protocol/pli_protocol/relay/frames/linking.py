"""Linking a further device: a request and a sealed letter, which the relay only carries."""

from typing import Annotated

from msgspec import Meta

from .values import Frame, Id16, Inline, Request, Rid

MAX_REQUEST = 4 * 1024
"""Bytes of the largest linking request."""

AskedToLink = Annotated[bytes, Meta(min_length=1, max_length=MAX_REQUEST)]


class RequestLinking(Request, frozen=True):
    """Leave a request for the account that was opened (identity.linking); one waits at a time.

    `request_id` is linking.request_id of the request. `device` is the id of the device that asks: it, and
    no other, may sign in once the request was answered.
    """

    request_id: Id16
    device: Id16
    request: AskedToLink


class FetchLinking(Request, frozen=True):
    """Ask for the letter; it is also pushed on the connection that asked last."""

    request_id: Id16


class LinkingAnswer(Frame, frozen=True):
    """Answer to FetchLinking, or a push with rid None: the sealed letter; None: not yet."""

    request_id: Id16
    sealed: Inline | None = None
    rid: Rid | None = None


class GetLinking(Request, frozen=True):
    """The request that waits for one's own account."""


class Linking(Frame, frozen=True):
    rid: Rid
    request: AskedToLink | None = None


class AnswerLinking(Request, frozen=True):
    """The sealed letter: the relay knows the device that asked when it signs in."""

    request_id: Id16
    sealed: Inline


FromClient = RequestLinking | FetchLinking | GetLinking | AnswerLinking
FromRelay = LinkingAnswer | Linking
