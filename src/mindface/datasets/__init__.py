"""Labelled faces to train on, whatever they are stored in.

A set of faces is a `FaceSet`: a folder of folders, RecordIO, tar shards, or several of them as one
`Mixture`. `pack` writes one form of storage from another.
"""

from __future__ import annotations

import os
from pathlib import Path

from mindface.datasets.faceset import FaceSet, decode
from mindface.datasets.folder import FolderSet
from mindface.datasets.mixture import Mixture
from mindface.datasets.pack import pack_records, pack_tars
from mindface.datasets.records import RecordSet
from mindface.datasets.split import held_out
from mindface.datasets.tars import TarSet
from mindface.datasets.without import Only, Subset, Without

__all__ = [
    "FaceSet",
    "FolderSet",
    "Mixture",
    "Only",
    "RecordSet",
    "Subset",
    "TarSet",
    "Without",
    "decode",
    "held_out",
    "open_faces",
    "pack_records",
    "pack_tars",
]


def open_faces(path: str | os.PathLike[str], *, labelled: bool = True) -> FaceSet:
    """Opens a set of faces, known by its name and what is in it.

    Args:
        path: a `.rec` or the folder with a `train.rec`; a `.tar`, a pattern such as
            `faces-{00000..00012}.tar` or the folder with the `.tar`s; else a folder with a folder
            for each person.
        labelled: False for pictures of nobody in particular: all labels are -1.

    Raises:
        ImageError: no such folder, or its pictures do not lie in people's folders.
        IntegrityError: the records or shards cannot be read, or not be understood.
    """
    path = Path(path)
    records = path / "train.rec"
    if path.suffix == ".rec" or records.is_file():
        return RecordSet(path if path.suffix == ".rec" else records, labelled=labelled)
    if path.suffix == ".tar" or any(path.glob("[!.]*.tar")):
        return TarSet(path, labelled=labelled)
    return FolderSet(path, labelled=labelled)
