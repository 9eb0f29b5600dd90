"""Who is who: certificates, chains, statements, invitations, safety numbers.

`authority -> issuer -> person -> device`, X.509 with Ed25519 keys. A person is the pair (authority,
identity key). `certificates` makes them, `chain` checks them, `Trust` answers for one establishment.
"""

from .certificates import DEVICE_DAYS, Kind, make_authority, make_device, make_issuer, make_person
from .chain import (
    Authority,
    Device,
    Issuer,
    Person,
    fingerprint,
    key_id,
    kind_of,
    person_id,
    verify_authority,
    verify_device,
    verify_issuer,
    verify_person,
)
from .comparison import fingerprint_text, safety_number
from .errors import IdentityError, InvitationError, StatementError
from .invitation import Invitation
from .keys import SigningKey, verify
from .partner_code import PartnerCode
from .statements import (
    AuthorityChange,
    Checked,
    DeviceRevocation,
    EnrolmentKey,
    LeaveStatement,
    PartnerStatement,
    Replacement,
    ReturnRequest,
    RevocationEntry,
    RevocationList,
    list_hash,
    sign,
    statement_type,
    verify_statement,
)
from .succession import decode_change, encode_change
from .trust import ListHead, Refusal, Trust

__all__ = [
    "DEVICE_DAYS",
    "Authority",
    "AuthorityChange",
    "Checked",
    "Device",
    "DeviceRevocation",
    "EnrolmentKey",
    "IdentityError",
    "Invitation",
    "InvitationError",
    "Issuer",
    "Kind",
    "LeaveStatement",
    "ListHead",
    "PartnerCode",
    "PartnerStatement",
    "Person",
    "Refusal",
    "Replacement",
    "ReturnRequest",
    "RevocationEntry",
    "RevocationList",
    "SigningKey",
    "StatementError",
    "Trust",
    "decode_change",
    "encode_change",
    "fingerprint",
    "fingerprint_text",
    "key_id",
    "kind_of",
    "list_hash",
    "make_authority",
    "make_device",
    "make_issuer",
    "make_person",
    "person_id",
    "safety_number",
    "sign",
    "statement_type",
    "verify",
    "verify_authority",
    "verify_device",
    "verify_issuer",
    "verify_person",
    "verify_statement",
]
