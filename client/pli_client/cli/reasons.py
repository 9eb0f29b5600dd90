"""Reasons of revocations, typed and told, and of contradictions in the relay's log, told."""

import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import click

from ..i18n import N_, Language, _, current

LEFT: Final = "left"
"""Where no reason is given."""

_TYPED: Final[Mapping[Language, Mapping[str, str]]] = {
    "en": {"left": LEFT, "lost": "lost", "stolen": "stolen", "retired": "retired"},
    "fr": {"parti": LEFT, "perdu": "lost", "volé": "stolen", "retiré": "retired"},
}
"""Words of the command line and the protocol's codes. No texts to translate: all are always taken."""

_TOLD: Final = {
    "left": N_("has left"),
    "lost": N_("device lost"),
    "stolen": N_("device stolen"),
    "retired": N_("taken out of service"),
}


class Reason(click.Choice[str]):
    """Shows the words of the language in use, takes those of both, gives the protocol's code."""

    def __init__(self) -> None:
        super().__init__(list(_TYPED[current()]))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        typed = unicodedata.normalize("NFC", str(value)).lower()
        for words in _TYPED.values():
            if typed in words:
                return words[typed]
        return super().convert(value, param, ctx)


class OwnReason(Reason):
    """Why a person takes a device of their own out: lost, or retired. A stolen one is the issuer's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        code = super().convert(value, param, ctx)
        if code not in ("lost", "retired"):
            self.fail(
                _("say lost or retired; for a stolen device ask your administrator"), param, ctx
            )
        return code


def reason_typed(code: str) -> str:
    """The word of the language in use for a code."""
    return next(word for word, meant in _TYPED[current()].items() if meant == code)


def reason_told(code: str) -> str:
    """Why somebody was revoked, as people say it."""
    return _(_TOLD[code]) if code in _TOLD else code


_CONTRADICTIONS: Final = {
    "another-key": N_("it was signed with another key than the relay's log always had"),
    "signature": N_("its signature is not the relay's"),
    "forked": N_("at the same size the log has another content"),
    "truncated": N_("the log is shorter than it was"),
    "set-back": N_("the relay went back to an older timeline"),
    "inconsistent": N_("the relay's proof does not hold: its log was rewritten or forked"),
    "refused": N_("the relay does not prove what an honest relay always can"),
}


def contradiction_told(reason: str) -> str:
    """Why a head contradicts the relay's log, by `LogContradicted.reason`."""
    return _(_CONTRADICTIONS[reason]) if reason in _CONTRADICTIONS else reason
