"""`pli-server audit`: every tampering is found, exports are what FHIR and an establishment expect."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from fhir.resources.R4B.bundle import Bundle

from pli_protocol.relay import frames as f
from pli_protocol.transparency import Frontier, leaf_data, leaf_hash
from pli_server.audit import retention
from pli_server.audit.acts import Act, Entry
from pli_server.audit.exporting import Event
from pli_server.audit.fhir import audit_event
from pli_server.command_line import cli
from pli_server.storage import tables as t
from pli_server.storage.database import Use
from pli_server.sweep import keep_head, sweep

from ..conftest import Server
from ..databases import SQLITE, ask, new_folder
from ..people import TestEstablishment
from ..team import joins, team

DAY = 86_400_000


async def command(*arguments: object) -> Result:
    """Beside the loop: a command has one of its own."""
    words = ["audit", *map(str, arguments)]
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, words))


async def verified(folder: Path) -> tuple[int, dict[str, Any]]:
    result = await command("verify", folder, "--json")
    assert result.stdout, (result.stderr, result.exception)
    return result.exit_code, json.loads(result.stdout)


async def busy(server: Server, home: TestEstablishment) -> None:
    """Two people write to each other; two heads are kept."""
    anne, karim = await joins(server, home), await joins(server, home, "Karim Benali")
    group = await team(anne, karim)
    await keep_head(server.relay)
    for number in range(12):
        await group.says(anne, b"%d" % number)
    blob = bytes(32)
    await anne.client.ask(f.PutBlob(anne.client.rid(), blob, 0, 3, b"abc"))
    await keep_head(server.relay)
    await server.stop()


@pytest.fixture
async def folder(server: Server, home: TestEstablishment) -> Path:
    await busy(server, home)
    await server.start()
    return server.folder


async def test_an_honest_log_is_whole_also_while_the_relay_runs(folder: Path) -> None:
    code, report = await verified(folder)
    assert (code, report["good"], report["faults"]) == (0, True, [])
    assert report["entries"] > 18
    assert report["nodes"] > 10
    assert (report["heads"], report["rows"], report["bodies_gone"]) == (2, 13, 0)
    assert "Whole: " in (await command("verify", folder)).stdout


E, N, R = t.trace_entries, t.trace_nodes, t.rows
ZERO = bytes(32)


def alter(server: Server, *statements: Any) -> None:
    """Change the database behind the relay's back."""

    def work(db: sa.Connection) -> None:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement

    ask(server.relay.database, Use.CHANGING, work)


def entry(no: int, **values: Any) -> Any:
    return sa.update(E).where(E.c.no == no).values(**values)


def row(seq: int, **values: Any) -> Any:
    return sa.update(R).where(R.c.seq == seq).values(**values)


GONE: dict[str, Any] = {"body": None, "salt": None}

TAMPERINGS: dict[str, tuple[Any, str]] = {
    "a body": (entry(4, body=b"\x80"), "not those of its hash"),
    "a salt": (entry(4, salt=ZERO), "not those of its hash"),
    "a body that is gone too early": (entry(4, **GONE), "younger than six months"),
    "a body that is gone and called old": (entry(18, time=1, **GONE), "younger than six months"),
    "a class": (entry(4, kind="leave"), "another root"),
    "an establishment": (entry(4, establishment=b"e"), "not its body's"),
    "an entry that is cut out": (sa.delete(E).where(E.c.no == 4), "is not that of its"),
    "the last entries": (sa.delete(E).where(E.c.no > 8), "was signed"),
    "a node": (sa.update(N).where(N.c.level == 2, N.c.no == 1).values(hash=ZERO), "level 2"),
    "a node that is missing": (sa.delete(N).where(N.c.level == 1, N.c.no == 1), "level 1"),
    "a node too many": (
        sa.insert(N).values(timeline=1, level=30, no=0, hash=ZERO),
        "more nodes",
    ),
    "the frontier": (sa.update(t.trace_trees).values(frontier=ZERO), "not that of its entries"),
    "a kept head's root": (sa.update(t.trace_heads).values(root=ZERO), "no valid signature"),
    "a row that is gone": (sa.delete(R).where(R.c.seq == 5), "not those that are there"),
    "a row's chain": (row(5, chain=ZERO), "does not follow"),
    "a row's send id": (row(5, send_id=bytes(16)), "does not follow"),
    "a row of no entry": (row(5, batch=7), "belong to no entry"),
}


@pytest.mark.parametrize("what", TAMPERINGS)
async def test_every_tampering_is_found(server: Server, home: TestEstablishment, what: str) -> None:
    await busy(server, home)
    statement, fault = TAMPERINGS[what]
    alter(server, statement)
    code, report = await verified(server.folder)
    await server.start()
    assert (code, report["good"]) == (4, False)
    assert any(fault in text for text in report["faults"]), report["faults"]


async def test_a_log_that_is_rewritten_with_all_that_follows_is_found_by_a_kept_head(
    server: Server, home: TestEstablishment
) -> None:
    """Red where kept heads are not compared."""
    await busy(server, home)
    alter(server, entry(3, digest=ZERO, time=1, **GONE), sa.delete(N))
    tree, nodes = Frontier(), []
    for one in server.read(lambda db: list(db.execute(sa.select(E).order_by(E.c.no)))):
        tree, done = tree.append(leaf_hash(leaf_data(one.kind, one.digest)))
        nodes += [{"timeline": 1, **node._asdict()} for node in done]
    alter(
        server,
        sa.insert(N).values(nodes),
        sa.update(t.trace_trees).values(frontier=tree.encode()),
    )
    code, report = await verified(server.folder)
    await server.start()
    assert code == 4
    assert any("another root" in text for text in report["faults"])


async def test_retention_takes_bodies_and_the_log_stays_whole(
    server: Server, home: TestEstablishment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joins(server, home)
    now = server.clock()
    server.clock = lambda: now + retention.age_ms(12) + DAY
    await sweep(server.relay)
    await keep_head(server.relay)
    gone = sa.select(E.c.kind, E.c.salt, E.c.establishment).where(E.c.body.is_(None))
    kept = server.read(lambda db: list(db.execute(gone)))
    assert {row[0] for row in kept} >= {Act.SIGN_IN, Act.REGISTRATION}
    assert {tuple(row[1:]) for row in kept} == {(None, None)}
    monkeypatch.setattr("pli_server.audit.commands.now_ms", server.clock)
    code, report = await verified(server.folder)
    assert (code, report["faults"], report["bodies_gone"]) == (0, [], len(kept))


async def test_an_export_holds_the_establishments_acts_and_is_traced(
    server: Server, home: TestEstablishment
) -> None:
    other = TestEstablishment("Ailleurs")
    await server.establish(other)
    stranger = await joins(server, other)
    anne = await joins(server, home)
    group = await team(anne)
    await group.says(anne, b"content")
    result = await command(
        "export", server.folder, "--establishment", home.id.hex()[:8], "--from", "2026-01-01",
        "--to", "2126-01-01",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    acts = [line["act"] for line in lines]
    assert acts == [
        "registration",
        "sign-in",
        "group-created",
        "messages",
        "messages",
        "audit-read",
    ]
    assert {line["establishment"] for line in lines} == {home.id.hex()}
    sent = lines[4]
    assert (sent["account"], sent["device"], sent["seq"]) == (
        anne.person.account.hex(),
        anne.id.hex(),
        2,
    )
    assert stranger.person.account.hex() not in result.stdout
    assert "Anne" not in result.stdout
    again = await command(
        "export", server.folder, "--establishment", "Ailleurs", "--from", "2026-01-01",
        "--to", "2026-01-02",
    )  # fmt: skip
    assert again.stdout == ""


async def test_fhir_bundles_are_valid_and_follow_the_national_profile(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    anne = await joins(server, home)
    group = await team(anne)
    await group.says(anne, b"content")
    await server.issuer(home)
    out = tmp_path / "export.ndjson"
    result = await command(
        "export", server.folder, "--establishment", home.name, "--from", "2026-01-01",
        "--to", "2126-01-01", "--format", "fhir", "--out", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert out.stat().st_mode & 0o777 == 0o600
    (line,) = out.read_text().splitlines()
    bundle = Bundle.model_validate_json(line)
    events = [entry.resource for entry in bundle.entry]
    assert len(events) == 7
    for event in events:
        profile(json.loads(event.model_dump_json()))


@pytest.mark.parametrize("act", Act)
def test_every_act_has_its_audit_event(act: Act) -> None:
    body = Entry(1_795_000_000_000, b"e" * 16, b"a" * 16, b"d" * 16, {"count": 3, "kind": "commit"})
    shown = audit_event(Event(1, 7, act.value, body), "relay.test")
    Bundle.model_validate(
        {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": shown}]}
    )
    profile(shown)
    nobody = audit_event(Event(1, 7, act.value, Entry(1_795_000_000_000)), "relay.test")
    profile(nobody)


def profile(event: dict[str, Any]) -> None:
    """tde-auditevent: what FHIR itself leaves open."""
    assert event["meta"]["profile"][0].endswith("/tde-auditevent")
    assert event["type"]["code"]
    assert len(event.get("subtype", [])) <= 1
    assert event["recorded"]
    assert event["period"]["start"]
    assert 1 <= len(event["agent"]) <= 2
    for agent in event["agent"]:
        assert agent["who"]
        assert isinstance(agent["requestor"], bool)
    assert [agent["requestor"] for agent in event["agent"]][0] is True
    assert event["source"]["observer"]


async def test_a_witness_gets_a_head_and_the_log_is_checked_against_it(
    server: Server, home: TestEstablishment, tmp_path: Path
) -> None:
    file = tmp_path / "head.json"
    printed = json.loads((await command("head", server.folder, "--out", file, "--json")).stdout)
    await joins(server, home)
    good = await command("check", server.folder, file)
    assert good.exit_code == 0, good.output
    assert printed["code"] in good.stdout
    await server.stop()
    alter(server, entry(0, digest=ZERO), sa.delete(N))
    bad = await command("check", server.folder, file)
    await server.start()
    assert bad.exit_code == 4
    for spoilt in ("no head", file.read_text().replace('"size": ', '"size": 1')):
        file.write_text(spoilt)
        assert (await command("check", server.folder, file)).exit_code in (1, 4)


async def test_a_retention_that_the_law_does_not_allow_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "relay"
    new_folder(folder, SQLITE)
    path = folder / "relay.toml"
    path.write_text(path.read_text().replace("# trace_months = 12", "trace_months = 5"))
    result = await command("verify", folder)
    assert result.exit_code == 1
    assert "trace_months" in result.stderr
