"""The commands of galleries: `mindface gallery ...`, and the verbs that stand by themselves."""

import typer

from mindface.cli.gallery.check import audit, check
from mindface.cli.gallery.corrections import confirm, merge, reject, rename, split, undo
from mindface.cli.gallery.enroll import enroll
from mindface.cli.gallery.exchange import export_people, import_people
from mindface.cli.gallery.forget import forget, purge
from mindface.cli.gallery.identify import identify
from mindface.cli.gallery.key import key
from mindface.cli.gallery.people import edit, list_people, show
from mindface.cli.gallery.recover import integrity, recover
from mindface.cli.gallery.reindex import reindex
from mindface.cli.gallery.xmp import faces_to_xmp, names_from_xmp

VERBS = (enroll, identify, reject, confirm, merge, split, rename, undo, forget)

app = typer.Typer(
    name="gallery",
    help="Look after a gallery of enrolled people.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command("list")(list_people)
app.command("export")(export_people)
app.command("import")(import_people)
for verb in (show, edit, check, audit, purge, integrity, recover, reindex, key):
    app.command()(verb)
app.command()(faces_to_xmp)
app.command()(names_from_xmp)
