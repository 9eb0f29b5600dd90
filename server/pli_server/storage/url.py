"""Where the database is: a URL that may hold a password, so that nothing ever shows it."""

from typing import Final
from urllib.parse import urlsplit

from ..errors import OperatorError

SCHEMES: Final = ("postgresql", "postgresql+asyncpg")
VARIABLE: Final = "PLI_DATABASE_URL"
"""Where it comes from when it has a password."""


class DatabaseURL:
    """The URL of a PostgreSQL database, in the form of libpq (`postgresql://user@host:port/name?…`)."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Raises OperatorError where it is no such URL; the text is not quoted."""
        scheme, colon, rest = text.partition("://")
        if scheme not in SCHEMES or not colon or not urlsplit(f"//{rest}").path.strip("/"):
            raise OperatorError(
                f"the database's URL ({VARIABLE}, or `database_url` in the settings) is not of the form "
                "postgresql://USER@HOST:PORT/NAME; leave it out for the embedded database"
            )
        self._text = f"postgresql://{rest}"

    def reveal(self) -> str:
        """The whole URL with its password, for the driver only."""
        return self._text

    def __repr__(self) -> str:
        return "DatabaseURL(<hidden>)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DatabaseURL) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)
