"""The professional's and the integrator's side of Pli.

    async with pli_client.connect(folder, passphrase) as me:
        team = await me.start("Étage 2", ["Benoît Martin"])
        sent = await team.send("Mme Petit a bien dormi.", record="dui|1234")
        await sent.stored()
        async for event in me.events():
            ...

Names are loaded when they are first used, so that a command that only prints its help stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client
    from .connecting import connect, join, link
    from .conversation import Conversation, ConversationMember, SentMessage
    from .engine.timing import Timing
    from .errors import PliError
    from .events import Event
    from .message import Attachment, StoredMessage
    from .store.people import KnownPerson

_HOMES = {
    "Client": "client",
    "connect": "connecting",
    "join": "connecting",
    "link": "connecting",
    "Conversation": "conversation",
    "ConversationMember": "conversation",
    "SentMessage": "conversation",
    "Timing": "engine.timing",
    "PliError": "errors",
    "Event": "events",
    "Attachment": "message",
    "StoredMessage": "message",
    "KnownPerson": "store.people",
}

__all__ = [
    "Attachment",
    "Client",
    "Conversation",
    "ConversationMember",
    "Event",
    "KnownPerson",
    "PliError",
    "SentMessage",
    "StoredMessage",
    "Timing",
    "connect",
    "join",
    "link",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(name)
    return getattr(import_module(f".{home}", __name__), name)
