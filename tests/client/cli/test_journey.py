"""The main journey at the command line, on a real relay: join, new, send, read, attach, record."""

import base64
import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import PASSPHRASE, House, environment, notice, pli, sentence

pytestmark = pytest.mark.processes

RECORD = "urn:oid:1.2.250.1.213.99.4821.1|IPP-004821"


def test_from_a_title_to_a_note_in_the_dui(house: House, tmp_path: Path) -> None:
    (made,) = house.json("claire", "new", "Relève du matin", "karim benali")
    assert made["kind"] == "conversation"
    assert made["state"] == "active"
    assert {member["name"] for member in made["members"]} == {"Claire Le Goff", "Karim Benali"}

    (sent,) = house.json("claire", "send", "Relève du matin", "Mme F. a bien dormi.", "--urgent")
    assert (sent["state"], sent["urgent"], sent["text"]) == ("stored", True, "Mme F. a bien dormi.")

    unread = [m for m in house.json("karim", "inbox") if m["title"] == "Relève du matin"]
    assert [m["text"] for m in unread] == ["Mme F. a bien dormi."]
    (answer,) = house.json(
        "karim", "send", "releve du mat", "-", "--reply-to", sent["id"][:8],
        stdin="Merci,\nje passe à côté.\n",
    )  # fmt: skip
    read = house.json("claire", "read", "Relève du matin")
    texts = [
        (m["sender"]["name"], m["text"], m["reply_to"]) for m in read if m["kind"] == "message"
    ]
    assert texts == [
        ("Claire Le Goff", "Mme F. a bien dormi.", None),
        ("Karim Benali", "Merci,\nje passe à côté.", sent["id"]),
    ]
    (found,) = house.json("claire", "search", "PASSE", "cote")  # accents and case do not matter
    assert found["id"] == answer["id"]
    house.json("karim", "read", "Relève du matin")
    assert not [m for m in house.json("karim", "inbox") if m["title"] == "Relève du matin"]

    (attached,) = house.json("claire", "attach", answer["id"][:8], RECORD, "--type", "OBS")
    assert [r["record"] for r in attached["records"]] == [RECORD]
    outbox = tmp_path / "outbox"
    (filing,) = house.json("dui", "bot", "dui", "--outbox", str(outbox), "--once")
    assert (filing["filed"], filing["record"]) == (True, RECORD)
    bundle = json.loads((outbox / filing["document"]).read_bytes())
    content = bundle["entry"][0]["resource"]["content"][0]["attachment"]
    assert base64.b64decode(content["data"]).decode() == "Merci,\nje passe à côté."

    for who in ("claire", "karim"):
        (shown,) = house.json(who, "record", "IPP-004821")
        assert shown["id"] == answer["id"]
        (place,) = shown["records"]
        assert (place["state"], place["note_type"]) == ("filed", "OBS")
        assert place["number"] == filing["document"][:36]


def test_a_number_alone_is_the_record_that_the_message_bears(house: House) -> None:
    """The same number was used in two systems: who attached takes off what they attached."""
    house.json("claire", "new", "Deux dossiers", "Karim Benali")
    bears = ("first-system|N-77", "second-system|N-77")
    first, _second = (
        house.json("claire", "send", "Deux dossiers", "A bien mangé.", "--record", record)[0]
        for record in bears
    )
    (detached,) = house.json("claire", "detach", first["id"][:8], "N-77")
    assert [(r["record"], r["state"]) for r in detached["records"]] == [(bears[0], "detached")]


def test_files_arrive_as_they_were_sent_and_overwrite_nothing(house: House, tmp_path: Path) -> None:
    photo = tmp_path / "plaie du talon.jpg"
    photo.write_bytes(os.urandom(150_000))
    house.json("claire", "new", "Photos", "Karim Benali")
    (sent,) = house.json("claire", "send", "Photos", "--file", str(photo))
    assert sent["files"] == [{"name": photo.name, "mime": "image/jpeg", "size": 150_000}]
    house.json("karim", "read", "Photos")
    folder = tmp_path / "saved"
    for _time in range(2):
        (saved,) = house.json("karim", "save", sent["id"], str(folder))
        assert Path(saved["path"]).read_bytes() == photo.read_bytes()
    assert len(list(folder.iterdir())) == 2


def test_members_come_and_go_and_the_title_changes(house: House) -> None:
    house.json("claire", "new", "Seule", "Karim Benali")
    (after,) = house.json("claire", "remove", "Seule", "Karim Benali")
    assert [member["name"] for member in after["members"]] == ["Claire Le Goff"]
    house.json("claire", "send", "Seule", "Karim ne lit pas ceci.")
    house.json("claire", "rename", "Seule", "Toute seule")
    removed = [c for c in house.json("karim", "conversations") if c["title"] == "Seule"]
    assert [c["state"] for c in removed] == ["removed"]
    texts = [m.get("text") for m in house.json("karim", "read", "Seule")]
    assert "Karim ne lit pas ceci." not in texts
    done = house.run("karim", "send", "Seule", "Je suis encore là ?")
    assert done.returncode == 1
    assert sentence(done)
    (back,) = house.json("claire", "add", "Toute seule", "Karim Benali")
    assert len(back["members"]) == 2
    (left,) = house.json("karim", "leave", back["id"])
    assert left["state"] in ("left", "leaving")


def test_who_is_added_later_knows_the_title_at_once(house: House) -> None:
    house.enrol("lea", "Léa Roux")
    house.json("claire", "new", "Commencée sans elle", "Karim Benali")
    house.json("claire", "add", "Commencée sans elle", "Léa Roux")
    assert [c["title"] for c in house.json("lea", "conversations")] == ["Commencée sans elle"]


def test_a_head_of_the_audit_log_is_compared_by_a_command_of_its_own(
    house: House, tmp_path: Path
) -> None:
    head = tmp_path / "head.json"
    assert house.run("claire", "audit", "head", "--out", str(head)).returncode == 0
    (compared,) = house.json("karim", "audit", "check", str(head))
    assert compared["agrees"] is True


# --- hostile text -----------------------------------------------------------------------------

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\u200b\u2028next\x08\x00[/"
OURS = re.compile(r"\x1b\[[0-9;]*m")
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def at_a_terminal(*arguments: str, typed: str = "") -> str:
    """What `pli` shows at a terminal of its own, where somebody types as soon as it asks."""
    import pty

    owner, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pli_client", *arguments],
        env=environment(TERM="xterm"),
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    ) as running:
        os.close(terminal)
        shown = b""
        while True:
            select.select([owner], [], [], 60)
            try:
                piece = os.read(owner, 65536)
            except OSError:  # Linux: the other end was closed
                break
            if not piece:
                break
            shown += piece
            if typed and b": " in shown:
                os.write(owner, typed.encode())
                typed = ""
        assert running.wait(60) == 0
    os.close(owner)
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_hostile_text_in_any_field_cannot_drive_the_terminal(house: House, tmp_path: Path) -> None:
    title = f"Hostile {HOSTILE}".replace("\x00", "")
    text = HOSTILE.replace("\x00", "")
    file = tmp_path / (text.replace("/", "") + ".jpg")
    file.write_bytes(b"picture")
    (made,) = house.json("claire", "new", title, "Karim Benali")
    where = made["id"]
    (sent,) = house.json("claire", "send", where, text, "--file", str(file))
    house.json("claire", "attach", sent["id"], f"urn:x:{text}|{text}")
    house.json("claire", "detach", sent["id"], f"urn:x:{text}|{text}", "--reason", text)
    house.json("claire", "rename", where, title + "2")

    options = house.options("karim")
    for command in (
        ("inbox",), ("read", where), ("conversations",), ("search", "next"),
        ("record", f"urn:x:{text}|{text}"), ("read", where, "--json"),
    ):  # fmt: skip
        shown = OURS.sub("", at_a_terminal(*command, *options))
        assert shown.strip(), command
        assert OBEYED.findall(shown) == [], command


def test_hostile_arguments_cannot_drive_the_terminal_either(house: House) -> None:
    for command in (
        ("read", HOSTILE), ("attach", HOSTILE, "y"), ("new", "x", HOSTILE), (HOSTILE,),
    ):  # fmt: skip
        done = house.run("claire", *(part.replace("\x00", "") for part in command))
        assert done.returncode == 2
        assert OBEYED.findall(sentence(done).replace("\n", "")) == []


# --- what goes wrong --------------------------------------------------------------------------


def test_a_wrong_passphrase_is_one_sentence_with_code_3(house: House, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("ce n'est pas la bonne\n", encoding="utf-8")
    vault = str(house.vault("claire"))
    done = pli("inbox", "--vault", vault, "--passphrase-file", str(wrong))
    assert done.returncode == 3
    assert "passphrase" in sentence(done)


def test_a_passphrase_may_come_from_a_descriptor(house: House) -> None:
    reading, writing = os.pipe()
    os.write(writing, PASSPHRASE.encode() + b"\n")
    os.close(writing)
    command = [
        sys.executable, "-m", "pli_client", "conversations", "--wait", "0",
        "--vault", str(house.vault("karim")), "--passphrase-fd", str(reading),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment(), pass_fds=(reading,), capture_output=True)
    os.close(reading)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX")
def test_a_typed_passphrase_is_not_shown(house: House) -> None:
    command = ("conversations", "--wait", "0", "--vault", str(house.vault("karim")))
    shown = at_a_terminal(*command, typed=PASSPHRASE + "\n")
    assert "Passphrase:" in shown
    assert PASSPHRASE not in shown


def test_an_invitation_that_was_used_is_refused(house: House, tmp_path: Path) -> None:
    code = house.invite("Nadia Roux")
    house.json("nadia", "join", code)
    options = ["--vault", str(tmp_path / "v"), "--passphrase-file", str(house.passphrase_file)]
    again = pli("join", code, *options)
    assert again.returncode == 1
    assert "Traceback" not in again.stderr
    already = house.run("nadia", "join", house.invite("Nadia Roux"))
    assert already.returncode == 1
    assert sentence(already)


def test_unknown_people_conversations_and_messages_are_named(house: House) -> None:
    for command in (
        ("new", "Titre", "Personne Inconnue"), ("read", "aucune conversation de ce nom"),
        ("attach", "ffffffff", RECORD),
    ):  # fmt: skip
        done = house.run("claire", *command)
        assert done.returncode == 2, command
        assert sentence(done)


def test_a_command_is_handed_to_the_process_that_has_the_vault(
    house: House, tmp_path: Path
) -> None:
    running = house.background("dui", "bot", "dui", "--outbox", str(tmp_path / "outbox"))
    try:
        socket = house.vault("dui") / "handover.sock"
        while not socket.exists():
            assert running.poll() is None
        # No passphrase: the vault is open already, for the same user.
        done = pli("people", "--vault", str(house.vault("dui")), "--json")
        assert done.returncode == 0, done.stderr
        names = {json.loads(line)["name"] for line in done.stdout.splitlines()}
        assert "Claire Le Goff" in names
        failing = pli("read", "nulle part", "--vault", str(house.vault("dui")), lang="fr")
        assert failing.returncode == 2
        assert "conversation" in sentence(failing)
    finally:
        running.terminate()
        running.wait(20)
    assert not socket.exists()


def test_a_relay_that_is_away_loses_nothing(house: House) -> None:
    house.json("claire", "new", "Coupure", "Karim Benali")
    house.relay.kill()
    try:
        sent = house.run("claire", "send", "Coupure", "Écrit sans réseau.", "--wait", "1")
        assert sent.returncode == 4
        assert "kept" in notice(sent)
        assert "Écrit sans réseau." in sent.stdout
        shown = house.run("claire", "read", "Coupure", "--wait", "1")
        assert shown.returncode == 4
        assert "waiting to be sent" in shown.stdout
        assert house.run("claire", "read", "Coupure", "--wait", "0").returncode == 0
        assert house.run("claire", "search", "reseau").returncode == 0
        code = house.invite("Personne")
        joining = house.run("personne", "join", code, "--wait", "2")
        assert joining.returncode == 4
        assert "cannot be reached" in joining.stderr
        assert "Traceback" not in joining.stderr
    finally:
        house.start_relay()
    house.json("claire", "conversations")  # any command that finds the relay sends what waits
    texts = [m.get("text") for m in house.json("karim", "read", "Coupure")]
    assert texts.count("Écrit sans réseau.") == 1


def test_another_relay_at_the_same_address_is_refused(house: House, tmp_path: Path) -> None:
    port = house.relay.url.rpartition(":")[2]
    server = [sys.executable, "-m", "pli_server"]
    folder = str(tmp_path / "other")
    made = subprocess.run(
        [*server, "init", folder, "--name", "autre.example", "--listen", f"127.0.0.1:{port}"],
        capture_output=True,
        timeout=60,
    )
    assert made.returncode == 0
    house.relay.kill()
    other = subprocess.Popen(
        [*server, "run", folder, "--json"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert other.stdout is not None
        assert b"listening" in other.stdout.readline()
        done = house.run("claire", "send", "Coupure", "À qui ?", "--wait", "10")
        assert done.returncode == 1  # waiting does not help
        assert "autre.example" in notice(done)
        assert "was not sent" in notice(done)
    finally:
        other.kill()
        other.communicate()
        house.start_relay()
