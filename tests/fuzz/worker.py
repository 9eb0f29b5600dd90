"""The fuzzing process of a target: `python -m tests.fuzz.worker NAME FOLDER LIMIT [libFuzzer options]`.

atheris counts the branches of what is imported under it, so nothing of Pli may be imported before.
"""

from __future__ import annotations

import faulthandler
import sys
from pathlib import Path

import atheris


def main() -> None:
    """Run until libFuzzer ends the process: 0 nothing found, otherwise a file in FOLDER/found.

    After LIMIT seconds it tells where it stands.
    """
    name, folder = sys.argv[1], Path(sys.argv[2])
    faulthandler.dump_traceback_later(float(sys.argv[3]))
    with atheris.instrument_imports(include=["pli_protocol", "tests.fuzz.planted"]):
        from .targets import make

        target = make(name)
    corpus, found = folder / "corpus", folder / "found"
    for made in (corpus, found):
        made.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    options = [f"-artifact_prefix={found}/", f"-max_len={target.longest}", *sys.argv[4:]]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
