"""`mindface evaluate`: models on published protocols, and runs against each other."""

import typer

from mindface.cli.evaluate.clustering import clustering
from mindface.cli.evaluate.compare import compare
from mindface.cli.evaluate.detection import detection
from mindface.cli.evaluate.identification import identification
from mindface.cli.evaluate.ijb import ijb
from mindface.cli.evaluate.verification import verification

app = typer.Typer(
    name="evaluate",
    help="Measure models: accuracy and error rates with their uncertainty, average precision.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
for verb in (verification, identification, ijb, detection, clustering, compare):
    app.command()(verb)
