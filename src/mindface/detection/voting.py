"""Box voting: overlapping boxes become their mean instead of leaving only the best."""

from __future__ import annotations

import numpy as np

from mindface.geometry import iou
from mindface.results import Array

MOST = 750


def vote(boxes: Array, scores: Array, threshold: float) -> tuple[Array, Array]:
    """Joins the boxes that several looks at a photo gave.

    The best box and those that overlap it become one: their mean, weighted by their scores, with
    the best score; then the best of the rest, and so on. A box that no other supports is dropped,
    and `MOST` at most are kept. Gidaris and Komodakis, "Object detection via a multi-region &
    semantic segmentation-aware CNN model", ICCV 2015, as RetinaFace's authors do it
    (InsightFace, `detection/retinaface/retinaface.py`, `bbox_vote`).

    Args:
        boxes: `(N, 4)` xyxy.
        scores: `(N,)`, above 0.
        threshold: the IoU from which on boxes are joined.

    Returns:
        Boxes `(M, 4)` and scores `(M,)`, best first.
    """
    rest = np.argsort(-scores, kind="stable")
    means: list[Array] = []
    best: list[np.float32] = []
    while rest.size and len(means) < MOST:
        joined = iou(boxes[rest[:1]], boxes[rest])[0] >= threshold
        joined[0] = True
        group, rest = rest[joined], rest[~joined]
        if len(group) > 1:
            means.append(scores[group] @ boxes[group] / scores[group].sum())
            best.append(scores[group[0]])
    return np.array(means, np.float32).reshape(-1, 4), np.array(best, np.float32)
