"""docs/protocol/mls-profile.md says what the client's code does."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pli_client.engine import profile
from pli_client.engine.commit_checks import ALLOWED, check_proposal_kind
from pli_client.engine.profile import ProfileError, capabilities, group_extensions, padding
from pli_protocol.content import CONVERSATION_EXTENSION
from pli_protocol.mls.ciphersuite import suite
from pli_protocol.mls.credential import CredentialType
from pli_protocol.mls.extension import Extension, ExtensionType
from pli_protocol.mls.group import Group
from pli_protocol.mls.proposal import (
    Add,
    ExternalInit,
    GroupContextExtensions,
    PreSharedKey,
    ReInit,
    Remove,
    Update,
)
from pli_protocol.mls.psk import PreSharedKeyID

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/protocol/mls-profile.md").read_text(encoding="utf-8")
CLIENT = ROOT / "client/pli_client"
ENGINE = ROOT / "client/pli_client/engine"
UNITS = {"": 1, "ms": 1, "hour": 3600, "day": 86_400, "days": 86_400, "KiB": 1024}
CONSTANTS = re.findall(r"^\| [^|]+ \| ([^|]+) \| `(client|protocol):([\w.]+)` \|$", PAGE, re.M)


@pytest.mark.parametrize(("shown", "package", "name"), CONSTANTS)
def test_a_number_of_the_page_is_that_of_the_code(shown: str, package: str, name: str) -> None:
    number, _, unit = shown.partition(" ")
    module, _, constant = name.rpartition(".")
    found = getattr(importlib.import_module(f"pli_{package}.{module}"), constant)
    assert int(number, 0) * UNITS[unit] == found


def test_the_page_has_its_numbers() -> None:
    assert len(CONSTANTS) >= 12


def test_padding_goes_to_the_buckets_of_the_page() -> None:
    rows = re.findall(r"^\| (\d+) \| (\d+) \|$", PAGE, re.M)
    assert len(rows) >= 7
    for size, bucket in rows:
        assert int(size) + padding(int(size)) == int(bucket)


def test_the_suites_of_the_page_are_those_of_the_code() -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("| cipher suite |"))
    named = {int(number, 16) for number in re.findall(r"0x([0-9A-F]{4})", row)}
    assert named == profile.SUITES
    assert re.search(r"0x([0-9A-F]{4})", row)[1] == f"{profile.SUITE.number:04X}"  # type: ignore[index]


def test_the_refusals_of_the_page_are_raised_by_the_code() -> None:
    table = PAGE.split("## Numbers")[0]
    named = {rule for group in re.findall(r"\(([^()]*`[^()]*)\)", table) for rule in _ids(group)}
    source = "".join(path.read_text(encoding="utf-8") for path in ENGINE.glob("*.py"))
    library = "".join(
        path.read_text(encoding="utf-8")
        for path in (ROOT / "protocol/pli_protocol/mls").glob("*.py")
    )
    assert len(named) >= 15
    for rule in named:
        assert f'"{rule}' in source or f'"{rule}"' in library, rule


def test_every_refusal_of_the_code_is_on_the_page_and_no_other() -> None:
    section = PAGE.split("## Ids of refusals")[1]
    listed = re.findall(r"^\| `([^`]+)` \| ", section, re.M)
    assert len(listed) == len(set(listed))
    source = "".join(path.read_text(encoding="utf-8") for path in CLIENT.rglob("*.py"))
    raised = re.findall(r"raise ProfileError\((.*?)\)", source)
    assert len(raised) >= 40
    assert set(listed) == {_shown(argument) for argument in raised}


def test_the_refusals_in_brackets_are_in_the_list_or_the_librarys() -> None:
    table, section = PAGE.split("## Numbers")[0], PAGE.split("## Ids of refusals")[1]
    rows = "".join(line for line in table.splitlines(True) if line.startswith("|"))
    named = {rule for group in re.findall(r"\(([^()]*`[^()]*)\)", rows) for rule in _ids(group)}
    listed = {rule.rstrip("…") for rule in re.findall(r"^\| `([^`]+)` \| ", section, re.M)}
    assert named - listed == {"credential", "credential-successor"}


def _shown(argument: str) -> str:
    """How the page shows what a ProfileError is raised with."""
    return re.sub(r"(\{error\.rule\}|^error\.rule$)", "…", argument).removeprefix("f").strip('"')


def _ids(text: str) -> list[str]:
    return [rule.rstrip("…") for rule in re.findall(r"`([a-z…-]+)`", text)]


def test_capabilities_and_extensions_are_those_of_the_page() -> None:
    ours = capabilities()
    assert ours.cipher_suites == (profile.SUITE.number,)
    assert set(ours.extensions) == {ExtensionType.LAST_RESORT, CONVERSATION_EXTENSION}
    assert ours.credentials == (CredentialType.X509,)
    types = {extension.extension_type for extension in group_extensions(bytes(16))}
    assert types == {ExtensionType.REQUIRED_CAPABILITIES, CONVERSATION_EXTENSION}


def test_only_what_the_page_says_is_committed_by_value() -> None:
    assert (Add, Update, Remove) == ALLOWED
    psk = PreSharedKey(PreSharedKeyID.external(b"", b""))
    for forbidden in (
        psk,
        ReInit(b"", 1, 3),
        ExternalInit(b""),
        GroupContextExtensions(()),
    ):
        with pytest.raises(ProfileError, match="proposal-kind"):
            check_proposal_kind(forbidden)


def _group(number: int, *extensions: Extension) -> Group:
    """As much of a group as the profile looks at."""
    context = SimpleNamespace(extensions=extensions)
    data = {extension.extension_type: extension.extension_data for extension in extensions}
    found: Any = SimpleNamespace(suite=suite(number), context=context, extension=data.get)
    return cast(Group, found)


def test_a_group_of_another_profile_is_refused() -> None:
    ours = group_extensions(bytes(16))
    for number in profile.SUITES:
        assert profile.check_group(_group(number, *ours)) == bytes(16)
    faults = {
        "suite": _group(0x0001, *ours),
        "group-extensions": _group(0x004E, *ours, Extension(ExtensionType.EXTERNAL_SENDERS, b"")),
        "conversation-id": _group(0x004E, *group_extensions(bytes(15))),
    }
    for rule, group in faults.items():
        with pytest.raises(ProfileError, match=rule):
            profile.check_group(group)
    with pytest.raises(ProfileError, match="group-extensions"):
        profile.check_group(_group(0x004E, ours[1]))
    required = Extension(ExtensionType.REQUIRED_CAPABILITIES, bytes(3))
    with pytest.raises(ProfileError, match="group-extensions"):
        profile.check_group(_group(0x004E, required, ours[1]))
