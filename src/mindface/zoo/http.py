"""One file over http(s), by as many connections as it takes, each going on where the last stopped.

Whether it is the right file is for the caller to verify. That is why a part is continued without
asking whether the server's file is still the same: if it is not, its sha256 is another anyway.
"""

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
from mindface.errors import DownloadError

Progress = Callable[[int, int | None], None]

TIMEOUT = 30.0  # seconds for a connection and for each read
TRIES = 4  # in a row, each with less than PROGRESS bytes
PROGRESS = 1 << 20
BACKOFF = 0.5  # seconds before the second try; doubles with each
CHUNK = 1 << 17
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class _NetworkError(Exception):
    """The network failed in a way that another try may mend."""


def receive(url: str, part: Path, limit: int, progress: Progress) -> None:
    """Fills a file to its end.

    Args:
        url: where from; redirects are followed to the same scheme only.
        part: where to; what is there is taken for the file's beginning.
        limit: the most bytes it may have.
        progress: called with the bytes that have come and, where known, the bytes in all.

    Raises:
        DownloadError: it cannot be had; the part keeps what came.
        OSError: the part cannot be written.
    """
    failures = 0
    while True:
        before = _size(part)
        try:
            return _connect(url, part, limit, progress)
        except _NetworkError as error:
            failures = 1 if _size(part) - before >= PROGRESS else failures + 1
            if failures == TRIES:
                raise DownloadError(
                    f"{url}: {error}; gave up after {TRIES} tries. What came is kept: run it again"
                ) from error
            time.sleep(BACKOFF * 2 ** (failures - 1))


def _connect(url: str, part: Path, limit: int, progress: Progress) -> None:
    """One connection: appends to the part what the server sends."""
    have = _size(part)
    response = _open(url, part, have)
    if response is None:
        return
    with response:
        start = have if response.status == 206 else 0
        if start and not _continues(response, start):
            part.unlink()
            raise _NetworkError("the server sent another part than was asked for")
        total = None if response.length is None else start + response.length
        if total is not None:
            _check_room(url, part, start, total, limit)
        done = start
        with part.open("ab" if start else "wb") as file:
            while chunk := _read(response):
                done += len(chunk)
                if done > limit:
                    raise DownloadError(f"{url}: more bytes than the {limit} that it may have")
                file.write(chunk)
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _NetworkError(f"the connection was cut after {done} of {total} bytes")


def _open(url: str, part: Path, have: int) -> HTTPResponse | None:
    """The server's answer, or None where it says that the part is the whole file already."""
    request = Request(url, headers={"User-Agent": f"mindface/{__version__}"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response: HTTPResponse = _opener().open(request, timeout=TIMEOUT)
        return response
    except HTTPError as error:
        with error:
            if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
                return None
            if error.code == 416 and have:
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


def _check_room(url: str, part: Path, start: int, total: int, limit: int) -> None:
    if total > limit:
        raise DownloadError(f"{url}: {total} bytes, more bytes than the {limit} that it may have")
    free = shutil.disk_usage(part.parent).free
    if total - start > free:
        raise DownloadError(
            f"{part.parent}: {total - start} bytes more are needed, and {free} are free "
            f"(MINDFACE_CACHE chooses another directory)"
        )


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
