"""Files that only their owner may read, also where somebody prepared the place."""

import os
import stat
import sys
from pathlib import Path

import pytest

from pli_client.vault.private_files import replace_durably


def test_new_content_replaces_old_and_nothing_is_left_beside(tmp_path: Path) -> None:
    file = tmp_path / "vault.json"
    for data in (b"old", b"new"):
        replace_durably(file, data)
        assert file.read_bytes() == data
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX")
def test_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    theirs, file = tmp_path / "theirs", tmp_path / "authority.json"
    theirs.write_bytes(b"before")
    (tmp_path / "authority.json.new").symlink_to(theirs)
    replace_durably(file, b"secret")
    assert theirs.read_bytes() == b"before"
    assert file.read_bytes() == b"secret"
    assert not file.is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX")
def test_file_in_the_way_that_others_may_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "authority.json"
    prepared = tmp_path / "authority.json.new"
    prepared.write_bytes(b"")
    prepared.chmod(0o666)
    with prepared.open("rb") as watching:
        replace_durably(file, b"secret")
        assert watching.read() == b""
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
