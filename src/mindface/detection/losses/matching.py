"""Which anchor learns which face.

Only pairs of a face and an anchor whose overlap can matter are ever looked at: anchors of one side
stand in rows and columns, so a face has a window of them, and the pairs of a whole batch are a few
per cent of faces times anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mindface.detection.anchors import VARIANCES

# A face whose best anchor overlaps it less than this is left to the background.
LEAST = 0.2


class Targets(NamedTuple):
    """What the anchors of a batch have to say.

    Attributes:
        classes: `(B, A)` int8: 1 face, 0 background, -1 neither.
        positives: `(P,)` int64, ascending: the rows of `(B * A)` that are faces.
        anchors: `(P, 4)`, those of the positives: centre x, centre y, width, height in pixels.
        boxes: `(P, 4)` xyxy in pixels, of the face that each positive learns.
        landmarks: `(P, 5, 2)` in pixels, NaN where the face has none.
    """

    classes: Tensor
    positives: Tensor
    anchors: Tensor
    boxes: Tensor
    landmarks: Tensor


class Faces(NamedTuple):
    """The faces of a batch in one row: as `Scene` has them, and the picture `(N,)` of each."""

    boxes: Tensor
    landmarks: Tensor
    ignored: Tensor
    picture: Tensor


class Lattice(NamedTuple):
    """Anchors of one side: their columns `(C,)`, rows `(R,)` and numbers `(R, C)`."""

    side: Tensor
    x: Tensor
    y: Tensor
    numbers: Tensor


class Pairs(NamedTuple):
    """A face and a row of `(B * A)` each, the pixels that they share, and their overlap (IoU)."""

    face: Tensor
    row: Tensor
    shared: Tensor
    overlap: Tensor

    def where(self, chosen: Tensor) -> Pairs:
        """Those that a mask chooses."""
        numbers = chosen.nonzero()[:, 0]
        return Pairs(*(each[numbers] for each in self))


def match(
    boxes: Sequence[Tensor],
    landmarks: Sequence[Tensor],
    ignored: Sequence[Tensor],
    anchors: Tensor,
    threshold: float = 0.35,
) -> Targets:
    """Gives an anchor the face that it overlaps most, and each face the anchor that fits it best.

    As SSD, section 2.2, and Pytorch_Retinaface (`utils/box_utils.py`, `match`): an anchor learns
    its best face from an overlap of `threshold` on; a face's best anchor learns that face whatever
    else it overlaps, if by 0.2 at least, and of several such faces the last. Where the reference
    lets a face below 0.2 take over an anchor that another face has won, it takes nothing here.

    Ignored boxes compete for anchors as faces do, but for the threshold only; the anchors that they
    win are neither faces nor background. Nor is an anchor that would be background, shares with an
    ignored box half of the smaller of both, and is at most twice as large as the box or else of the
    smallest side: the network is not told that nothing is there, be it a crowd or a speck.

    Args:
        boxes: of each picture, `(N, 4)` xyxy in pixels.
        landmarks: of each picture, `(N, 5, 2)` in pixels, NaN for a face without.
        ignored: of each picture, `(N,)` bool.
        anchors: `(A, 4)` as `anchors()` makes them: square, row by row; their type and device are
            those of the result.
        threshold: the least overlap (IoU) with a face, above 0.

    Raises:
        ValueError: anchors of one side do not stand in full rows and columns.
    """
    faces, grid = gather(boxes, landmarks, ignored, anchors), lattices(anchors)
    pairs = touching(faces, anchors, grid, min(threshold, LEAST))
    owners = winners(pairs.where(pairs.overlap >= threshold), len(boxes) * len(anchors))
    own = pairs.where(~faces.ignored[pairs.face] & (pairs.overlap >= LEAST))
    claimed = _claims(own, len(faces.boxes), len(owners))
    return settle(faces, anchors, grid, torch.where(claimed < 0, owners, claimed), len(boxes))


def gather(
    boxes: Sequence[Tensor], landmarks: Sequence[Tensor], ignored: Sequence[Tensor], anchors: Tensor
) -> Faces:
    """The faces of all pictures, of the type and on the device of the anchors."""
    counts = torch.tensor([len(each) for each in boxes], device=anchors.device)
    return Faces(
        torch.cat(list(boxes)).to(anchors),
        torch.cat(list(landmarks)).to(anchors),
        torch.cat(list(ignored)).to(anchors.device),
        torch.arange(len(boxes), device=anchors.device).repeat_interleave(counts),
    )


def lattices(anchors: Tensor) -> list[Lattice]:
    """Anchors `(A, 4)` side by side, from the smallest."""
    found = []
    for side in torch.unique(anchors[:, 2]):
        numbers = (anchors[:, 2] == side).nonzero()[:, 0]
        x, y = (torch.unique(anchors[numbers, axis]) for axis in (0, 1))
        if len(x) * len(y) != len(numbers):
            raise ValueError(
                f"{len(numbers)} anchors of side {float(side):g} do not fill {len(y)} rows and "
                f"{len(x)} columns: use mindface.detection.anchors.anchors"
            )
        found.append(Lattice(side, x, y, numbers.view(len(y), len(x))))
    return found


def touching(faces: Faces, anchors: Tensor, grid: list[Lattice], least: float) -> Pairs:
    """All pairs within a picture that share a pixel and overlap by `least` (IoU) or more."""
    area = areas(faces.boxes)
    needed = [least * torch.maximum(area, lattice.side**2) for lattice in grid]
    pairs = pair(faces, anchors, *_sharing(faces.boxes, grid, needed))
    return pairs.where((pairs.shared > 0) & (pairs.overlap >= least))


def pair(faces: Faces, anchors: Tensor, face: Tensor, number: Tensor) -> Pairs:
    """Measures faces against anchors, by their numbers `(K,)`."""
    boxes, half = faces.boxes[face], anchors[:, 2:] / 2
    corners = torch.cat([anchors[:, :2] - half, anchors[:, :2] + half], 1)[number]
    low = torch.maximum(boxes[:, :2], corners[:, :2])
    high = torch.minimum(boxes[:, 2:], corners[:, 2:])
    shared = (high - low).clamp_(min=0).prod(1)
    overlap = shared / (areas(faces.boxes)[face] + areas(corners) - shared)
    return Pairs(face, faces.picture[face] * len(anchors) + number, shared, overlap)


def areas(boxes: Tensor) -> Tensor:
    """Of boxes `(N, 4)` xyxy, in pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _sharing(boxes: Tensor, grid: list[Lattice], needed: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Numbers of boxes and anchors that share the pixels `(N,)` needed on each lattice, or nearly.

    Two boxes share no more across an axis than the shorter side, so along the other axis they share
    at least the quotient of both. With the overlap t they share t times the larger area.
    """
    found = [_window(boxes, *each) for each in zip(grid, needed, strict=True)]
    box, number = (torch.cat(each) for each in zip(*found, strict=True))
    return box, number


def _window(boxes: Tensor, lattice: Lattice, needed: Tensor) -> tuple[Tensor, Tensor]:
    spans = []
    for axis, centres in enumerate((lattice.x, lattice.y)):
        low, high = boxes[:, axis], boxes[:, axis + 2]
        across = (boxes[:, 3 - axis] - boxes[:, 1 - axis]).clamp(max=lattice.side)
        share = 0.999 * needed / across  # so that rounding leaves none out
        first = torch.searchsorted(centres, low + share - lattice.side / 2)
        last = torch.searchsorted(centres, high - share + lattice.side / 2, right=True)
        fits = share <= (high - low).clamp(max=lattice.side)
        spans.append((first, (last - first).clamp(min=0) * fits))
    (left, columns), (top, rows) = spans
    count = columns * rows
    box = torch.arange(len(boxes), device=boxes.device).repeat_interleave(count)
    cell = torch.arange(len(box), device=boxes.device) - (count.cumsum(0) - count)[box]
    columns = columns[box]
    return box, lattice.numbers[top[box] + cell // columns, left[box] + cell % columns]


def best(keys: Tensor, values: Tensor, size: int) -> Tensor:
    """The greatest value `(size,)` of each key from 0 to `size`, 0 for a key without."""
    return values.new_zeros(size).scatter_reduce_(0, keys, values, "amax")


def winners(pairs: Pairs, rows: int) -> Tensor:
    """The face `(rows,)` with the greatest overlap of each row, the first of equals, -1 if none."""
    top = pairs.where(pairs.overlap == best(pairs.row, pairs.overlap, rows)[pairs.row])
    owners = top.face.new_full((rows,), -1)
    return owners.scatter_reduce_(0, top.row, top.face, "amin", include_self=False)


def _claims(pairs: Pairs, faces: int, rows: int) -> Tensor:
    """The last face `(rows,)` whose best anchor, the first of equals, a row is; -1 if none."""
    top = pairs.where(pairs.overlap == best(pairs.face, pairs.overlap, faces)[pairs.face])
    fitting = top.row.new_full((faces,), rows).scatter_reduce_(0, top.face, top.row, "amin")
    able = (fitting < rows).nonzero()[:, 0]
    claimed = fitting.new_full((rows,), -1)
    return claimed.scatter_reduce_(0, fitting[able], able, "amax")


def settle(
    faces: Faces, anchors: Tensor, grid: list[Lattice], owners: Tensor, pictures: int
) -> Targets:
    """Makes targets of the face `(B * A,)` that each anchor has won, -1 where none."""
    classes = torch.zeros_like(owners, dtype=torch.int8)
    if faces.ignored.any():
        classes[_set_aside(Faces(*(each[faces.ignored] for each in faces)), anchors, grid)] = -1
    won = (owners >= 0).nonzero()[:, 0]
    face = owners[won]
    classes[won] = 1 - 2 * faces.ignored[face].to(torch.int8)
    positives, face = won[~faces.ignored[face]], face[~faces.ignored[face]]
    return Targets(
        classes.view(pictures, len(anchors)),
        positives,
        anchors[positives % len(anchors)],
        faces.boxes[face],
        faces.landmarks[face],
    )


def _set_aside(ignored: Faces, anchors: Tensor, grid: list[Lattice]) -> Tensor:
    """Rows of `(B * A)` that ignored boxes keep from being background; some more than once."""
    area, needed = areas(ignored.boxes), []
    for lattice in grid:
        near = lattice.side**2 <= 2 * area.clamp(min=grid[0].side ** 2)
        shared = torch.minimum(area, lattice.side**2) / 2
        needed.append(shared.masked_fill(~near, torch.inf))
    pairs = pair(ignored, anchors, *_sharing(ignored.boxes, grid, needed))
    smaller = torch.minimum(area[pairs.face], anchors[pairs.row % len(anchors), 2] ** 2)
    return pairs.row[(pairs.shared > 0) & (pairs.shared >= smaller / 2)]


def encode_boxes(
    boxes: Tensor, anchors: Tensor, variances: tuple[float, float] = VARIANCES
) -> Tensor:
    """What `decode_boxes` makes boxes `(N, 4)` xyxy of, against anchors `(N, 4)` (SSD, eq. 2)."""
    offsets = (boxes[:, :2] + boxes[:, 2:]) / 2 - anchors[:, :2]
    sizes = (boxes[:, 2:] - boxes[:, :2]) / anchors[:, 2:]
    return torch.cat([offsets / (variances[0] * anchors[:, 2:]), sizes.log() / variances[1]], 1)


def encode_landmarks(
    landmarks: Tensor, anchors: Tensor, variances: tuple[float, float] = VARIANCES
) -> Tensor:
    """What `decode_landmarks` makes landmarks `(N, 5, 2)` of, `(N, 10)`."""
    offsets = landmarks - anchors[:, None, :2]
    return (offsets / (variances[0] * anchors[:, None, 2:])).flatten(1)
