"""Two administrators and their people at the command line: a code each, two signatures, a conversation."""

from collections.abc import Iterator

import pytest

from pli_server import folder as folders

from .processes import House, notice, sentence

pytestmark = pytest.mark.processes

NAME = "SESSAD du Pont"


@pytest.fixture(scope="module")
def neighbours(house: House) -> Iterator[str]:
    """A second establishment at the same relay, its issuer serving; the passphrase file of both roots."""
    passphrase = house.root / "authority-passphrase"
    code = folders.further_code(house.root / "relay")
    founded = house.run(
        "pont", "admin", "init", "--relay", house.relay.url, "--code", code, "--name", NAME,
        "--authority-passphrase-file", str(passphrase),
    )  # fmt: skip
    assert founded.returncode == 0, founded.stderr
    serving = house.background("pont", "admin", "serve")
    try:
        yield str(passphrase)
    finally:
        serving.terminate()
        serving.wait(10)


def enrol_gaston(house: House) -> None:
    import asyncio

    asyncio.run(house._make_vault("gaston"))
    (invitation,) = house.json("pont", "admin", "invite", "Gaston Petit")
    house.json("gaston", "join", str(invitation["code"]))
    house.json("gaston", "conversations")


def code_of(house: House, who: str) -> str:
    (shown,) = house.json(who, "admin", "partner", "code")
    return str(shown["code"])


def test_from_two_codes_to_a_conversation_and_to_its_end(house: House, neighbours: str) -> None:
    enrol_gaston(house)
    sign = ("--authority-passphrase-file", neighbours)
    assert "No partners." in notice(house.run("admin", "admin", "partner", "list"))
    unknown = sentence(house.run("claire", "people", "--establishment", NAME))
    assert f"There is no partner establishment {NAME}." in unknown

    theirs = code_of(house, "pont")
    done = house.run("admin", "admin", "partner", "add", theirs, *sign, "--json")
    assert done.returncode == 0, done.stderr
    assert f"{NAME}, fingerprint of its authority:" in done.stderr
    (listed,) = house.json("admin", "admin", "partner", "list")
    assert (listed["name"], listed["state"]) == (NAME, "waiting")
    refused = house.run("claire", "people", "--establishment", NAME)
    assert "is not a partner of your establishment now" in sentence(refused)

    ours = code_of(house, "admin")
    (signed,) = house.json("pont", "admin", "partner", "add", ours, "--until", "2040-12-31", *sign)
    assert (signed["name"], signed["state"]) == ("EHPAD Les Tilleuls", "open")
    assert signed["until"].startswith(("2040-12-31", "2041-01-01"))
    (partner,) = house.json("claire", "partners")
    assert (partner["name"], partner["open"]) == (NAME, True)
    (person,) = house.json("claire", "people", "--establishment", "sessad du pont")
    assert (person["name"], person["establishment"], person["bot"]) == ("Gaston Petit", NAME, False)
    assert "Gaston Petit" not in [p["name"] for p in house.json("claire", "people")]

    house.json("claire", "new", "Passage", "Karim Benali", f"Gaston Petit ({NAME})")
    house.json("claire", "send", "Passage", "Bonjour le Pont")
    shown = house.run("gaston", "read", "Passage").stdout
    assert "Claire Le Goff, infirmière (EHPAD Les Tilleuls)" in shown
    assert "added Claire Le Goff (EHPAD Les Tilleuls)" not in shown
    listed_there = house.run("claire", "conversations").stdout
    assert f"Gaston Petit ({NAME})" in listed_there
    read = [m for m in house.json("gaston", "read", "Passage") if m["kind"] == "message"]
    assert [m["sender"]["establishment"] for m in read] == ["EHPAD Les Tilleuls"]

    (over,) = house.json("admin", "admin", "partner", "end", NAME, *sign)
    assert over["state"] == "ended"
    house.json("claire", "conversations")
    house.json("claire", "send", "Passage", "Entre nous")
    members = [
        c["members"] for c in house.json("claire", "conversations") if c["title"] == "Passage"
    ]
    assert sorted(m["name"] for m in members[0]) == ["Claire Le Goff", "Karim Benali"]
    assert house.json("claire", "partners") == []
    assert "Entre nous" not in house.run("gaston", "read", "Passage").stdout


def test_what_is_wrong_with_a_code_or_an_authority_is_said(house: House, neighbours: str) -> None:
    sign = ("--authority-passphrase-file", neighbours)
    wrong = house.run("admin", "admin", "partner", "add", "ABCD", *sign)
    assert "not a partner code" in sentence(wrong)
    assert wrong.returncode == 2
    own = house.run("admin", "admin", "partner", "add", code_of(house, "admin"), *sign)
    assert "your own establishment" in sentence(own)
    nobody = house.run("admin", "admin", "partner", "end", "Personne", *sign)
    assert "There is no partner Personne." in sentence(nobody)
    file = str(house.vault("pont") / "authority.json")
    theirs = code_of(house, "pont")
    other = house.run("admin", "admin", "partner", "add", theirs, "--authority-file", file, *sign)
    assert "The authority file is another establishment's." in other.stderr
    past = house.run("admin", "admin", "partner", "add", theirs, "--until", "2020-01-01", *sign)
    assert "lies in the future" in past.stderr
