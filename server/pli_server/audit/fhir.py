"""Events as FHIR R4 AuditEvents after the national profile tde-auditevent, in Bundles.

The profile: `type`, `recorded`, `period.start`, one or two `agent` with `who` and `requestor`, a
`source.observer` (interop.esante.gouv.fr/ig/fhir/tde).
"""

import json
import uuid
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from .acts import Act
from .exporting import Event, moment, told
from .tally import INTERVAL_MS

BUNDLE: Final = 500
"""Events of one Bundle."""

PROFILE: Final = "https://interop.esante.gouv.fr/ig/fhir/tde/StructureDefinition/tde-auditevent"
DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
SYSTEM: Final = "urn:uuid:8f2a3a52-6d0c-5c8e-9f46-0d9a5f4b7c11"
"""Our acts and facts, as a code system."""

_TYPES: Final[dict[str, tuple[str, str]]] = {
    Act.SIGN_IN: ("110114", "User Authentication"),
    Act.SIGN_IN_FAILED: ("110114", "User Authentication"),
    Act.CLONE: ("110113", "Security Alert"),
    Act.REVOCATION: ("110137", "User Security Attributes Changed"),
    Act.ENROLMENT_ANSWERED: ("110137", "User Security Attributes Changed"),
    Act.AUDIT_READ: ("110101", "Audit Log Used"),
}
_OTHER_TYPE: Final = ("110100", "Application Activity")

_ACTIONS: Final[dict[str, str]] = {
    Act.MESSAGES: "C",
    Act.GROUP_CREATED: "C",
    Act.GROUP_REFOUNDED: "C",
    Act.REGISTRATION: "C",
    Act.BLOB_STORED: "C",
    Act.ENROLMENT_ASKED: "C",
    Act.BLOB_FETCHED: "R",
    Act.AUDIT_READ: "R",
    Act.KEY_PACKAGES_CLAIMED: "R",
    Act.GROUP_CHANGED: "U",
    Act.REVOCATION: "U",
    Act.LEAVE: "U",
    Act.RETURN: "U",
}
"""Create, read, update; all else is an execution."""

_FAILED: Final = frozenset({Act.SIGN_IN_FAILED.value, Act.CLONE.value})


def bundles(events: Iterable[Event], relay: str) -> Iterator[str]:
    """Bundles of type `collection`, each on one line of JSON, for a stream that may be long."""
    stream = iter(events)
    while some := list(islice(stream, BUNDLE)):
        yield json.dumps(
            {
                "resourceType": "Bundle",
                "type": "collection",
                "entry": [
                    {
                        "fullUrl": f"urn:uuid:{_id(event, relay, no)}",
                        "resource": audit_event(event, relay),
                    }
                    for no, event in enumerate(some)
                ],
            }
        )


def audit_event(event: Event, relay: str) -> dict[str, Any]:
    """One AuditEvent."""
    code, display = _TYPES.get(event.act, _OTHER_TYPE)
    begun = event.body.time - (INTERVAL_MS if "count" in event.body.facts else 0)
    return {
        "resourceType": "AuditEvent",
        "meta": {"profile": [PROFILE]},
        "type": {"system": DCM, "code": code, "display": display},
        "subtype": [{"system": SYSTEM, "code": event.act}],
        "action": _ACTIONS.get(event.act, "E"),
        "period": {"start": moment(begun), "end": moment(event.body.time)},
        "recorded": moment(event.body.time),
        "outcome": "4" if event.act in _FAILED else "0",
        "agent": list(_agents(event)),
        "source": {"observer": {"type": "Device", "display": relay}},
        "entity": [{"detail": list(_details(event))}],
    }


def _agents(event: Event) -> Iterator[dict[str, Any]]:
    """Who did it (or, where that is not known, for which establishment), and with which device."""
    body = event.body
    issuer = body.facts.get("issuer")
    if body.account is not None:
        who = _reference("Practitioner", "account", body.account)
    elif isinstance(issuer, bytes):
        who = _reference("Device", "issuer", issuer)
    elif body.establishment is not None:
        who = _reference("Organization", "establishment", body.establishment)
    else:
        who = {"display": "unknown"}
    yield {"who": who, "requestor": True}
    if body.device is not None:
        yield {"who": _reference("Device", "device", body.device), "requestor": False}


def _reference(kind: str, what: str, value: bytes) -> dict[str, Any]:
    return {"type": kind, "identifier": {"system": f"{SYSTEM}#{what}", "value": value.hex()}}


def _details(event: Event) -> Iterator[dict[str, str]]:
    facts = {**event.body.facts, "timeline": event.timeline, "entry": event.entry}
    for name, fact in facts.items():
        yield {"type": name, "valueString": str(told(fact))}


def _id(event: Event, relay: str, no: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{relay}/{event.timeline}/{event.entry}/{no}")
