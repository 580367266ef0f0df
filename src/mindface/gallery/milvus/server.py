"""Reaching a Milvus server, or starting Milvus Lite on a folder; and what they say, told."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from urllib.parse import SplitResult, unquote

from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from mindface.errors import GalleryError

WAIT = 60.0  # seconds for an answer
PORT = 19530

_open: Counter[Path] = Counter()  # galleries of this process in each folder of Milvus Lite
_opening = Lock()


def shown(address: SplitResult, gallery: str) -> str:
    """The URL without passwords, for messages."""
    host = address.netloc.rpartition("@")[2]
    return f"{address.scheme}://{host}{address.path}?gallery={gallery}"


class Server:
    """A client of a server; of Milvus Lite also the server, for as long as anybody needs it.

    Args:
        where: the URL, for messages.
        address: `milvus://` or `milvus+lite://`.
        secure: over TLS.

    Raises:
        GalleryError: it cannot be reached, or another process has the folder open.
    """

    def __init__(self, where: str, address: SplitResult, secure: bool) -> None:
        self.where = where
        self.folder = Path(unquote(address.netloc + address.path)).absolute()
        self.lite = address.scheme == "milvus+lite"
        # what pymilvus logs as an error is raised as well
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        with self.translated():
            if self.lite:
                self.client = MilvusClient(uri=self._started(), timeout=WAIT)
            else:
                scheme = "https" if secure else "http"
                self.client = MilvusClient(
                    uri=f"{scheme}://{address.hostname}:{address.port or PORT}",
                    user=unquote(address.username or ""),
                    password=unquote(address.password or ""),
                    db_name=address.path.strip("/"),
                    timeout=WAIT,
                )

    def close(self) -> None:
        """Closes the connection, and Milvus Lite where nobody else in this process uses it."""
        self.client.close()
        if self.lite:
            from milvus_lite.server_manager import server_manager_instance

            with _opening:
                _open[self.folder] -= 1
                if not _open[self.folder]:
                    server_manager_instance.release_server(str(self.folder))

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turns what Milvus says into `GalleryError`."""
        try:
            yield
        except MilvusException as error:
            said = str(error.message).strip().partition("\n")[0]
            raise GalleryError(
                f"{self.where}: {said}: what was acknowledged is kept; try again, writes with the "
                "same operation id"
            ) from error

    def _started(self) -> str:
        from milvus_lite.server_manager import server_manager_instance

        logging.getLogger("milvus_lite").setLevel(logging.CRITICAL + 1)  # likewise
        if self.folder.is_file():
            raise GalleryError(f"{self.where}: a file: name a folder, or one that is not there")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with _opening:
            uri = server_manager_instance.start_and_get_uri(str(self.folder))
            if uri is None:
                raise GalleryError(
                    f"{self.where}: Milvus Lite cannot open it: another process has it open, or it "
                    "was made by another version; for several processes run  milvus-lite server "
                    f"--data-dir {self.folder}  and name milvus://127.0.0.1:{PORT}"
                )
            _open[self.folder] += 1
        return str(uri)
