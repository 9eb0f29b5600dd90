"""The professions that an invitation has when none was given, in the reader's language.

What is signed keeps the word of the administrator's language; only these two words are put in another.
"""

from typing import Final

from ..i18n import LANGUAGES, N_, _, translate

SOFTWARE: Final = N_("software")
PROFESSIONAL: Final = N_("professional")


def profession_shown(profession: str | None) -> str:
    """A profession as it is shown to people; in JSON it stays as it was signed."""
    for known in (SOFTWARE, PROFESSIONAL):
        if profession in {translate(known, language) for language in LANGUAGES}:
            return _(known)
    return profession or ""
