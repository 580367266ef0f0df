"""What names a photo and a face in it, wherever the file lies."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from mindface.analyzer import FaceAnalyzer
from mindface.errors import GalleryError, ImageError, NoFaceError
from mindface.files import open_regular
from mindface.gallery import Gallery
from mindface.gallery.rows import face_content


def photo_hash(path: str | os.PathLike[str]) -> str:
    """The sha256 of a photo's file, in hexadecimal.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
        raise ImageError(reason, os.fspath(path)) from error


def face_of(
    gallery: Gallery,
    open_analyzer: Callable[[], FaceAnalyzer],
    name: str,
    path: Path,
    number: int | None = None,
) -> str:
    """Names the face of a photo that is meant, as `Gallery.reject` and `confirm` take it.

    Args:
        gallery: where the person is.
        open_analyzer: called where the photo has to be looked at: not where it is enrolled for
            the person.
        name: of the person.
        path: of the photo.
        number: of the face, the best score being 1; None: that enrolled for the person, else the
            only one.

    Raises:
        ImageError: the photo cannot be read.
        NoFaceError: it shows no face.
        GalleryError: there is nobody of that name or no such face, or it was not said which.
    """
    people = gallery.journal.group(gallery.journal.root(name).id)
    photo = photo_hash(path)
    if number is None:
        enrolled = {
            face.content for face in gallery.backend.faces_in(photo) if face.person in people
        }
        if len(enrolled) == 1:
            return enrolled.pop()
    analysis = next(open_analyzer().stream([path]))
    if analysis.error:
        raise ImageError(analysis.error, str(path))
    faces = len(analysis.faces)
    if not faces:
        raise NoFaceError(f"{path}: {analysis.reason}")
    if number is None and faces > 1:
        raise GalleryError(f"{path}: shows {faces} faces: say which, by the number of identify")
    if number is not None and not 1 <= number <= faces:
        raise GalleryError(f"{path}: shows {faces} faces, so there is no face {number}")
    return face_content(photo, (number or 1) - 1)
