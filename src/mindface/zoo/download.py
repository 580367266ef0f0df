"""Downloads of catalogued weights: verified by sha256, resumed where they stopped, done once."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from mindface._version import __version__
from mindface.errors import DownloadError, IntegrityError, ModelError
from mindface.zoo.cache import bundled_path, cached_path
from mindface.zoo.catalogue import get
from mindface.zoo.files import sha256_of, verify
from mindface.zoo.lock import locked
from mindface.zoo.record import ModelRecord

Progress = Callable[[int, int | None], None]

TIMEOUT = 30.0  # seconds for a connection and for each read
TRIES = 4  # in a row, each with less than PROGRESS bytes
PROGRESS = 1 << 20
BACKOFF = 0.5  # seconds before the second try; doubles with each
CHUNK = 1 << 17
MAX_BYTES = 1 << 30  # where the record does not say the size
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class _NetworkError(Exception):
    """The network failed in a way that another try may mend."""


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
    part = target.with_suffix(".part")
    if os.path.lexists(part) and not (part.is_file() and not part.is_symlink()):
        raise DownloadError(f"{part}: not a file of ours: remove it")
    resumed = _size(part) > 0
    _receive(record, url, part, progress)
    if resumed and sha256_of(part) != record.sha256:  # what lay there may be the culprit
        part.unlink()
        _receive(record, url, part, progress)
    found = sha256_of(part)
    if found != record.sha256:
        part.unlink()
        raise IntegrityError(
            f"{url}: what came has the sha256 {found[:16]}..., but the record of {record.name} "
            f"says {record.sha256[:16]}...: it was deleted; the file there was changed or replaced"
        )
    os.replace(part, target)


def _receive(record: ModelRecord, url: str, part: Path, progress: Progress) -> None:
    """Fills the part to its end, over as many connections as that takes."""
    failures = 0
    while True:
        before = _size(part)
        try:
            return _connect(record, url, part, progress)
        except _NetworkError as error:
            failures = 1 if _size(part) - before >= PROGRESS else failures + 1
            if failures == TRIES:
                raise DownloadError(
                    f"{url}: {error}; gave up after {TRIES} tries. What came is kept: run it again"
                ) from error
            time.sleep(BACKOFF * 2 ** (failures - 1))


def _connect(record: ModelRecord, url: str, part: Path, progress: Progress) -> None:
    """One connection: appends to the part what the server sends."""
    have = _size(part)
    request = Request(url, headers={"User-Agent": f"mindface/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    response = _open(request, part, have)
    if response is None:
        return
    with response:
        start = have if response.status == 206 else 0
        if start and not _continues(response, start):
            part.unlink()
            raise _NetworkError("the server sent another part than was asked for")
        total = None if response.length is None else start + response.length
        _check_room(record, url, part, total, start)
        with part.open("ab" if start else "wb") as file:
            done = start
            while chunk := _read(response):
                done += len(chunk)
                if done > (record.bytes or MAX_BYTES):
                    raise _too_large(record, url)
                file.write(chunk)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _NetworkError(f"the connection was cut after {done} of {total} bytes")


def _open(request: Request, part: Path, have: int) -> HTTPResponse | None:
    """The server's answer, or None where it says that the part is the whole file already."""
    url = request.full_url
    try:
        response: HTTPResponse = OPENER.open(request, timeout=TIMEOUT)
        return response
    except HTTPError as error:
        with error:
            if error.code == 416 and have:
                if error.headers.get("Content-Range") == f"bytes */{have}":
                    return None
                part.unlink()
                raise _NetworkError("the server has less than what was kept here") from error
            if error.code in TRY_AGAIN:
                raise _NetworkError(f"the server answered {error.code} {error.reason}") from error
            raise DownloadError(
                f"{url}: the server answered {error.code} {error.reason}"
            ) from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: the certificate is not valid: {error.reason}") from error
        raise _NetworkError(f"no connection: {error.reason}") from error
    except ValueError as error:
        raise DownloadError(f"{url}: led to an address that is none: {error}") from error
    except (OSError, HTTPException) as error:
        raise _NetworkError(f"no answer: {error or type(error).__name__}") from error


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read1(CHUNK)
    except (OSError, HTTPException) as error:
        raise _NetworkError(f"the connection was cut: {error or type(error).__name__}") from error


def _continues(response: HTTPResponse, start: int) -> bool:
    return (response.headers.get("Content-Range") or "").startswith(f"bytes {start}-")


def _check_room(record: ModelRecord, url: str, part: Path, total: int | None, start: int) -> None:
    if total is None:
        return
    if total > (record.bytes or MAX_BYTES):
        raise _too_large(record, url)
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise DownloadError(
            f"{part.parent}: {record.name} needs {total - start} bytes more, and {free} are free "
            f"(MINDFACE_CACHE chooses another directory)"
        )


def _too_large(record: ModelRecord, url: str) -> DownloadError:
    limit = f"the {record.bytes} of its record" if record.bytes else f"the limit of {MAX_BYTES}"
    return DownloadError(f"{url}: more bytes than {limit}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


class _SameScheme(HTTPRedirectHandler):
    """Follows a few redirects, never to another scheme: no way to http, ftp or a local file."""

    max_redirections = 5

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> Any:
        target = urljoin(req.full_url, headers.get("Location") or headers.get("URI") or "")
        if urlsplit(target).scheme != urlsplit(req.full_url).scheme:
            fp.close()
            raise DownloadError(
                f"{req.full_url}: leads to {target!r:.200}, and a change of scheme is refused"
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> OpenerDirector:
    """What speaks https and http and nothing else: urllib's own opener reads files and ftp too."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        _SameScheme,
        HTTPErrorProcessor,
        HTTPDefaultErrorHandler,
        UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


OPENER = _opener()
