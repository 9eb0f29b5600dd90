"""A message in a real terminal (tmux): shown as text, whatever it holds."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .processes import House, environment

HOSTILE = "Bonjour \x1b]0;owned\x07\x1b[2J\x1b[1;1Hgnp\u202eexe fin"


@pytest.mark.needs_tmux
def test_hostile_text_neither_clears_a_real_screen_nor_names_its_window(
    house: House, tmp_path: Path
) -> None:
    (made,) = house.json("claire", "new", "Au terminal", "Karim Benali")
    house.json("claire", "send", made["id"], HOSTILE)
    tmux = ["tmux", "-f", "/dev/null", "-S", str(tmp_path / "socket")]
    read = [sys.executable, "-m", "pli_client", "read", made["id"], *house.options("karim")]
    done = shlex.join([*tmux, "wait-for", "-S", "done"])
    script = f"echo BEFORE; {shlex.join(read)}; {done}; cat"
    surroundings = environment("fr", LANG="C.UTF-8")
    try:
        subprocess.run(
            [*tmux, "-u", "new-session", "-d", "-x", "120", "-y", "40", script],
            env=surroundings,
            check=True,
        )
        subprocess.run([*tmux, "wait-for", "done"], check=True, timeout=60)
        show = [*tmux, "display-message", "-p", "#{pane_title}"]
        title = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        capture = [*tmux, "capture-pane", "-p"]
        screen = subprocess.run(capture, check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run([*tmux, "kill-server"], check=False, capture_output=True)
    lines = [line for line in screen.splitlines() if line.strip()]
    assert lines[0] == "BEFORE"
    assert any("Bonjour" in line and "fin" in line for line in lines)
    assert "owned" not in title
