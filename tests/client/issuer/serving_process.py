"""The issuer in a process of its own, to be killed at a fail point: FOLDER as the argument."""

import asyncio
import sys
from pathlib import Path

from pli_client.issuer import Issuer

from .conftest import PASSPHRASE


async def main(folder: Path) -> None:
    async with await Issuer.open(folder, PASSPHRASE) as issuer:
        await issuer.serve()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
