"""The application: the verbs, and how errors become exit codes."""

from __future__ import annotations

import sys

import typer

from mindface.errors import MindFaceError

app = typer.Typer(
    name="mindface",
    help="Face detection and recognition, from a photo to a calibrated answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Runs the command line; a `MindFaceError` becomes one line on stderr and its exit code."""
    try:
        app()
    except MindFaceError as error:
        print(f"mindface: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mindface: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
