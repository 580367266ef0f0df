"""Galleries by URL.

| URL | what it is |
|---|---|
| `people.db` | a file, with others beside it: the embedded backend |
| `postgresql://user@host/database` | a database of PostgreSQL with pgvector; all that libpq takes |
| `milvus://host:port` | a Milvus server; `user:password@` before, `/database` after |
| `milvus+lite://people.milvus` | a folder of Milvus Lite; one process at a time |

Servers take options after `?`: `gallery=NAME`, of several in one database ("mindface"); and
`index=hnsw`, to search by an index that finds the nearest mostly instead of exactly. With Milvus
also `secure=true`, for TLS.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from mindface.errors import ConfigError, GalleryError, MissingExtraError
from mindface.gallery.backend import Backend
from mindface.gallery.embedded import Embedded, Precision
from mindface.gallery.encryption import Key

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
DEFAULT = "mindface"
INDEXES = ("exact", "hnsw")


def open_backend(
    url: str | os.PathLike[str],
    contract: str | None = None,
    size: int | None = None,
    search: Precision = "float32",
    key: Key | None = None,
) -> Backend:
    """The backend that a URL names.

    Raises:
        ConfigError: there is no such way to search, or not on a server; or a key, on a server.
        GalleryError: of a kind that is not known, or with options that cannot be; and as the
            backends.
        MissingExtraError: what it needs is not installed.
    """
    text = os.fspath(url)
    scheme = text.partition("://")[0] if "://" in text else ""
    if not scheme:
        return Embedded(Path(url), contract, size, search, key)
    if search != "float32":
        raise ConfigError(f"search={search!r}: is for files: a server's URL takes ?index=hnsw")
    if key is not None:
        raise ConfigError(f"{scheme}://: a key is for files: servers are encrypted by their own")
    if scheme in ("postgresql", "postgres"):
        return _postgres(text, contract, size)
    if scheme in ("milvus", "milvus+lite"):
        return _milvus(text, contract, size)
    raise GalleryError(
        f"{scheme}://: no such kind of gallery: name a file, postgresql://, milvus:// or "
        "milvus+lite://"
    )


def _postgres(text: str, contract: str | None, size: int | None) -> Backend:
    address, gallery, index, others = _options(text)
    try:
        from mindface.gallery.postgres import Postgres
    except ModuleNotFoundError as error:
        raise MissingExtraError("a gallery in PostgreSQL", "postgres") from error
    # what is left is libpq's
    return Postgres(address._replace(query=urlencode(others)), gallery, index, contract, size)


def _milvus(text: str, contract: str | None, size: int | None) -> Backend:
    address, gallery, index, others = _options(text)
    secure = others.pop("secure", "false")
    if others or secure not in ("true", "false"):
        wrong = ", ".join(others) or f"secure={secure}"
        raise GalleryError(
            f"{address.scheme}://: no such option: {wrong}: there are gallery, index, secure"
        )
    try:
        from mindface.gallery.milvus import Milvus
    except ModuleNotFoundError as error:
        raise MissingExtraError("a gallery in Milvus", "milvus") from error
    return Milvus(address, gallery, index, secure == "true", contract, size)


def _options(text: str) -> tuple[SplitResult, str, str, dict[str, str]]:
    """A URL, and of its options the gallery, the index and the others."""
    address = urlsplit(text)
    options = dict(parse_qsl(address.query, keep_blank_values=True))
    gallery, index = options.pop("gallery", DEFAULT), options.pop("index", "exact")
    if not NAME.fullmatch(gallery):
        raise GalleryError(
            f"gallery={gallery:.80}: letters, digits and _ make the name of a gallery, up to 63"
        )
    if index not in INDEXES:
        raise GalleryError(f"index={index:.80}: there are exact and hnsw")
    return address, gallery, index, options
