"""The demonstration's counts can fail: what is missing, doubled or read too much is counted."""

import hashlib
import json
from pathlib import Path

import pytest

from pli_client.demo.counts import Counts, Entry, count_copies, notes
from pli_client.demo.scenario import Add, Remove, Send, Start, load

SCENARIO = load()
PERSONS = {person.key: person.key.encode().ljust(16) for person in SCENARIO.people}


def perfect() -> dict[str, list[Entry]]:
    """The histories as they are when nothing went wrong."""
    histories: dict[str, list[Entry]] = {key: [] for key in PERSONS}
    members: dict[str, set[str]] = {}
    for step in SCENARIO.steps:
        match step:
            case Start():
                members[step.conversation] = {step.who, *step.members}
            case Add():
                members[step.conversation] |= {step.person}
            case Remove():
                members[step.conversation] -= {step.person}
            case Send():
                for member in members[step.conversation]:
                    histories[member].append(entry(step))
    return histories


def entry(step: Send, salt: bytes = b"") -> Entry:
    return Entry(hashlib.sha256(salt + step.text.encode()).digest(), PERSONS[step.who], step.text)


def test_a_perfect_hand_over_has_nothing_lost_doubled_or_read_by_others() -> None:
    copies = count_copies(SCENARIO, perfect(), PERSONS)
    assert (copies.lost, copies.doubled, copies.overread) == (0, 0, 0)
    assert copies.messages == len(SCENARIO.messages)


@pytest.mark.parametrize("who", PERSONS)
def test_a_message_that_one_vault_lacks_is_lost(who: str) -> None:
    for index in range(len(perfect()[who])):
        histories = perfect()
        del histories[who][index]
        assert count_copies(SCENARIO, histories, PERSONS).lost == 1


def test_a_message_in_no_vault_is_lost_for_everybody_and_not_counted() -> None:
    histories = perfect()
    step = SCENARIO.messages[0]
    for entries in histories.values():
        entries[:] = [e for e in entries if e.text != step.text]
    copies = count_copies(SCENARIO, histories, PERSONS)
    assert copies.lost == 3
    assert copies.messages == len(SCENARIO.messages) - 1


def test_a_message_that_stands_twice_is_doubled_even_under_another_id() -> None:
    histories = perfect()
    histories["claire"].append(entry(SCENARIO.messages[0], b"sent again"))
    assert count_copies(SCENARIO, histories, PERSONS).doubled == 1


def test_the_same_text_by_another_author_is_lost() -> None:
    histories = perfect()
    first = histories["claire"][0]
    histories["claire"][0] = Entry(first.message_id, PERSONS["vasseur"], first.text)
    assert count_copies(SCENARIO, histories, PERSONS).lost == 1


def test_what_a_removed_member_or_a_newcomer_reads_too_much_is_counted() -> None:
    histories = perfect()
    histories["karim"].append(entry(SCENARIO.messages[-1]))
    histories["vasseur"].append(entry(SCENARIO.messages[0]))
    assert count_copies(SCENARIO, histories, PERSONS).overread == 2


def test_notes_are_counted_from_the_outbox(tmp_path: Path) -> None:
    def bundle(status: str) -> str:
        document = {"resourceType": "DocumentReference", "status": status}
        other = {"resourceType": "Practitioner"}
        return json.dumps({"entry": [{"resource": document}, {"resource": other}]})

    for number in range(3):
        (tmp_path / f"{number}.json").write_text(bundle("current"))
    (tmp_path / "x.json").write_text(bundle("entered-in-error"))
    (tmp_path / "unfinished.json.new").write_text("{")
    created, withdrawn = notes(tmp_path)
    assert (len(created), len(withdrawn)) == (3, 1)


@pytest.mark.parametrize("field", ["lost", "doubled", "overread", "plaintext_hits"])
def test_one_fault_of_any_kind_makes_the_result_bad(field: str) -> None:
    values = dict.fromkeys(Counts.__dataclass_fields__, 0)
    assert Counts(**values).good
    assert not Counts(**(values | {field: 1})).good
