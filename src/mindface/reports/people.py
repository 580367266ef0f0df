"""Contact sheets: who was found in an album, the joins that somebody should look at first.

The page, `index.html`, opens from the disk; its pictures are files beside it, nothing is fetched
from elsewhere, and no script is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from mindface.reports.markup import Markup, element

# Firefox and Chrome do not count the files beside a page on the disk as its own.
_POLICY = "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'"


class Picture(NamedTuple):
    """A face on the page.

    Attributes:
        file: of the picture, relative to the page; None where there is none.
        caption: such as the path of the photo.
        note: a second line, or "".
        marked: whether it stands out.
    """

    file: str | None
    caption: str
    note: str = ""
    marked: bool = False


class Sheet(NamedTuple):
    """Pictures that belong together, such as of one person, below a heading."""

    heading: str
    reading: str
    pictures: Sequence[Picture]


class Pair(NamedTuple):
    """Two faces of groups that were joined, and what is said of it."""

    first: Picture
    second: Picture
    value: str
    note: str


def write_people_report(
    directory: Path, title: str, lead: str, pairs: Sequence[Pair], sheets: Iterable[Sheet]
) -> Path:
    """Writes the page, whole or not at all.

    Args:
        directory: exists; the pictures are in it.
        title: of the page.
        lead: a sentence below it.
        pairs: doubtful joins, the most doubtful first.
        sheets: of people; taken as they are written.

    Returns:
        The path of the page.

    Raises:
        OSError: the directory cannot be written.
    """
    page = directory / "index.html"
    partial = page.with_name(f"index.html.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(_page(title, lead, pairs, sheets))
        partial.replace(page)
    finally:
        partial.unlink(missing_ok=True)
    return page


def _page(title: str, lead: str, pairs: Sequence[Pair], sheets: Iterable[Sheet]) -> Iterator[str]:
    style = files("mindface.reports").joinpath("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    yield f'<!DOCTYPE html>\n<html lang="en">{head}<body><main>'
    yield element("header", element("h1", title), element("p", lead, class_="reading"))
    if pairs:
        yield element(
            "section",
            element("h2", "Doubtful joins"),
            element("p", _READING, class_="reading"),
            element("ol", *map(_pair, pairs), class_="sheet"),
        )
    yield f"<section>{element('h2', 'People')}\n"
    for sheet in sheets:
        yield element(
            "section",
            element("h3", sheet.heading),
            element("p", sheet.reading, class_="reading") if sheet.reading else "",
            element("ol", *map(_item, sheet.pictures), class_="faces"),
        )
        yield "\n"
    yield "</section></main></body></html>\n"


_READING = (
    "The two faces, of all the most alike, of two groups that were joined though they are hardly "
    "more alike than strangers may be. The least alike groups come first."
)


def _pair(pair: Pair) -> Markup:
    notes = dict.fromkeys((pair.note, pair.first.caption, pair.second.caption))
    return element(
        "li",
        element("div", _image(pair.first), _image(pair.second), class_="pair"),
        element("span", pair.value, class_="value"),
        *(element("span", note, class_="note") for note in notes),
    )


def _item(picture: Picture) -> Markup:
    return element(
        "li",
        _image(picture),
        element("span", picture.note, class_="value") if picture.note else "",
        element("span", picture.caption, class_="note"),
        **({"class_": "marked"} if picture.marked else {}),
    )


def _image(picture: Picture) -> Markup:
    if picture.file is None:
        return element("span", "no face", class_="missing")
    alt = f"Face in {picture.caption}"
    return element("img", src=picture.file, alt=alt, loading="lazy", decoding="async")
