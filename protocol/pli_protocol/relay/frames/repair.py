"""What clients bring to a relay that was restored from a backup."""

from typing import Annotated

from msgspec import Meta, Struct

from ...transparency import SignedHead
from .values import (
    WINDOW,
    Chain,
    Frame,
    GroupId,
    Id16,
    Id32,
    Number,
    Payload,
    Position,
    Request,
    Rid,
    Short,
    Time,
)


class BringDevices(Request, frozen=True):
    """Chains (device, person, issuer) of devices that the relay may have forgotten."""

    chains: Annotated[tuple[Chain, ...], Meta(min_length=1, max_length=8)]


class BroughtRow(Struct, frozen=True, forbid_unknown_fields=True):
    """A row as it was accepted in an older timeline."""

    seq: Number
    epoch: Number
    kind: Short
    sender: Id16
    send_id: Id16
    time: Time
    message: Payload
    chain: Id32


class BringRows(Request, frozen=True):
    """Rows of an older timeline, in order, that follow what the relay holds of it; none of them: ask.

    Answered by LogHeld. `predecessor` counts where the rows open a group. `head`: one that the relay
    signed in this timeline, which its backup may not know of.
    """

    group: GroupId
    timeline: Number
    rows: Annotated[tuple[BroughtRow, ...], Meta(max_length=WINDOW)] = ()
    predecessor: GroupId | None = None
    head: SignedHead | None = None


class LogHeld(Frame, frozen=True):
    """How far the relay holds a group's log of an older timeline."""

    rid: Rid
    last: Number
    """0: nothing of it."""
    chain: Id32
    began: Number
    """The `seq` after which the current timeline begins for this device in this group."""
    epoch: Number
    last_send: Id16 | None = None
    """The newest send of this device that the relay holds."""
    joined: Id32 | None = None
    """Of a device that is a member by a commit that was brought, at `began`: the new chain there."""


class BringWelcome(Request, frozen=True):
    """The Welcome of a commit of this device, by the commit's first position."""

    group: GroupId
    position: Position
    welcome: Payload


class BroughtAll(Request, frozen=True):
    """This device has nothing more to bring. `head`: the newest of the last timeline's log that it saw."""

    head: SignedHead | None = None


FromClient = BringDevices | BringRows | BringWelcome | BroughtAll
FromRelay = LogHeld
