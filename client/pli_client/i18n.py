"""French and English: which language, and the text of a msgid in it (gettext; msgids are English).

`_("…")` translates now; `N_("…")` only marks a text that is translated when it is shown. Placeholders
are named: `_("%(count)s messages") % {"count": n}`. The catalogue is locale/fr/LC_MESSAGES/pli.po;
`python -m tests.client.i18n.catalogue` brings it up to date and compiles it.
"""

import gettext as _gettext
import os
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, Literal, get_args

Language = Literal["fr", "en"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
FOLDER: Final = Path(__file__).parent / "locale"
DOMAIN: Final = "pli"

_current: Language | None = None


def language(option: str | None = None, env: Mapping[str, str] | None = None) -> Language:
    """The language to speak: `option` (--lang), PLI_LANG, the locale if it says English, else French.

    An option or PLI_LANG in another language than ours says nothing and is passed over.
    """
    env = os.environ if env is None else env
    for wish in (option, env.get("PLI_LANG")):
        known = _language_of(wish or "")
        if known is not None:
            return known
    return "en" if _language_of(_locale(env)) == "en" else "fr"


def unknown_wish(env: Mapping[str, str] | None = None) -> str | None:
    """What PLI_LANG asks for, where it is no language of ours; else None."""
    wish = (os.environ if env is None else env).get("PLI_LANG", "")
    return wish if wish.strip() and _language_of(wish) is None else None


def use(chosen: Language) -> None:
    """Speak this language from now on, in the whole process."""
    global _current
    _current = chosen


def current() -> Language:
    """The language in use; settled by the environment when `use` was not called."""
    global _current
    if _current is None:
        _current = language()
    return _current


def translate(message: str, chosen: Language | None = None) -> str:
    """The text of a msgid in the language in use, or in the one given."""
    return _catalogue(chosen or current()).gettext(message) if message else ""


def _(message: str) -> str:
    """The text of a msgid in the language in use."""
    return translate(message)


def ngettext(singular: str, plural: str, count: int) -> str:
    """The text that goes with a count, in the language in use."""
    return _catalogue(current()).ngettext(singular, plural, count)


def N_(message: str) -> str:
    """Mark a text for the catalogue; `translate` it where it is shown."""
    return message


def install_click(chosen: Language) -> None:
    """Have click speak this language too, before it prints its first word.

    click asks gettext's domain `messages` and knows no other way to be told the language than the
    variable LANGUAGE, which is therefore set in this process.
    """
    os.environ["LANGUAGE"] = chosen
    _gettext.bindtextdomain("messages", str(FOLDER))


@cache
def _catalogue(chosen: Language) -> _gettext.NullTranslations:
    if chosen == "en":
        return _gettext.NullTranslations()
    return _gettext.translation(DOMAIN, str(FOLDER), languages=[chosen], fallback=True)


def _language_of(name: str) -> Language | None:
    """`fr_FR.UTF-8` is French; `C` and the empty name are no language."""
    start = name.strip().lower().replace("-", "_").split(".")[0].split("@")[0].split("_")[0]
    return next((known for known in LANGUAGES if known == start), None)


def _locale(env: Mapping[str, str]) -> str:
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if env.get(variable):
            return env[variable]
    return _system_locale()


def _system_locale() -> str:
    if sys.platform == "win32":
        # Windows has no LANG: ask which language its windows speak.
        import ctypes
        import locale

        return locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "")
    return ""
