"""Runs fuzz targets, each in processes of its own, and tells what they found."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .finding import Finding, forget_mended, look_at

SLOW, FAT = 10, 1024
"""Seconds for one input, and MiB for the process: beyond them an input is a finding."""
PATIENCE = 60
"""Seconds that a process may take beyond its time, to start and to end."""
STUCK = -9
_PROGRESS = re.compile(r"^#(\d+)\s.* cov: (\d+) .*corp: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What became of a target.

    Attributes:
        inputs: how many were tried.
        covered: branches of the code that they reached.
        corpus: inputs kept, each of which reached something new.
        findings: what went wrong; empty is good.

    """

    target: str
    inputs: int
    covered: int
    corpus: int
    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        """One line, and then the findings."""
        line = (
            f"{self.target:<24}{self.inputs:>10} inputs{self.covered:>7} branches"
            f"{self.corpus:>7} kept   {len(self.findings) or 'no'} finding"
        )
        return "\n".join([line, *map(str, self.findings)])


def campaign(
    names: Iterable[str],
    seconds: int,
    *,
    at_once: int,
    seed: int = 0,
    corpus: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Iterator[Outcome]:
    """Fuzz each target for this long; `seed` 0 is a new one each time."""
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(at_once) as pool:

        def run(name: str) -> Outcome:
            progress(f"{name} …")
            return fuzz(name, seconds, (corpus or Path(temporary)) / name, seed)

        yield from pool.map(run, names)


def fuzz(name: str, seconds: int, folder: Path, seed: int = 0) -> Outcome:
    """Fuzz one target; its corpus stays in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    forget_mended(name, folder / "found")
    code = _process(name, seconds, folder, seed, log)
    if code == STUCK:
        # On a machine that is too busy a process may come to nothing; an input that hangs does so again.
        code = _process(name, seconds, folder, seed, log)
    text = log.read_text(errors="replace")
    artifacts = sorted((folder / "found").glob("*-*"))
    findings = tuple(look_at(name, path) for path in artifacts)
    if code != 0 and not findings:
        findings = (Finding(name, "process", b"", f"exit code {code}\n{text[-3000:]}"),)
    done = [tuple(map(int, match)) for match in _PROGRESS.findall(text)]
    inputs, covered, kept = done[-1] if done else (0, 0, 0)
    return Outcome(name, inputs, covered, kept, findings)


def _process(name: str, seconds: int, folder: Path, seed: int, log: Path) -> int:
    """Run the fuzzing process of a target to its end; its exit code, or STUCK."""
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(folder)]
    # Where Python stands is told before the end, if it is there that it hangs.
    command += [str(seconds + PATIENCE - 5), f"-max_total_time={seconds}", f"-seed={seed}"]
    command += [f"-timeout={SLOW}", f"-rss_limit_mb={FAT}", f"-malloc_limit_mb={FAT // 2}"]
    root = Path(__file__).parent.parent.parent
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=root,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        try:
            return process.wait(seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return STUCK
