"""Named places where a test may kill the process: before, within and after each transaction.

`PLI_FAILPOINT=name` kills at the first passage, `PLI_FAILPOINT=name:3` at the third. Without the
variable a passage costs one comparison. The kill is SIGKILL (on Windows `os._exit`): no handler, no
flush, as when the power of the process is cut. Tests sweep over `declared()`.
"""

import os
import signal
import sys

_declared: set[str] = set()


def declare(*names: str) -> None:
    """Register fail points, so that a test can sweep over all of them."""
    _declared.update(names)


def declared(prefix: str = "") -> tuple[str, ...]:
    """All fail points of the modules imported so far, sorted."""
    return tuple(sorted(name for name in _declared if name.startswith(prefix)))


def failpoint(name: str) -> None:
    """Die here if the environment asks for it."""
    global _left
    if name != _armed:
        return
    _left -= 1
    if _left == 0:
        _die()


def _die() -> None:
    if sys.platform == "win32":
        os._exit(137)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def _parse(setting: str) -> tuple[str, int]:
    name, _, count = setting.partition(":")
    return name, int(count) if count.isdigit() and int(count) > 0 else 1


_armed, _left = _parse(os.environ.get("PLI_FAILPOINT", ""))
