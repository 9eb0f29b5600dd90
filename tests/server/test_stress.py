"""The stress of tests/bench/stress, small: hostile clients of all kinds beside an honest pair."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = {
    "--connections": 150,
    "--seconds": 3,
    "--messages": 400,
    "--frames": 600,
    "--sign-ins": 30,
    "--rounds": 2,
}
RSS_MIB = 300.0


@pytest.mark.processes
@pytest.mark.skipif(sys.platform != "linux", reason="the whole of 127.0.0.0/8 is Linux'")
def test_hostile_clients_cost_memory_and_log_little_and_honest_ones_go_on() -> None:
    sizes = [str(part) for option in SMALL.items() for part in option]
    made = subprocess.run(
        [sys.executable, "-m", "tests.bench.stress", "--json", *sizes],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    result = json.loads(made.stdout)
    assert (result["exit_code"], result["tracebacks"], result["errors_logged"]) == (0, 0, 0)
    phases = {name: value for name, value in result.items() if isinstance(value, dict)}
    assert len(phases) == 6
    for name, phase in phases.items():
        assert phase.get("attack_ended_well", True), (name, made.stderr)
        assert phase["messages"] > 0, name
        assert phase["server_rss_mib"] < RSS_MIB, name
