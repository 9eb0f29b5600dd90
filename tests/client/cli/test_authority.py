"""The authority handed over at the command line: `pli admin authority`, and a person's `pli trust`."""

import asyncio
from pathlib import Path

import pytest

from pli_server import folder as folders

from .processes import House, notice, sentence

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pins(house: House) -> tuple[Path, str]:
    """An establishment of its own with one person: its authority's file, that file's passphrase file."""
    passphrase = str(house.root / "authority-passphrase")
    founded = house.run(
        "pins", "admin", "init", "--relay", house.relay.url, "--name", "Foyer des Pins",
        "--code", folders.further_code(house.root / "relay"),
        "--authority-passphrase-file", passphrase,
    )  # fmt: skip
    assert founded.returncode == 0, founded.stderr
    asyncio.run(house._make_vault("paul"))
    serving = house.background("pins", "admin", "serve")
    try:
        (invitation,) = house.json("pins", "admin", "invite", "Paul Roche")
        house.json("paul", "join", str(invitation["code"]))
    finally:
        serving.terminate()
        serving.wait(10)
    return house.vault("pins") / "authority.json", passphrase


def begin(house: House, name: str, passphrase: str, *options: str) -> Path:
    change = house.root / f"{name}.bin"
    new = ("--new", str(house.root / f"{name}.json"), "--new-passphrase-file", passphrase)
    (begun,) = house.json("pins", "admin", "authority", "begin", str(change), *new, *options)
    assert begun["complete"] == bool(options)
    return change


def test_an_authority_is_handed_over_and_each_person_confirms_it(
    house: House, pins: tuple[Path, str]
) -> None:
    old, passphrase = pins
    assert "There is nothing to confirm." in notice(house.run("paul", "trust"))
    lost = begin(house, "lost", passphrase)
    for command in ("sign", "publish"):
        alone = house.run("pins", "admin", "authority", command, str(lost))
        assert (alone.returncode, "two different issuers sign" in alone.stderr) == (1, True)

    signed = ("--old", str(old), "--old-passphrase-file", passphrase)
    change = begin(house, "handed-over", passphrase, *signed)
    (published,) = house.json("pins", "admin", "authority", "publish", str(change))
    house.json("paul", "inbox")
    (shown,) = house.json("paul", "trust")
    assert (shown["fingerprint"], shown["accepted"]) == (published["fingerprint"], False)
    french = house.run("paul", "trust", lang="fr").stdout
    assert "annonce une nouvelle autorité" in french
    wrong = house.run("paul", "trust", "--accept", "0000")
    assert (wrong.returncode, "not the new authority's fingerprint" in sentence(wrong)) == (2, True)
    (accepted,) = house.json("paul", "trust", "--accept", str(shown["fingerprint"]))
    assert accepted["accepted"]
    assert "There is nothing to confirm." in notice(house.run("paul", "trust"))


def test_what_is_no_change_of_authority_is_refused_and_no_file_is_overwritten(
    house: House, pins: tuple[Path, str]
) -> None:
    garbage = house.root / "garbage.bin"
    garbage.write_bytes(b"\x93\xc4\x01x")
    for command in ("sign", "publish"):
        refused = house.run("pins", "admin", "authority", command, str(garbage))
        assert (refused.returncode, "(form)" in sentence(refused)) == (1, True)
    there = house.run(
        "pins", "admin", "authority", "begin", str(house.root / "again.bin"),
        "--new", str(pins[0]), "--new-passphrase-file", pins[1],
    )  # fmt: skip
    assert there.returncode != 0
    assert not (house.root / "again.bin").exists()
