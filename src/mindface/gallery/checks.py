"""What can be a name, a tag, a time of validity."""

from __future__ import annotations

from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.rows import Details


def check_text(text: str, what: str) -> None:
    """Raises `GalleryError` for what UTF-8 cannot hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise GalleryError(f"{text!r:.80} cannot be a {what}: it is not Unicode text") from error


def check_name(name: str) -> None:
    """Raises `GalleryError` for an empty name, or one that UTF-8 cannot hold."""
    check_text(name, "name")
    if not name.strip():
        raise GalleryError(f"{name!r:.80} is no name: it is empty")


def check_free(backend: Backend, name: str) -> None:
    """Raises `GalleryError` for a name that somebody has, or that cannot be one."""
    check_name(name)
    if backend.person(name) is not None:
        raise GalleryError(
            f"there is somebody named {name!r:.80} already: take another name, or merge them"
        )


def check_details(name: str, details: Details) -> None:
    """Raises `GalleryError` for a time that ends before it begins, or a tag that is no text."""
    start, stop = details.valid_from, details.valid_until
    if start is not None and stop is not None and start >= stop:
        raise GalleryError(f"{name!r:.80} would be valid until before it is valid from")
    for tag in details.tags:
        check_text(tag, "tag")
