"""Open invitations at the command line: listed, withdrawn, told of before a second one."""

import pytest

from .processes import House, sentence

pytestmark = pytest.mark.processes


def test_an_invitation_is_listed_withdrawn_and_worthless_then(house: House) -> None:
    (invited,) = house.json("admin", "admin", "invite", "Inès Faure")
    (listed,) = house.json("admin", "admin", "invitations")
    assert (listed["name"], listed["kind"]) == ("Inès Faure", "open-invitation")
    assert listed["id"] in house.run("admin", "admin", "invitations").stdout
    (gone,) = house.json("admin", "admin", "withdraw", "inès faure")
    assert (gone["kind"], gone["id"]) == ("invitation-withdrawn", listed["id"])
    assert house.json("admin", "admin", "invitations") == []
    refused = house.run("ines", "join", invited["code"])
    assert refused.returncode == 1
    assert "does not know this invitation" in refused.stderr


def test_a_second_invitation_for_a_name_is_told_and_one_of_them_is_named_by_its_id(
    house: House,
) -> None:
    (first,) = house.json("admin", "admin", "invite", "Zoé Blanc")
    assert first["open_before"] == 0
    second = house.run("admin", "admin", "invite", "Zoé Blanc", lang="fr")
    assert (second.returncode, "était déjà ouverte" in second.stderr) == (0, True)
    both = house.json("admin", "admin", "invitations")
    several = house.run("admin", "admin", "withdraw", "Zoé Blanc")
    assert (several.returncode, "or several" in sentence(several)) == (2, True)
    for row in both:
        house.json("admin", "admin", "withdraw", row["id"])
    assert house.json("admin", "admin", "invitations") == []


def test_who_was_only_invited_is_not_revoked_but_uninvited(house: House) -> None:
    done = house.run("admin", "admin", "revoke", "Nadia Noir")
    assert (done.returncode, "pli admin withdraw" in done.stderr) == (2, True)
