"""What the gallery's commands share: which gallery, and how an entry of its journal is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.errors import ConfigError, GalleryError

if TYPE_CHECKING:
    from mindface.gallery import Entry, Gallery
    from mindface.recognition.recognizer import Recognizer

VARIABLE = "MINDFACE_GALLERY"

Url = Annotated[
    str | None,
    typer.Option("--gallery", metavar="URL", help=f"The gallery: a file; else {VARIABLE}."),
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


def gallery_url(given: str | None) -> str:
    """The gallery that is meant.

    Raises:
        ConfigError: none was named.
    """
    url = given or os.environ.get(VARIABLE)
    if not url:
        raise ConfigError(f"which gallery? Say --gallery FILE, or set {VARIABLE}")
    return url


def open_gallery(
    given: str | None,
    recognizer: Recognizer | None = None,
    *,
    create: bool = False,
    **policy: Any,
) -> Gallery:
    """The gallery that is meant; with a recogniser it must hold that one's embeddings.

    Args:
        given: the option.
        recognizer: by whose calibration it decides.
        create: whether it is made if absent.
        **policy: of decisions; see `Gallery`.

    Raises:
        ConfigError: none was named.
        GalleryError: it is not there.
        ContractError: it holds another model's embeddings.
    """
    from mindface.gallery import Gallery

    url = gallery_url(given)
    if not create and "://" not in url and not Path(url).exists():
        raise GalleryError(f"{url}: no such gallery: mindface enroll makes one")
    if recognizer is None:
        return Gallery(url)
    return Gallery(
        url,
        recognizer.record.contract,
        recognizer.embedding_size,
        calibration=recognizer.calibration,
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
