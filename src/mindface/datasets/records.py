"""Faces in RecordIO, in InsightFace's layout."""

from __future__ import annotations

import os

import numpy as np

from mindface.datasets.faceset import Ints, numbered, unlabelled
from mindface.errors import IntegrityError
from mindface.formats.insightface_rec import IdentityRecords


class RecordSet:
    """A `FaceSet` of the records of a `.rec`.

    Opening looks at the beginning of every record, where its label is. People are named by the
    numbers that they have in the file; a number below 0 is nobody's.

    Args:
        path: of the `.rec`; its `.idx` is looked for beside it.
        labelled: False where the pictures are nobody's, whatever the records say.

    Raises:
        IntegrityError: as `IdentityRecords`, a label is damaged, or there is no picture.
    """

    def __init__(self, path: str | os.PathLike[str], *, labelled: bool = True) -> None:
        records = IdentityRecords(path)
        self.source = os.fspath(path)
        self._file, self._keys = records.file, records.keys
        if not len(self):
            raise IntegrityError(f"{self.source}: there is no picture in it")
        self.labels, self.class_names = unlabelled(len(self))
        if labelled:
            self.labels, people = numbered(records.labels)
            self.class_names = tuple(map(str, people.tolist()))

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, index: int) -> bytes:
        """See `FaceSet.read`."""
        return self._file.read(int(self._keys[index])).content

    def describe(self, index: int) -> str:
        """The file and the key of the record."""
        return f"{self.source}, record {self._keys[index]}"

    def order(self, rng: np.random.Generator) -> Ints:
        """Any order serves records equally fast."""
        return rng.permutation(len(self))
