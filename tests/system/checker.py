"""The checker of reliability.md's invariants I1 to I5, over all vaults and the relay's database.

It runs when all clients are closed. It trusts no vault about membership: who was a member when is read
from the commits in the relay's logs.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .relay_state import Log, read_relay
from .vault_state import HeldMessage, VaultState, read_vault
from .world import PASSPHRASE, World

FINAL = {"stored", "received", "failed", "refused"}


@dataclass(frozen=True)
class Findings:
    """What is wrong, one sentence each; empty when all invariants hold."""

    problems: list[str] = field(default_factory=list)

    def note(self, invariant: str, text: str) -> None:
        self.problems.append(f"{invariant}: {text}")


async def check(
    world: World, acknowledged: Collection[bytes] = (), *, returned: Collection[str] = ()
) -> list[VaultState]:
    """Assert I1 to I5.

    Args:
        acknowledged: ids of messages that were reported as stored.
        returned: people whose device lost its state, so that a gap is right.

    Returns:
        The vaults' states, for a test's own questions.
    """
    vaults = [await read_vault(who, folder, PASSPHRASE) for who, folder in world.vaults().items()]
    logs = read_relay(world.relay)
    findings = Findings()
    _nothing_lost(findings, vaults, logs, acknowledged, returned)
    _nothing_twice(findings, vaults)
    _the_relays_rows(findings, vaults, logs, returned)
    _one_order(findings, vaults)
    _one_state(findings, vaults, logs)
    _every_send_ended(findings, vaults)
    assert not findings.problems, "\n" + "\n".join(findings.problems)
    return vaults


def _nothing_lost(
    findings: Findings,
    vaults: Sequence[VaultState],
    logs: dict[bytes, Log],
    acknowledged: Collection[bytes],
    returned: Collection[str],
) -> None:
    placed: dict[tuple[bytes, tuple[int, int]], dict[bytes, HeldMessage]] = {}
    for vault in vaults:
        for message in vault.messages:
            if message.group_id is not None and message.kind != "members":
                at = placed.setdefault((message.group_id, message.place[1:]), {})
                at[message.message_id] = message
    known = {message_id for at in placed.values() for message_id in at}
    for message_id in acknowledged:
        if message_id not in known:
            findings.note("I1", f"acknowledged message {message_id.hex()[:8]} stands nowhere")
    for (group_id, place), at in placed.items():
        log = logs.get(group_id)
        if log is None or place not in log.roster:
            findings.note("I1", f"{_text(at)} stands at a place that the relay's log does not have")
            continue
        for vault in vaults:
            if vault.device_id not in log.roster[place] or vault.who in returned:
                continue
            if vault.device_id in log.left:
                continue
            held = {m.message_id for m in vault.messages}
            if missing := set(at) - held:
                findings.note(
                    "I1", f"{vault.who} lacks {_text({i: at[i] for i in missing})} (row {place})"
                )


def _nothing_twice(findings: Findings, vaults: Sequence[VaultState]) -> None:
    for vault in vaults:
        ids = Counter(m.message_id for m in vault.messages)
        contents = Counter((m.sender, m.content) for m in vault.messages if m.kind == "post")
        places = Counter(
            (m.group_id, m.place)
            for m in vault.messages
            if m.group_id is not None and m.kind != "members"
        )
        for found in (ids, contents, places):
            for what, count in found.items():
                if count > 1:
                    findings.note("I2", f"{vault.who} shows something {count} times: {what!r}")


def _the_relays_rows(
    findings: Findings,
    vaults: Sequence[VaultState],
    logs: dict[bytes, Log],
    returned: Collection[str],
) -> None:
    """What was received is what the relay's log holds; of a lost timeline, at least each send."""
    for vault in vaults:
        for (group_id, place), chain in vault.chains.items():
            log = logs.get(group_id)
            held = None if log is None else log.chains.get(place)
            sent = log is not None and vault.sends[group_id, place] in {
                row.send_id for row in log.rows
            }
            if (held or chain) != chain or not (sent or vault.who in returned):
                findings.note("I3", f"{vault.who} holds a row that is not the relay's: {place}")


def _one_order(findings: Findings, vaults: Sequence[VaultState]) -> None:
    for conversation in {c for vault in vaults for c in vault.conversations}:
        orders = {
            vault.who: [m.message_id for m in vault.messages if _shown(m, conversation)]
            for vault in vaults
        }
        for first in vaults:
            for second in vaults:
                common = set(orders[first.who]) & set(orders[second.who])
                one = [m for m in orders[first.who] if m in common]
                two = [m for m in orders[second.who] if m in common]
                if first.who < second.who and one != two:
                    findings.note("I3", f"{first.who} and {second.who} show another order")
        for vault in vaults:
            own = [
                m
                for m in vault.messages
                if _shown(m, conversation)
                and m.device_id == vault.device_id
                and m.state == "stored"
                and m.kind == "post"
            ]
            if [m.number for m in own] != sorted(m.number for m in own):
                findings.note("I3", f"{vault.who}'s own messages are not in the order of sending")


def _shown(message: HeldMessage, conversation: bytes) -> bool:
    return message.conversation_id == conversation and message.group_id is not None


def _one_state(findings: Findings, vaults: Sequence[VaultState], logs: dict[bytes, Log]) -> None:
    for group_id, log in logs.items():
        if log.successor is not None:
            continue
        values = {}
        for vault in vaults:
            if vault.device_id not in log.members or vault.device_id in log.left:
                continue
            group = vault.groups.get(group_id)
            if group is None or group.value is None or group.state != "active":
                state = "nothing" if group is None else f"{group.state} ({group.detail})"
                findings.note("I4", f"{vault.who} is a member, but has the group as: {state}")
                continue
            if group.next_seq != log.last + 1:
                findings.note("I4", f"{vault.who} has {group.next_seq - 1} of {log.last} rows")
            if (group.epoch, group.value.epoch) != (log.epoch, log.epoch):
                findings.note(
                    "I4",
                    f"{vault.who} is in epoch {group.value.epoch} ({group.epoch}), "
                    f"the relay in {log.epoch}",
                )
            if frozenset(device for _, device in group.members) != log.members:
                findings.note("I4", f"{vault.who} sees other members than the commits made")
            values[vault.who] = (group.value.epoch_authenticator, group.members)
        if len(set(values.values())) > 1:
            findings.note("I4", f"other authenticators or members: {', '.join(values)}")


def _every_send_ended(findings: Findings, vaults: Sequence[VaultState]) -> None:
    for vault in vaults:
        for message in vault.messages:
            if message.state not in FINAL:
                findings.note("I5", f"{vault.who} has {_text({b'': message})} {message.state}")
            if message.device_id == vault.device_id and message.state == "failed":
                for other in vaults:
                    if other is not vault and other.message(message.message_id) is not None:
                        findings.note("I5", f"{_text({b'': message})} failed, {other.who} has it")
        for message_id, state, reason in vault.outbox:
            if state != "failed":
                findings.note(
                    "I5", f"{vault.who} still has {message_id.hex()[:8]} to send: {state} {reason}"
                )
        for kind, state, error in vault.intents:
            if state != "failed":
                findings.note("I5", f"{vault.who} still wants: {kind} {state} {error}")
        for group_id in vault.pending:
            findings.note("I5", f"{vault.who} has a commit pending in {group_id.hex()[:8]}")


def _text(messages: dict[bytes, HeldMessage]) -> str:
    return ", ".join(f"'{m.text or m.kind}'" for m in messages.values())
