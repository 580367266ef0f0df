"""Embeddings and thumbnails on disk, found by what the picture holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.results import Array
from mindface.zoo.lock import locked

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

MISSING = -1


class EmbeddingStore:
    """Rows in a file that only grows, 2 bytes a value; several processes may share it.

    What was stored once serves every set that holds the picture, and a stopped run goes on.

    Args:
        path: of the file; made if absent.
        values: in an embedding.
        pixels: in a thumbnail.
    """

    def __init__(self, path: Path, values: int, pixels: int) -> None:
        self.path = path
        self._kind = np.dtype(
            [("key", "<u8"), ("thumbnail", "u1", (pixels,)), ("embedding", "<f2", (values,))]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        keys = self._mapped()["key"]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def find(self, keys: Keys) -> Ints:
        """The rows `(n,)` of pictures that were stored before this was opened, or `MISSING`."""
        if not len(self._keys):
            return np.full(len(keys), MISSING)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._order[place], MISSING)

    def append(self, keys: Keys, thumbnails: Bytes, embeddings: Array) -> Ints:
        """Stores pictures.

        Args:
            keys: `(n,)`, hashes of their bytes.
            thumbnails: `(n, pixels)`.
            embeddings: `(n, values)`.

        Returns:
            Their rows `(n,)`.
        """
        rows = np.empty(len(keys), self._kind)
        rows["key"], rows["thumbnail"], rows["embedding"] = keys, thumbnails, embeddings
        with locked(self.path.with_suffix(".lock")), self.path.open("r+b") as file:
            first = file.seek(0, os.SEEK_END) // self._kind.itemsize
            file.seek(first * self._kind.itemsize)  # over what a killed process left of a row
            file.write(rows.tobytes())
        return np.arange(first, first + len(keys))

    def embeddings(self, rows: Ints) -> Array:
        """Embeddings `(n, values)` float32."""
        return np.asarray(self._mapped()["embedding"][rows], np.float32)

    def thumbnails(self, rows: Ints) -> Array:
        """Thumbnails `(n, pixels)` float32."""
        return np.asarray(self._mapped()["thumbnail"][rows], np.float32)

    def _mapped(self) -> NDArray[Any]:
        count = self.path.stat().st_size // self._kind.itemsize
        if not count:
            return np.empty(0, self._kind)
        return np.memmap(self.path, self._kind, "r", shape=(count,))
