"""A stolen device at the command line: `pli admin replace`, `pli rejoin`, a vault that was wiped."""

import pytest

from .processes import House, sentence

pytestmark = pytest.mark.processes


def test_a_key_is_replaced_and_the_device_at_hand_goes_on(house: House) -> None:
    house.enrol("louise", "Louise Petit")
    house.json("louise", "new", "Nuit", "Karim Benali")
    house.json("karim", "inbox")
    (replacement,) = house.json("admin", "admin", "replace", "Louise Petit")
    assert replacement["kind"] == "replacement"
    refused = house.run("louise", "inbox")
    assert "declared this device stolen" in refused.stderr
    (rejoined,) = house.json("louise", "rejoin", replacement["code"])
    assert (rejoined["name"], rejoined["conversations"]) == ("Louise Petit", ["Nuit"])
    told = [
        m for m in house.json("karim", "read", "Nuit") if m["kind"] == "event" and m.get("replaced")
    ]
    assert [event["by"] for event in told] == ["Louise Petit"]
    shown = house.run("karim", "read", "Nuit", lang="fr").stdout
    assert "a donné une nouvelle clé à Louise Petit" in shown
    house.json("karim", "add", "Nuit", "Louise Petit")
    house.json("karim", "send", "Nuit", "Te revoilà")
    read = house.json("louise", "read", "Nuit")
    assert [m["text"] for m in read if m["kind"] == "message"] == ["Te revoilà"]


@pytest.mark.parametrize(
    ("lang", "words"),
    [("en", "This vault was wiped"), ("fr", "Ce coffre a été effacé")],
)
def test_a_wiped_vault_says_so_now_and_later(house: House, lang: str, words: str) -> None:
    who = f"marie-{lang}"
    house.enrol(who, f"Marie Roux {lang}")
    house.json("admin", "admin", "revoke", f"Marie Roux {lang}", "--reason", "lost")
    first = house.run(who, "inbox", lang=lang)
    assert first.returncode == 1
    assert words in first.stderr
    again = house.run(who, "inbox", lang=lang)
    assert again.returncode == 1
    assert words in sentence(again)


def test_what_is_no_devices_identifier_is_said_to_be_none(house: House) -> None:
    done = house.run("admin", "admin", "replace", "Karim Benali", "--stolen-device", "abc")
    assert (done.returncode, "32 hexadecimal digits" in sentence(done)) == (2, True)
