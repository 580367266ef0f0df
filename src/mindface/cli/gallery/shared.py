"""What the gallery's commands share: which gallery, and how an entry of its journal is told."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.errors import ConfigError, GalleryError

if TYPE_CHECKING:
    from mindface.gallery import Entry, Gallery, Key
    from mindface.recognition.recognizer import Recognizer

VARIABLE = "MINDFACE_GALLERY"
KEY_FILE = "MINDFACE_GALLERY_KEY_FILE"
KEY = "MINDFACE_GALLERY_KEY"

Url = Annotated[
    str | None,
    typer.Option("--gallery", metavar="URL", help=f"The gallery: a file; else {VARIABLE}."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help=f"Key of an encrypted gallery; else {KEY_FILE} or {KEY}."),
]
Name = Annotated[str, typer.Argument(metavar="PERSON", help="A name, or an alias.")]
Calibrated = Annotated[
    Path | None, typer.Option(metavar="CAL.json", help="From mindface calibrate.")
]
Rate = Annotated[
    float,
    typer.Option("--fpir", min=0, max=1, help="How many strangers may be taken for somebody."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def given_moment(text: str) -> datetime:
    """A time that an option gives.

    Raises:
        BadParameter: it is none, or has no zone.
    """
    from mindface.enrolment.portraits import moment_of

    try:
        return moment_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def gallery_url(given: str | None) -> str:
    """The gallery that is meant.

    Raises:
        ConfigError: none was named.
    """
    url = given or os.environ.get(VARIABLE)
    if not url:
        raise ConfigError(f"which gallery? Say --gallery FILE, or set {VARIABLE}")
    return url


def gallery_key(given: Path | None) -> Key | None:
    """The key that is meant: of the option, or else of the environment; None: there is none.

    Raises:
        GalleryKeyError: it cannot be used.
    """
    from mindface.gallery import Key

    if path := given or os.environ.get(KEY_FILE):
        return Key.read(path)
    if text := os.environ.get(KEY):
        return Key.parse(text, KEY)
    return None


def open_gallery(
    given: str | None,
    recognizer: Recognizer | None = None,
    *,
    key_file: Path | None,
    create: bool = False,
    **policy: Any,
) -> Gallery:
    """The gallery that is meant; with a recogniser it must hold that one's embeddings.

    Args:
        given: the option.
        recognizer: by whose calibration it decides.
        key_file: the option.
        create: whether it is made if absent.
        **policy: of decisions; see `Gallery`.

    Raises:
        ConfigError: none was named.
        GalleryError: it is not there.
        GalleryKeyError: its key is missing, cannot be used or is another's.
        ContractError: it holds another model's embeddings.
    """
    from mindface.gallery import Gallery

    url, key = gallery_url(given), gallery_key(key_file)
    if not create and "://" in url:
        Gallery(url).close()  # a contract would make one that is not there
    elif not create and not Path(url).exists():
        raise GalleryError(f"{url}: no such gallery: mindface enroll makes one")
    if recognizer is None:
        return Gallery(url, key=key)
    return Gallery(
        url,
        recognizer.record.contract,
        recognizer.embedding_size,
        calibration=recognizer.calibration,
        key=key,
        **policy,
    )


def say(entry: Entry, sentence: str, as_json: bool) -> None:
    """Prints what was done and the number by which it can be undone."""
    if as_json:
        facts = {"entry": entry.id, "kind": entry.kind, "done": sentence}
        print(json.dumps(facts, ensure_ascii=False))
    else:
        print(f"entry {entry.id}: {sentence}")


def agreed(question: str, yes: bool) -> None:
    """Asks before something that cannot be undone.

    Raises:
        ConfigError: nobody is there to answer.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody is there to answer: say --yes")
    typer.confirm(question, abort=True, err=True)
