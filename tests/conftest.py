"""What a run needs from outside: MLS vectors, servers, tools, packages; and what was left out."""

import importlib.util
import os
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow: how long an example takes says nothing about the code. Continuous integration
# judges a change by the same examples each time; everybody else looks for new ones.
settings.register_profile(
    "pli",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
settings.load_profile("pli")

ROOT = Path(__file__).parent.parent
VECTORS = pytest.StashKey[dict[str, Counter[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--mls-vectors",
        type=Path,
        default=None,
        metavar="DIR",
        help="folder of the MLS working group's test vectors (default: ../shared/mls-vectors)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[VECTORS] = {}
    for name in os.environ.get("PLI_TEST_REQUIRE", "").replace(",", " ").split():
        if name not in TOOLS:
            raise pytest.UsageError(f"PLI_TEST_REQUIRE names {name}; known are {', '.join(TOOLS)}")
        if reason := missing(name):
            raise pytest.UsageError(f"PLI_TEST_REQUIRE names {name}, but {reason}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name in TOOLS:
            if item.get_closest_marker(f"needs_{name}") and (reason := missing(name)):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}: {reason}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if vectors := terminalreporter.config.stash[VECTORS]:
        terminalreporter.section("MLS test vectors")
        terminalreporter.line(f"{'passed':>8}{'failed':>8}{'unsupported suite':>19}  file")
        for name, counts in vectors.items():
            terminalreporter.line(
                f"{counts['passed']:>8}{counts['failed']:>8}{counts['unsupported']:>19}  {name}"
            )
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in skipped
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.items():
        terminalreporter.line(f"left out: {count} test{'s' * (count > 1)}: {reason}", yellow=True)


@pytest.fixture(scope="session")
def vector_counts(pytestconfig: pytest.Config) -> dict[str, Counter[str]]:
    """Per vector file how many entries passed, failed, or are of a suite that we do not have."""
    return pytestconfig.stash[VECTORS]


# --- tools that a machine may lack ---------------------------------------------------------------


def reach(variable: str, port: int) -> str:
    """Why the server that an environment variable (a URL) names cannot be used, or nothing."""
    url = os.environ.get(variable, "")
    if not url:
        return f"{variable} is not set"
    parts = urlsplit(url)
    try:
        # A URL without a host means a local socket, which only the driver can try.
        if parts.hostname:
            socket.create_connection((parts.hostname, parts.port or port), timeout=3).close()
    except OSError as error:
        return f"the server of {variable} does not answer ({error.strerror or error})"
    return ""


def runs(*command: str) -> str:
    """Why a program cannot be used, or nothing."""
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    done = subprocess.run(command, capture_output=True, timeout=20)
    return "" if done.returncode == 0 else f"`{' '.join(command)}` fails"


def installed(package: str) -> str:
    """Why a Python package cannot be used, or nothing."""
    if importlib.util.find_spec(package) is None:
        return f"{package} is not installed (has it a wheel for this Python and platform?)"
    return ""


def nats() -> str:
    """PLI_TEST_NATS is the URL of a running server, or the path of the nats-server program."""
    value = os.environ.get("PLI_TEST_NATS", "")
    if "://" in value or not value:
        return reach("PLI_TEST_NATS", 4222)
    return runs(value, "--version")


TOOLS: dict[str, Callable[[], str]] = {
    "postgresql": lambda: reach("PLI_TEST_POSTGRES", 5432),
    "nats": nats,
    "strace": lambda: runs("strace", "-o", os.devnull, "true"),
    "tmux": lambda: runs("tmux", "-V"),
    "atheris": lambda: installed("atheris"),
    "mls_rs": lambda: installed("mls_rs_uniffi"),
}
_reasons: dict[str, str] = {}


def missing(name: str) -> str:
    """Why a tool cannot be used, or nothing; tried once in a run."""
    if name not in _reasons:
        _reasons[name] = TOOLS[name]()
    return _reasons[name]
