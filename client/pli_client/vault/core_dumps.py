"""No core dumps: a crashed process must not leave its keys in a file."""

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)
_SEM_FAILCRITICALERRORS = 0x0001  # SetErrorMode
_SEM_NOGPFAULTERRORBOX = 0x0002


def forbid_core_dumps() -> None:
    """Forbid them for this process; where the system refuses, life goes on.

    The resource limit alone does not stop a dump that Linux pipes into a program (core(5)).
    """
    if sys.platform == "win32":
        # Without it Windows Error Reporting may write a dump of the process.
        ctypes.windll.kernel32.SetErrorMode(_SEM_FAILCRITICALERRORS | _SEM_NOGPFAULTERRORBOX)
    else:
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
