"""`mindface data`: sets of faces, built, checked, labelled, split and packed."""

import typer

from mindface.cli.data.build import build
from mindface.cli.data.check import check
from mindface.cli.data.label import label
from mindface.cli.data.pack import pack
from mindface.cli.data.split import split
from mindface.cli.data.synth import app as synth

app = typer.Typer(
    name="data",
    help="Make and check sets of faces to train on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for verb in (build, check, label, split, pack):
    app.command()(verb)
app.add_typer(synth)
