"""Settings from the environment: PLI_LISTEN, PLI_LOG_LEVEL, PLI_DATABASE_URL… before the file's."""

import contextlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from .errors import OperatorError

PREFIX: Final = "PLI_"
FROM_FILE: Final = "_FILE"
"""PLI_DATABASE_URL_FILE names a file that holds the value: for secrets."""

_PASSWORD: Final = re.compile(
    r"://[^/@\s:]*:[^@\s]+@|[?&](ssl)?password=|^(nats|tls|ws|wss)://[^/\s]*@", re.IGNORECASE
)
"""user:password@ (an unquoted / in it too), libpq's parameter, a token of NATS."""


def overridden(
    data: dict[str, Any], settings: type[Struct], environment: Mapping[str, str]
) -> dict[str, Any]:
    """The file's values with those of the environment in their place.

    Raises:
        OperatorError: a file named by a variable cannot be read, or a value and a file are both given.
    """
    return _section(data, settings, PREFIX, environment)


def refuse_passwords(data: Any, where: str = "") -> None:
    """A settings file is copied and shown around: a URL's password comes from elsewhere.

    Raises:
        OperatorError: a value is a URL with a password.
    """
    if isinstance(data, dict):
        for name, value in data.items():
            refuse_passwords(value, f"{where}_{name}".lstrip("_").upper())
    elif isinstance(data, str) and _PASSWORD.search(data):
        raise OperatorError(
            f"a password does not belong into the settings file; give the whole URL in {PREFIX}{where}, "
            f"or the name of a file that holds it in {PREFIX}{where}{FROM_FILE}"
        )


def _section(
    data: Any, section: type[Struct], prefix: str, environment: Mapping[str, str]
) -> dict[str, Any]:
    if not isinstance(data, dict):
        return data  # type: ignore[no-any-return]  # refused by its type later
    merged, hints = dict(data), get_type_hints(section)
    for field in msgspec.structs.fields(section):
        variable = prefix + field.name.upper()
        if isinstance(field.default, Struct):
            inner = _section(
                merged.get(field.name, {}), type(field.default), f"{variable}_", environment
            )
            if inner:
                merged[field.name] = inner
        elif (text := _given(variable, environment)) is not None:
            merged[field.name] = _value(text, hints[field.name])
    return merged


def _given(variable: str, environment: Mapping[str, str]) -> str | None:
    named = environment.get(variable + FROM_FILE)
    if named is None:
        return environment.get(variable)
    if variable in environment:
        raise OperatorError(f"{variable} and {variable}{FROM_FILE} are both given; give one")
    try:
        return Path(named).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"the file that {variable}{FROM_FILE} names cannot be read ({error})"
        ) from None


def _value(text: str, hint: Any) -> Any:
    """A text as it is; a list by its commas; a number or truth value as TOML writes it."""
    if get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if str not in (hint, *get_args(hint)):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return tomllib.loads(f"value = {text}")["value"]
    return text
