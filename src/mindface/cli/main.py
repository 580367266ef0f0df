"""The application: the verbs, and how errors become exit codes."""

from __future__ import annotations

import sys

import typer

from mindface.cli.align import align
from mindface.cli.calibrate import calibrate
from mindface.cli.cluster import cluster
from mindface.cli.convert import convert
from mindface.cli.data import app as data
from mindface.cli.detect import detect
from mindface.cli.doctor import doctor
from mindface.cli.embed import embed
from mindface.cli.evaluate import app as evaluate
from mindface.cli.export import export
from mindface.cli.gallery import VERBS as GALLERY_VERBS
from mindface.cli.gallery import app as gallery
from mindface.cli.models import models
from mindface.cli.train import app as train
from mindface.cli.verify import verify
from mindface.errors import MindFaceError

app = typer.Typer(
    name="mindface",
    help="Face detection and recognition, from a photo to a calibrated answer.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for verb in (
    detect,
    align,
    embed,
    verify,
    *GALLERY_VERBS,
    cluster,
    calibrate,
    models,
    export,
    convert,
    doctor,
):
    app.command()(verb)
app.add_typer(data)
app.add_typer(evaluate)
app.add_typer(gallery)
app.add_typer(train)


@app.callback(invoke_without_command=True)
def version(
    show: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True),
) -> None:
    """Face detection and recognition, from a photo to a calibrated answer."""
    if show:
        from mindface import __version__

        print(__version__)
        raise typer.Exit


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
    except OSError as error:  # such as an output that cannot be written
        print(f"mindface: {error.filename or 'the system'}: {error.strerror}", file=sys.stderr)
        sys.exit(12)
