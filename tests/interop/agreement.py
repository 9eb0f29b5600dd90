"""Whether all members of a scenario's group see one and the same epoch."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from .member import Disagreement, Member

FIXED_LABEL = b"exporter".hex()


def check_agreement(members: Sequence[Member], identities: set[str], random: Random) -> None:
    """Compare epoch, GroupContext, authenticator, exported secrets, members and tree.

    Args:
        members: who is looked at.
        identities: everybody who is in the group, in hex.
        random: for the label, context and length of an exported secret.

    Raises:
        Disagreement: it names what is not equal, and who says what.

    """
    label, context = random.randbytes(random.randint(1, 9)), random.randbytes(random.randint(0, 9))
    request = {"label": label.hex(), "context": context.hex(), "length": random.randint(1, 80)}
    views = [(member, view(member, request)) for member in members]
    for what in sorted({name for _, seen in views for name in seen}):
        said = [(member, seen[what]) for member, seen in views if what in seen]
        if any(value != said[0][1] for _, value in said):
            each = "".join(f"\n  {member}: {value}" for member, value in said)
            raise Disagreement(f"no agreement about {what}:{each}")
    for member, seen in views:
        if set(seen["identities"]) != identities or len(seen["identities"]) != len(identities):
            raise Disagreement(f"{member} has other members: {seen['identities']}")


def view(member: Member, exported: dict[str, Any]) -> dict[str, Any]:
    """What a member sees, by name; without what its driver cannot tell."""
    epoch = member.do("epoch")
    members = member.do("members")["members"]
    seen = {
        "epoch": epoch["epoch"],
        "identities": sorted(one["identity"] for one in members),
        "tree": member.do("tree")["tree"],
    }
    if member.can("group_context"):
        seen["group_context"] = epoch["group_context"]
    if member.can("authenticator"):
        seen["authenticator"] = epoch["authenticator"]
    if all("leaf" in one for one in members):
        seen["leaves"] = sorted((one["leaf"], one["identity"]) for one in members)
    if member.features["exporter"] == "any":
        seen["secret"] = member.do("export_secret", **exported)["secret"]
    if member.features["exporter"] != "none":
        fixed = {"label": FIXED_LABEL, "context": "", "length": 32}
        seen["secret of the fixed label"] = member.do("export_secret", **fixed)["secret"]
    return seen
