"""An album for people to look at: thumbnails, and a page with a contact sheet for each person."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

from mindface.album.people import SortedFace
from mindface.album.sort import Album
from mindface.album.store import FaceStore
from mindface.enrolment import crop_with_margin
from mindface.errors import ImageError
from mindface.imaging import open_image
from mindface.reports.people import Pair, Picture, Sheet, write_people_report
from mindface.results import Face

Track = Callable[[Iterable[SortedFace], int], Iterator[SortedFace]]

FOLDER = "faces"
THUMBNAIL = re.compile(r"[0-9a-f]{32}\.jpg")
JOINS = 200  # that are shown
FACES = 60  # of a person that are shown


def write_report(
    album: Album,
    store: FaceStore,
    directory: Path,
    title: str,
    track: Track = lambda items, total: iter(items),
) -> Path:
    """Writes contact sheets: `index.html`, and thumbnails in the folder `faces`.

    Doubtful joins come first; of each person the doubtful faces do. Thumbnails that are there are
    not made again, so that stopped work goes on; those of an earlier report are removed where they
    are no longer shown.

    Args:
        album: whose people are shown.
        store: which knows the photos.
        directory: made where it does not exist.
        title: of the page.
        track: shows the progress.

    Returns:
        The path of the page.

    Raises:
        OSError: the directory cannot be written.
    """
    folder = directory / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    people = _people(album.faces)
    joins = album.joins[:JOINS]
    wanted = [face for faces in people for face in faces[:FACES]]
    wanted += [album.faces[face] for each in joins for face in each.faces]
    wanted = sorted({_key(face): face for face in wanted}.values(), key=_key)
    made = {
        (face.path, face.face) for face in track(wanted, len(wanted)) if _made(face, store, folder)
    }
    pairs = [
        Pair(
            _picture(album.faces[each.faces[0]], made),
            _picture(album.faces[each.faces[1]], made),
            f"{each.similarity:.3f}",
            _title(album.faces[each.faces[0]]),
        )
        for each in joins
    ]
    page = write_people_report(
        directory, title, _lead(album, people), pairs, (_sheet(faces, made) for faces in people)
    )
    kept = {_file(face) for face in wanted}
    for path in folder.iterdir():
        if THUMBNAIL.fullmatch(path.name) and path.name not in kept:
            path.unlink()
    return page


def _key(face: SortedFace) -> tuple[Path, str]:
    return face.path, face.face


def _people(faces: Sequence[SortedFace]) -> list[list[SortedFace]]:
    """The faces of each person, the doubtful ones first; the person of most faces first."""
    groups: dict[int, list[SortedFace]] = {}
    for face in sorted(faces, key=lambda face: face.place):
        if face.person is not None:
            groups.setdefault(face.person, []).append(face)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].person))


def _made(face: SortedFace, store: FaceStore, folder: Path) -> bool:
    """Whether there is a thumbnail, after it was made where it was not."""
    path = folder / _file(face)
    if path.exists():
        return True
    photo = store.photo(face.path)
    if photo is None:
        return False
    row = photo.faces[int(face.face.rpartition(":")[2])]
    try:
        crop = crop_with_margin(
            open_image(face.path), Face(row["box"], float(row["score"]), row["landmarks"])
        )
    except ImageError:  # it is gone, or changed, since it was looked at
        return False
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    partial.write_bytes(crop)
    partial.replace(path)
    return True


def _file(face: SortedFace) -> str:
    return sha256(f"{face.face} {face.box}".encode()).hexdigest()[:32] + ".jpg"


def _picture(face: SortedFace, made: set[tuple[Path, str]]) -> Picture:
    sure = "" if face.confidence is None else f"{face.confidence:+.2f}"
    note = " ".join(filter(None, (sure, face.decision)))
    file = f"{FOLDER}/{_file(face)}" if _key(face) in made else None
    return Picture(file, face.path.name, note, face.doubtful)


def _title(face: SortedFace) -> str:
    return face.name or f"Person {face.person}"


def _sheet(faces: Sequence[SortedFace], made: set[tuple[Path, str]]) -> Sheet:
    count, doubtful = len(faces), sum(face.doubtful for face in faces)
    said = [f"person {faces[0].person}, {count:,} {'face' if count == 1 else 'faces'}"]
    if doubtful:
        said.append(f"{doubtful:,} doubtful")
    if count > FACES:
        said.append(f"the {FACES} least sure are shown")
    return Sheet(
        _title(faces[0]), ", ".join(said), [_picture(face, made) for face in faces[:FACES]]
    )


def _lead(album: Album, people: Sequence[Sequence[SortedFace]]) -> str:
    sorted_faces = sum(map(len, people))
    said = (
        f"{len(people):,} people of {sorted_faces:,} faces, and "
        f"{len(album.faces) - sorted_faces:,} faces that are like no other. The figure below a "
        "face says by how much it is more similar to the person's other faces than to anybody "
        "else; faces in a frame are doubtful."
    )
    if len(album.joins) > JOINS:
        said += f" Of {len(album.joins):,} doubtful joins the first {JOINS} are shown."
    return said
