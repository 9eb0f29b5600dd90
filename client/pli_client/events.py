"""What a client tells its program: frozen classes, one closed union, `Event`.

Ids are bytes: conversations and persons 16, messages 32. Times are milliseconds since 1970, by the
relay's clock where it is known. Texts are safe to display.
"""

from dataclasses import dataclass

from pli_protocol.content import NoteType, RecordRef

from .connection import ConnectionState
from .message import StoredMessage


@dataclass(frozen=True, slots=True)
class _Numbered:
    index: int
    """Counts up in one vault; 0 for what is not kept (the connection's state)."""


@dataclass(frozen=True, slots=True)
class _InConversation(_Numbered):
    conversation_id: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived(_InConversation):
    """Somebody else's message stands in the history."""

    message: StoredMessage


@dataclass(frozen=True, slots=True)
class MessageSent(_InConversation):
    """An own message is on the relay's disk."""

    message_id: bytes


@dataclass(frozen=True, slots=True)
class MessageFailed(_InConversation):
    """An own message will not be sent; it stays visible, and may be sent again."""

    message_id: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class MessageRefused(_InConversation):
    """What somebody sent was not accepted; its bytes are put aside. `sender` None: unknown."""

    sender: bytes | None
    reason: str


@dataclass(frozen=True, slots=True)
class ConversationJoined(_InConversation):
    """Somebody added this person to a conversation. Its title may follow."""

    by: bytes


@dataclass(frozen=True, slots=True)
class ConversationRenamed(_InConversation):
    """Also when the title becomes known to a newcomer."""

    title: str
    by: bytes


@dataclass(frozen=True, slots=True)
class MemberChanged(_InConversation):
    """Persons came, went, or came back with a device that had lost its state."""

    by: bytes | None
    """None: removed by a commit that this device could not open."""
    added: tuple[bytes, ...]
    removed: tuple[bytes, ...]
    returned: tuple[bytes, ...]
    time: int


@dataclass(frozen=True, slots=True)
class PersonReplaced(_InConversation):
    """A person's identity key was replaced by the establishment, as after a theft.

    `person` counts no more and is removed; `successor`, the same account under another key, is in no
    conversation until a member adds it. Told for each conversation that is shared, and once with a
    conversation of zeros.
    """

    person: bytes
    successor: bytes


@dataclass(frozen=True, slots=True)
class MemberLeaving(_InConversation):
    """A person leaves; shown so until a member has committed it."""

    person: bytes


@dataclass(frozen=True, slots=True)
class ConversationLeft(_InConversation):
    """This person left."""


@dataclass(frozen=True, slots=True)
class ChangeRefused(_InConversation):
    """A change of members that was asked for did not come about."""

    reason: str
    accounts: tuple[bytes, ...] = ()
    """Of persons who have no device that can be added, where that is the reason: `no-device`; or
    `old-software`, where their devices offer only a cipher suite of before."""


@dataclass(frozen=True, slots=True)
class RecordAttached(_InConversation):
    """A message belongs to a record. `act` is the message that says so, or the message itself."""

    message_id: bytes
    record: RecordRef
    note_type: NoteType | None
    by: bytes
    act: bytes


@dataclass(frozen=True, slots=True)
class RecordDetached(_InConversation):
    message_id: bytes
    record: RecordRef
    by: bytes
    act: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class RecordObjected(_InConversation):
    """Somebody who may not detach objects."""

    message_id: bytes
    record: RecordRef
    by: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Filed(_InConversation):
    """The DUI filed a message in a record; its signed receipt verifies."""

    message_id: bytes
    record: RecordRef
    number: str
    by: bytes


@dataclass(frozen=True, slots=True)
class FilingRefused(_InConversation):
    """The DUI did not file a message."""

    message_id: bytes
    record: RecordRef
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class RecordForwarded(_InConversation):
    """For a bot: somebody hands over a message with its proof, to be filed or struck.

    `message.content.body` is the Forward; answer with `Client.answer`.
    """

    message: StoredMessage


@dataclass(frozen=True, slots=True)
class HistoryGap(_InConversation):
    """So many rows of the log could not be read by this device; it is a member again."""

    rows: int
    reason: str


@dataclass(frozen=True, slots=True)
class CannotGoOn(_InConversation):
    """This device lost its place in the group and asks to be added again.

    `state` is `refused` (a commit that does not hold; `culprit` is the person whose device sent it)
    or `lost` (its own state).
    """

    state: str
    reason: str
    culprit: bytes | None


@dataclass(frozen=True, slots=True)
class ConversationRefounded(_InConversation):
    """The conversation goes on in a new group. `left_out`: persons that are not in it.

    `by` None: it was re-founded without this person.
    """

    by: bytes | None
    left_out: tuple[bytes, ...]
    culprit: bytes | None


@dataclass(frozen=True, slots=True)
class ConversationStopped(_InConversation):
    """The relay's log contradicts itself; nothing more is taken from it, the evidence is kept."""

    reason: str


@dataclass(frozen=True, slots=True)
class RelayContradicted(_InConversation):
    """A member saw another log than this device did: the relay shows two pasts."""

    by: bytes
    seq: int


@dataclass(frozen=True, slots=True)
class WelcomeRefused(_Numbered):
    """Somebody tried to add this device, and it was not accepted."""

    reason: str


@dataclass(frozen=True, slots=True)
class RevocationsChanged(_Numbered):
    """A newer revocation list counts."""

    list_number: int


@dataclass(frozen=True, slots=True)
class RevocationsHidden(_Numbered):
    """A newer revocation list exists than the relay serves, or it serves one that does not check."""

    reason: str


@dataclass(frozen=True, slots=True)
class AuthorityChanged(_Numbered):
    """Another authority follows the establishment's; see Client.pending_authority."""

    change_number: int
    compromised: bool


@dataclass(frozen=True, slots=True)
class DeviceRevoked(_Numbered):
    """A person said that a device of theirs counts no more; `reason` as in a revocation list."""

    person: bytes
    device: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class LogContradicted(_Numbered):
    """The relay's audit log is not the one that it committed to; the signed evidence is kept.

    `reason`: `another-key` (signed by another key than ever), `signature` (signed by none), `forked` (another
    content at the same size), `truncated` (shorter than it was), `set-back` (an older timeline),
    `inconsistent` (its proof does not hold), `refused` (it does not prove what an honest relay always can).
    `by`: the person whose message showed the other head; None: the relay itself.
    """

    reason: str
    by: bytes | None


@dataclass(frozen=True, slots=True)
class LogBegunAnew(_Numbered):
    """The relay was restored from a backup: its audit log begins anew in another timeline.

    `before` and `size`: the timeline of before, and how many entries it had when last seen.
    """

    timeline: int
    before: int
    size: int


@dataclass(frozen=True, slots=True)
class PartnerChanged(_Numbered):
    """One's own authority signed something new about a partner establishment."""

    establishment: bytes
    name: str
    counts: bool
    """False: the partnership has ended; conversations with its people end too."""
    until: int


@dataclass(frozen=True, slots=True)
class PartnerRefused(_Numbered):
    """The relay served a partner statement that does not check; nothing came of it."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionChanged(_Numbered):
    """Not kept: only for who listens now."""

    state: ConnectionState


Event = (
    MessageReceived
    | MessageSent
    | MessageFailed
    | MessageRefused
    | ConversationJoined
    | ConversationRenamed
    | MemberChanged
    | PersonReplaced
    | MemberLeaving
    | ConversationLeft
    | ChangeRefused
    | RecordAttached
    | RecordDetached
    | RecordObjected
    | Filed
    | FilingRefused
    | RecordForwarded
    | HistoryGap
    | CannotGoOn
    | ConversationRefounded
    | ConversationStopped
    | RelayContradicted
    | WelcomeRefused
    | RevocationsChanged
    | RevocationsHidden
    | AuthorityChanged
    | DeviceRevoked
    | LogContradicted
    | LogBegunAnew
    | PartnerChanged
    | PartnerRefused
    | ConnectionChanged
)
"""Everything that `Client.events` gives."""
