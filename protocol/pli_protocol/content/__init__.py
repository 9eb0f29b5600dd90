"""What members say to each other: the application data of MLS messages.

`Message` and its bodies, `encode` and `decode`, `message_id`, and `Proof`, which shows who wrote one
message without showing anything else.
"""

from .codec import MAX_CONTENT, MAX_WITH_PROOF, ContentError, decode, encode, message_id
from .messages import (
    CONVERSATION_EXTENSION,
    NOTE_TYPES,
    Attach,
    Body,
    Detach,
    Filed,
    FilePart,
    Forward,
    Info,
    LogHead,
    Message,
    NoteType,
    Objection,
    Part,
    Post,
    Proof,
    Receipt,
    RecordRef,
    Rename,
    RevocationHead,
    TextPart,
)

__all__ = [
    "CONVERSATION_EXTENSION",
    "MAX_CONTENT",
    "MAX_WITH_PROOF",
    "NOTE_TYPES",
    "Attach",
    "Body",
    "ContentError",
    "Detach",
    "FilePart",
    "Filed",
    "Forward",
    "Info",
    "LogHead",
    "Message",
    "NoteType",
    "Objection",
    "Part",
    "Post",
    "Proof",
    "Receipt",
    "RecordRef",
    "Rename",
    "RevocationHead",
    "TextPart",
    "decode",
    "encode",
    "message_id",
]
