"""`mindface reject`, `confirm`, `merge`, `split`, `rename`, `undo`: entries of the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.gallery.shared import KeyFile, Name, Url, open_gallery, say
from mindface.cli.options import Json, ModelOptions, runs_models

Photo = Annotated[Path, typer.Argument(help="A photo that shows the face.")]
Number = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Which face of several, as identify says.")
]
New = Annotated[str, typer.Argument(metavar="NEW", help="A name that nobody has.")]


@runs_models()
def reject(
    person: Name,
    photo: Photo,
    face: Number = None,
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Say that a face is not that person: it is never said to be again, nor counts for it.

    Example: mindface reject "Ada Lovelace" party.jpg --face 2 --gallery people.db
    """
    from mindface.enrolment import face_of

    with open_gallery(gallery, key_file=key_file) as people:
        content = face_of(people, models.open_analyzer, person, photo, face)
        say(people.reject(person, content), f"{photo} does not show {person}", as_json)


@runs_models()
def confirm(
    person: Name,
    photo: Photo,
    face: Number = None,
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Say that a face is that person, however it looks; takes an earlier rejection back.

    Example: mindface confirm "Ada Lovelace" party.jpg --face 1 --gallery people.db
    """
    from mindface.enrolment import face_of

    with open_gallery(gallery, key_file=key_file) as people:
        content = face_of(people, models.open_analyzer, person, photo, face)
        say(people.confirm(person, content), f"{photo} shows {person}", as_json)


def merge(
    person: Name,
    other: Annotated[str, typer.Argument(help="Who is the same person.")],
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Make two people one: the other's name becomes an alias of the first.

    Example: mindface merge "Ada Lovelace" "Ada Byron" --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        say(people.merge(person, other), f"{other} is {person}", as_json)


def split(
    person: Name,
    new: New,
    faces: Annotated[
        list[int], typer.Argument(metavar="FACE...", help="Numbers, as gallery show has them.")
    ],
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give some of a person's faces to a new person.

    Example: mindface split "Ada Lovelace" "Anne Blunt" 12 14 --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        entry = people.split(person, faces, new)
    say(entry, f"{len(set(faces))} faces of {person} are {new}", as_json)


def rename(
    person: Name, new: New, gallery: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Give a person, or an alias, another name.

    Example: mindface rename "Ada Byron" "Ada Lovelace" --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        say(people.rename(person, new), f"{person} is called {new}", as_json)


def undo(
    entry: Annotated[
        int | None, typer.Argument(min=1, help="Its number; default: the last that stands.")
    ] = None,
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Take an entry of the journal back: an enrolment or a correction.

    Example: mindface undo --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        done = people.undo(entry)
        number = done.payload["entry"]
        kind = next(people.backend.entries(number, number)).kind
    say(done, f"entry {number} ({kind}) is taken back", as_json)
