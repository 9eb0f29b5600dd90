"""`pli`, also as `python -m pli_client`: settles the language first, then hands over to the commands."""

import sys
from collections.abc import Sequence

from .i18n import install_click, language, unknown_wish, use


def main() -> None:
    """The command `pli`."""
    arguments = sys.argv[1:]
    wish = _wish(arguments)
    chosen = language(wish)
    use(chosen)
    install_click(chosen)
    # Only now: the texts of help are translated when the commands are imported.
    from .cli.main import run, say_which_languages

    unknown = unknown_wish() if wish is None else None
    if unknown is not None:
        say_which_languages(unknown)
    sys.exit(run(arguments))


def _wish(arguments: Sequence[str]) -> str | None:
    """The value of --lang, wherever it stands."""
    wish = None
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--":
            break
        if argument == "--lang":
            wish = following
        elif argument.startswith("--lang="):
            wish = argument.partition("=")[2]
    return wish


if __name__ == "__main__":
    main()
