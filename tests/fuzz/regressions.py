"""What the fuzzer found once, with its input. A struct stands as mls-structs/its name."""

from __future__ import annotations

REGRESSIONS: dict[str, tuple[str, bytes]] = {
    # Two encodings of one value.
    "a key twice in a stored path": (
        "mls-structs/PrivateTree",
        bytes(4) + bytes(2) + b"\x0c" + 2 * bytes(6),
    ),
}
