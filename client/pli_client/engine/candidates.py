"""Key packages of those to be added: fetched, kept for several tries, and checked."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pli_protocol.identity import Device, IdentityError, Person
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.codec import decode
from pli_protocol.mls.errors import MLSError
from pli_protocol.mls.key_package import KeyPackage
from pli_protocol.mls.leaf_check import check_key_package
from pli_protocol.mls.message import MLSMessage
from pli_protocol.mls.proposal import Add

from ..store import conversations, groups, people
from .profile import SUITE, ProfileError, check_leaf_lifetime
from .work import Work


def accounts_to_claim(
    work: Work, conversation_id: bytes
) -> list[tuple[int, list[people.Account], bytes | None]]:
    """(intent, accounts, or one device alone) whose key packages must be fetched before the commit."""
    found = []
    for intent in conversations.intents(work.db, conversation_id):
        if intent.kind == "add" and takes_nobody(work, conversation_id):
            continue
        if intent.kind in ("add", "create") and "claimed" not in intent.body:
            only = intent.body.get("device")
            device = only if isinstance(only, bytes) else None
            found.append((intent.id, _whose(work, intent.body), device))
    return found


def _whose(work: Work, body: Mapping[str, object]) -> list[people.Account]:
    """Where the accounts of an intent are: with the persons who were meant, else in one's own house."""
    persons = (people.read_person(work.db, p) for p in as_list(body.get("persons") or []))
    meant = [person.address for person in persons if person is not None]
    named = {address.account for address in meant}
    own = work.trust.own.establishment
    rest = [people.Account(own, a) for a in as_list(body["accounts"]) if a not in named]
    return [*meant, *rest]


def takes_nobody(work: Work, conversation_id: bytes) -> bool:
    """Whether the conversation's group is of an old suite: it is re-founded before anybody comes in."""
    row = groups.current(work.db, conversation_id)
    group = None if row is None else work.load(row.group_id)
    return group is not None and group.suite.number != SUITE.number


def keep_claimed(
    work: Work,
    conversation_id: bytes,
    intent_id: int,
    claimed: Sequence[tuple[bytes, bytes, bytes]],
) -> None:
    """Keep what was claimed: key packages are handed out once, the commit may need several tries."""
    for intent in conversations.intents(work.db, conversation_id):
        if intent.id == intent_id:
            body = {**intent.body, "claimed": [list(entry) for entry in claimed]}
            conversations.rewrite_intent(work.db, intent_id, body)


def read_key_package(data: bytes) -> KeyPackage:
    """A key package, bare or in its MLSMessage. Raises CodecError."""
    try:
        body = decode(MLSMessage, data).body
    except MLSError:
        return decode(KeyPackage, data)
    if not isinstance(body, KeyPackage):
        raise ProfileError("key-package")
    return body


def check(
    work: Work, data: bytes, account: bytes | None, suites: Collection[int] | None = None
) -> tuple[KeyPackage, Device]:
    """A key package that may be added. Raises ProfileError, MLSError.

    Args:
        suites: numbers of those that will do; SUITE alone unless it is for an older group.
    """
    package = read_key_package(data)
    if package.cipher_suite not in (suites or (SUITE.number,)):
        raise ProfileError("suite")
    check_key_package(suite(package.cipher_suite), package, work.now_s)
    leaf = package.leaf_node
    check_leaf_lifetime(leaf)
    work.identity.check(leaf.credential, leaf.signature_key)
    device = work.identity.device(leaf.credential)
    try:
        work.trust.device(device.chain, work.now_s)
    except IdentityError as error:
        raise ProfileError(error.rule) from error
    if work.trust.refuses(device) is not None:
        raise ProfileError("revoked")
    if not work.trust.vouches(device.person.establishment, work.now_s):
        raise ProfileError("not-partner")
    if account is not None and device.person.account != account:
        raise ProfileError("account")
    return package, device


def adds_of(
    work: Work, wanted: Mapping[str, object], present: set[bytes], seen: set[bytes]
) -> tuple[list[Add], set[bytes]]:
    """The Adds for what was claimed, and their accounts; devices that are there are left out.

    Args:
        wanted: an intent's body: `accounts` that were asked for, `persons` that were meant by them,
            `claimed` as the relay answered. What it answers beyond that adds nobody.
    """
    adds, accounts = [], set()
    asked = set(as_list(wanted["accounts"]))
    for account, _device, data in as_list(wanted["claimed"]):
        if account not in asked:
            continue
        try:
            package, device = check(work, data, account)
        except (ProfileError, MLSError):
            continue
        if not _meant(work, wanted.get("persons"), device.person):
            continue
        accounts.add(account)
        if device.device_id in present | seen or device.device_id == work.own.device_id:
            continue
        seen.add(device.device_id)
        adds.append(Add(package))
    return adds, accounts


def why_nobody(claimed: object, missing: Collection[bytes]) -> str:
    """Why accounts that were asked for cannot be added: `no-device`, or `old-software`.

    The latter is known by key packages of a suite that is offered no more.
    """
    for account, _device, data in as_list(claimed):
        if account in missing and _offers_old_suite(data):
            return "old-software"
    return "no-device"


def _offers_old_suite(data: bytes) -> bool:
    try:
        return read_key_package(data).cipher_suite != SUITE.number
    except (ProfileError, MLSError):
        return False


def _meant(work: Work, persons: object, person: Person) -> bool:
    """Whether a person is one of those named: an account alone may have come under another key."""
    if person.person_id == work.own.person_id:
        return True
    if persons is None:
        return person.establishment == work.trust.own.establishment
    return person.person_id in as_list(persons)


def as_list(value: object) -> list[Any]:
    """A list out of an intent's body."""
    if not isinstance(value, list | tuple):
        raise TypeError("an intent of another form")
    return list(value)
