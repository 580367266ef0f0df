"""Detection: the official evaluation of WIDER FACE, against the loop that its protocol describes.

    python benchmarks/detection.py evaluation

`../shared` has the ground truth and the predictions of a detector for all 3,226 images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mindface.detection.evaluation import match, overlaps
from mindface.formats.wider_face import Floats, GroundTruth, read_ground_truth, read_predictions

DATA = Path("../shared/data/widerface")
PREDICTIONS = DATA / "retinaface_mobilenet025_val_predictions.zip"
STEPS = 1000


def evaluation() -> None:
    """Reading, ours (median of five) and the loop, in one run."""
    start = time.perf_counter()
    truth = read_ground_truth(DATA)
    predictions = read_predictions(PREDICTIONS, truth.images)
    reading = time.perf_counter() - start
    runs = [timed(lambda: ours(truth, predictions)) for _ in range(5)]
    seconds, found = sorted(runs, key=lambda run: run[0])[2]
    loop_seconds, expected = timed(lambda: loop(truth, predictions))
    assert np.allclose(found, expected, rtol=0, atol=1e-9), (found, expected)
    print(f"figures of both: {', '.join(f'{value:.10f}' for value in found)}")
    print(f"reading the files    {reading:8.2f} s")
    print(f"ours                 {seconds:8.2f} s")
    print(f"the loop             {loop_seconds:8.2f} s")
    print(f"the loop over ours   {loop_seconds / seconds:8.1f}")
    print(f"with the reading     {(loop_seconds + reading) / (seconds + reading):8.1f}")


def timed(function: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Seconds, and the result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def ours(truth: GroundTruth, predictions: Sequence[Floats]) -> list[float]:
    """The three average precisions, by `mindface evaluate detection`."""
    matches = match(truth, predictions)
    return [matches.curve(subset).average_precision for subset in truth.counted]


def loop(truth: GroundTruth, predictions: Sequence[Floats]) -> list[float]:
    """Subset by subset, image by image, box by box, threshold by threshold."""
    low = min(1.0, min(boxes[:, 4].min() for boxes in predictions if len(boxes)))
    high = max(0.0, max(boxes[:, 4].max() for boxes in predictions if len(boxes)))
    figures = []
    for counted in truth.counted.values():
        totals = np.zeros((STEPS, 2))
        for faces, counts, boxes in zip(truth.boxes, counted, predictions, strict=True):
            if len(faces) and len(boxes):
                found, proposed = outcomes(boxes, faces, counts)
                totals += steps((boxes[:, 4] - low) / (high - low), found, proposed)
        figures.append(average_precision(totals, sum(int(each.sum()) for each in counted)))
    return figures


def outcomes(boxes: Floats, faces: Floats, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many faces are found up to each box, and whether each box counts."""
    overlap = overlaps(boxes, faces)
    seen = np.zeros(len(faces), bool)
    found, proposed = np.zeros(len(boxes)), np.ones(len(boxes), bool)
    for row in range(len(boxes)):
        best = overlap[row].argmax()
        if overlap[row, best] >= 0.5:
            if counts[best]:
                seen[best] = True
            else:
                proposed[row] = False
        found[row] = seen.sum()
    return found, proposed


def steps(scores: Floats, found: np.ndarray, proposed: np.ndarray) -> np.ndarray:
    """Boxes and found faces of one image at each threshold `(STEPS, 2)`."""
    totals = np.zeros((STEPS, 2))
    for step in range(STEPS):
        rows = np.flatnonzero(scores >= 1 - (step + 1) / STEPS)
        if len(rows):
            totals[step] = proposed[: rows[-1] + 1].sum(), found[rows[-1]]
    return totals


def average_precision(totals: np.ndarray, faces: int) -> float:
    """The area below the curve, with precision made to fall."""
    recall, precision = [0.0], [0.0]
    for boxes, hits in totals:
        recall.append(hits / faces)
        precision.append(hits / boxes if boxes else 0.0)
    for step in range(len(precision) - 1, 0, -1):
        precision[step - 1] = max(precision[step - 1], precision[step])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


PARTS = {"evaluation": evaluation}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
