"""A reader with RFC 9420 open finds each struct's text above its class, in the chapter's module."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import IntEnum
from pathlib import Path

import pytest

import pli_protocol.mls

PACKAGE = Path(pli_protocol.mls.__file__).parent
MODULES = [
    importlib.import_module(f"pli_protocol.mls.{found.name}")
    for found in pkgutil.iter_modules([str(PACKAGE)])
]

# Every struct and enum of RFC 9420's presentation language, by chapter; §2.1's examples aside.
STRUCTS = {
    "§5": "SignContent EncryptContext RefHashInput Certificate Credential",
    "§6": "ProtocolVersion ContentType SenderType Sender FramedContent MLSMessage "
    "AuthenticatedContent FramedContentTBS FramedContentAuthData PublicMessage "
    "AuthenticatedContentTBM PrivateMessage PrivateMessageContent PrivateContentAAD SenderData "
    "SenderDataAAD",
    "§7": "ParentNode LeafNodeSource Capabilities Lifetime Extension LeafNode LeafNodeTBS "
    "UpdatePathNode UpdatePath HPKECiphertext NodeType TreeHashInput LeafNodeHashInput "
    "ParentNodeHashInput ParentHashInput",
    "§8": "KDFLabel GroupContext ConfirmedTranscriptHashInput InterimTranscriptHashInput PSKType "
    "ResumptionPSKUsage PreSharedKeyID PSKLabel",
    "§10": "KeyPackage KeyPackageTBS",
    "§11": "RequiredCapabilities",
    "§12": "Proposal Add Update Remove PreSharedKey ReInit ExternalInit GroupContextExtensions "
    "ExternalSender ProposalOrRefType ProposalOrRef Commit GroupInfo GroupInfoTBS PathSecret "
    "GroupSecrets EncryptedGroupSecrets Welcome ExternalPub Node",
}
CHAPTERS = {
    "ciphersuite": "§5.1",
    "labels": "§5.1",
    "credential": "§5.3",
    "framing": "§6",
    "public_message": "§6.2",
    "private_message": "§6.3",
    "leaf_node": "§7.2",
    "ratchet_tree": "§7",
    "update_path": "§7.4",
    "tree_hash": "§7.8",
    "parent_hash": "§7.9",
    "key_schedule": "§8",
    "group_context": "§8.1",
    "transcript_hash": "§8.2",
    "external_init": "§8.3",
    "psk": "§8.4",
    "secret_tree": "§9",
    "key_package": "§10",
    "create": "§11",
    "proposal": "§12.1",
    "external_proposal": "§12.1.8",
    "external_senders": "§12.1.8.1",
    "proposal_list": "§12.2",
    "commit": "§12.4",
    "committing": "§12.4.1",
    "commit_processing": "§12.4.2",
    "group_info": "§12.4.3",
    "welcome": "§12.4.3.1",
    "join": "§12.4.3.1",
    "external_join": "§12.4.3.2",
    "extension": "§13",
    "grease": "§13.5",
    "tree_math": "appendix C",
}


def classes() -> Iterator[type]:
    """Those that are on the wire or in the store, and the enumerations."""
    for module in MODULES:
        for name, found in vars(module).items():
            if not inspect.isclass(found) or found.__module__ != module.__name__:
                continue
            coded = hasattr(found, "write") and hasattr(found, "read") and name[0] != "_"
            if (coded and is_dataclass(found)) or issubclass(found, IntEnum):
                yield found


def comment_above(cls: type) -> str:
    """The lines of comment right above a class and its decorators."""
    lines, start = inspect.findsource(cls)
    while lines[start - 1].startswith("@"):
        start -= 1
    end = start
    while start and lines[start - 1].startswith("#"):
        start -= 1
    return "".join(line.lstrip("#") for line in lines[start:end])


@pytest.mark.parametrize("cls", list(classes()), ids=lambda cls: cls.__name__)
def test_a_class_has_its_struct_above_it(cls: type) -> None:
    text = comment_above(cls)
    assert re.search(r"struct \{|enum \{|uint16 \w+;|optional<Node>", text), f"{cls}: {text!r}"


@pytest.mark.parametrize("cls", [c for c in classes() if is_dataclass(c)], ids=lambda c: c.__name__)
def test_the_fields_of_a_class_are_those_of_its_struct(cls: type) -> None:
    """But for what Python says otherwise: chosen parts, and what is kept beside the fields."""
    text = comment_above(cls)
    derived = {"encoded", "content", "body", "index", "nodes", "node_bytes"}
    for field in fields(cls):
        name = field.name.removesuffix("_bytes")
        if name.startswith("_") or name in derived or not field.init:
            continue
        assert re.search(rf"\b{name}\b", text), f"{cls.__name__}.{name} is not in its struct"


@pytest.mark.parametrize("name", [name for names in STRUCTS.values() for name in names.split()])
def test_each_struct_of_the_rfc_stands_somewhere(name: str) -> None:
    sources = [inspect.getsource(module) for module in MODULES]
    assert any(re.search(rf"#.*\}} {name};", source) for source in sources)


def test_the_map_has_every_module() -> None:
    page = (PACKAGE.parents[2] / "docs/architecture.md").read_text(encoding="utf-8")
    names = [module.__name__.rpartition(".")[2] for module in MODULES]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize("module", CHAPTERS)
def test_a_chapter_has_a_module_that_names_it(module: str) -> None:
    doc = importlib.import_module(f"pli_protocol.mls.{module}").__doc__ or ""
    assert CHAPTERS[module] in doc.split("\n")[0], doc.split("\n")[0]
