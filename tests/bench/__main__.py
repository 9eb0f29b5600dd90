"""All benchmarks of docs/benchmarks.md in one run: `make bench`."""

import platform
import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    ["tests.bench.mls"],
    ["tests.bench.hpke"],
    ["tests.bench.wire"],
    ["tests.bench.relay"],
)


def machine() -> str:
    """One line that describes the machine, for the table's caption."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        if names:
            model = f"{len(names)} × {names[0].split(':', 1)[1].strip()}"
    return f"{model}; {platform.system()} {platform.release()}; Python {platform.python_version()}"


def main() -> int:
    print(machine(), flush=True)
    for benchmark in BENCHMARKS:
        print(f"\n== {' '.join(benchmark)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *benchmark], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
