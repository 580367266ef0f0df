"""An album: many photos, and the people in them.

`FaceStore` finds the faces of photos and keeps them, `ask` says what a gallery knows of them,
`sort_faces` sorts them into people, `write_people` writes who is where, `compare` measures it.
Below them: `labels` (what is settled before faces are compared), `thumbnails`.
"""

from __future__ import annotations

from mindface.album.names import Said, ask
from mindface.album.people import SortedFace, read_people, write_people
from mindface.album.sort import Album, Faces, Join, load, sort_faces
from mindface.album.store import FaceStore
from mindface.album.truth import Comparison, compare, read_truth

__all__ = [
    "Album",
    "Comparison",
    "FaceStore",
    "Faces",
    "Join",
    "Said",
    "SortedFace",
    "ask",
    "compare",
    "load",
    "read_people",
    "read_truth",
    "sort_faces",
    "write_people",
]
