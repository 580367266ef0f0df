"""Small sets in the files of WIDER FACE, written by SciPy and by hand."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

Labels = tuple[Sequence[Sequence[float]], Mapping[str, Sequence[int]]]
SUBSETS = ("easy", "medium", "hard")


def cells(values: Sequence[Any]) -> np.ndarray:
    """A cell array in one column."""
    column = np.empty((len(values), 1), object)
    for row, value in enumerate(values):
        column[row, 0] = value
    return column


def write_mats(folder: Path, images: Mapping[str, Labels], **changes: Any) -> Path:
    """Writes the four files.

    Args:
        folder: made if absent.
        images: per name its boxes and, per subset, the numbers of the faces that count, from 1 on.
        changes: other variables of `wider_face_val.mat`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    events = [(e, list(names)) for e, names in groupby(images, lambda name: name.split("/")[0])]
    boxes = [
        cells([np.array(images[n][0], np.int32).reshape(-1, 4) for n in ns]) for _, ns in events
    ]
    lists = {
        "event_list": cells([event for event, _ in events]),
        "file_list": cells([cells([n.split("/")[1] for n in names]) for _, names in events]),
        "face_bbx_list": cells(boxes),
        "blur_label_list": cells(boxes),
    }
    savemat(folder / "wider_face_val.mat", lists | changes, do_compression=True)
    for subset in SUBSETS:
        kept = [
            cells([np.array(images[n][1][subset], np.uint8).reshape(-1, 1) for n in names])
            for _, names in events
        ]
        savemat(folder / f"wider_{subset}_val.mat", {"gt_list": cells(kept)}, do_compression=True)
    return folder


def write_list(
    path: Path, images: Mapping[str, tuple[Sequence[Sequence[int]], Sequence[bool]]]
) -> Path:
    """Writes a list like `wider_face_val_bbx_gt.txt`: boxes, and whether each is valid."""
    lines = []
    for name, (boxes, valid) in images.items():
        rows = [
            f"{' '.join(map(str, box))} 0 0 0 {int(not ok)} 0 0 "
            for box, ok in zip(boxes, valid, strict=True)
        ]
        lines += [f"{name}.jpg", str(len(boxes)), *(rows or ["0 0 0 0 0 0 0 0 0 0 "])]
    path.write_text("\n".join(lines) + "\n")
    return path
