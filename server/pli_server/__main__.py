"""`pli-server`, also as `python -m pli_server`."""

import sys


def main() -> None:
    """Run the command line; says in one sentence what is missing without the server's extra."""
    try:
        from .command_line import cli
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("pli_"):
            raise
        sys.exit(f"pli-server needs {error.name}; install it with: pip install 'pli[server]'")
    cli()


if __name__ == "__main__":
    main()
