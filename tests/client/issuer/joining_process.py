"""A device that joins in a process of its own, to be killed at a fail point: FOLDER CODE."""

import asyncio
import sys
from pathlib import Path

from pli_client.enrolment import parse_invitation

from .conftest import join


async def main(folder: Path, code: str) -> None:
    await join(folder, parse_invitation(code))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
