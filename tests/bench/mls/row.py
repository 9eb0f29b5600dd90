"""One line of the result."""

from typing import Any

Row = dict[str, Any]
"""`op`, `suite`, `members`, then microseconds (`pli_us`, `mls_rs_us`, `floor_us`)
or sizes (`pli_bytes`, `mls_rs_bytes`)."""
