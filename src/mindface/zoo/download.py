"""Downloads of catalogued weights: verified by sha256, resumed where they stopped, done once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mindface.errors import DownloadError, IntegrityError, ModelError
from mindface.zoo.cache import bundled_path, cached_path
from mindface.zoo.catalogue import get
from mindface.zoo.files import sha256_of, verify
from mindface.zoo.lock import locked
from mindface.zoo.record import ModelRecord

if TYPE_CHECKING:
    from mindface.zoo.http import Progress

MAX_BYTES = 1 << 30  # where the record does not say the size


def fetch(name: str, *, offline: bool = False, progress: Progress | None = None) -> Path:
    """Makes sure that a catalogued weight is on this machine, and verified.

    Environment variables: `MINDFACE_CACHE` (the cache directory), `MINDFACE_OFFLINE` (anything
    but empty and 0: as `offline`), `MINDFACE_MIRROR` (see `address`), and the usual
    `https_proxy`, `http_proxy` and `no_proxy`.

    Args:
        name: of the catalogue.
        offline: never use the network.
        progress: called with the bytes that have come and, where known, the bytes in all.

    Returns:
        The file.

    Raises:
        UnknownModelError: no such name.
        ModelError: the weight has no public address.
        DownloadError: offline, or it could not be fetched; what came is kept for the next try.
        IntegrityError: what came is not what the record says; it is deleted.
    """
    record = get(name)
    bundled = bundled_path(record)
    if bundled.is_file():
        verify(bundled, record, "install mindface again")
        return bundled
    target = cached_path(record)
    if _intact(target, record):
        return target
    if record.url is None:
        raise ModelError(f"{name} has no public address: give the path of its file instead")
    if offline or os.environ.get("MINDFACE_OFFLINE", "0") not in ("", "0"):
        raise DownloadError(f"{name} is not in {target.parent}, and we are offline")
    url = address(record.url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_suffix(".lock")):
            if not _intact(target, record):
                _fetch(record, url, target, progress or (lambda done, total: None))
    except OSError as error:
        raise DownloadError(
            f"{error.filename or target}: cannot be written: {error.strerror or error} "
            f"(MINDFACE_CACHE chooses another directory)"
        ) from error
    return target


def address(url: str) -> str:
    """Where a url is fetched from: itself, or a mirror's copy of it.

    `MINDFACE_MIRROR=https://mirror.example/weights` turns `https://github.com/a/b.onnx` into
    `https://mirror.example/weights/a/b.onnx`: scheme and host are replaced, the path is kept.
    Plain http is used only where the variable says `http://`.

    Raises:
        DownloadError: the variable holds no such address.
    """
    mirror = os.environ.get("MINDFACE_MIRROR", "").rstrip("/")
    if not mirror:
        return url
    try:
        parts = urlsplit(mirror)
        plain = parts.hostname and not (parts.username or parts.query or parts.fragment)
    except ValueError:
        plain = False
    if not plain or parts.scheme not in ("https", "http"):
        raise DownloadError(
            "MINDFACE_MIRROR must be https://HOST[:PORT][/PATH] (or http://...), without a user, "
            "a query or a fragment"
        )
    return mirror + urlsplit(url).path


def _intact(path: Path, record: ModelRecord) -> bool:
    if not path.is_file():
        return False
    try:
        verify(path, record, "")
    except IntegrityError:
        return False
    return True


def _fetch(record: ModelRecord, url: str, target: Path, progress: Progress) -> None:
    """Downloads beside the target and moves into place what has the right sha256."""
    from mindface.zoo.http import receive

    part = target.with_suffix(".part")
    if part.is_symlink() or (part.exists() and not part.is_file()):
        raise DownloadError(f"{part}: not a file of ours: remove it")
    limit = record.bytes or MAX_BYTES
    resumed = part.exists()
    receive(url, part, limit, progress)
    if resumed and sha256_of(part) != record.sha256:  # what lay there may be the culprit
        part.unlink()
        receive(url, part, limit, progress)
    found = sha256_of(part)
    if found != record.sha256:
        part.unlink()
        raise IntegrityError(
            f"{url}: what came has the sha256 {found[:16]}..., but the record of {record.name} "
            f"says {record.sha256[:16]}...: it was deleted; the file there was changed or replaced"
        )
    os.replace(part, target)
