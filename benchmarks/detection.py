"""Detection, side by side in one run: the evaluation of WIDER FACE, and the step of training.

    python benchmarks/detection.py evaluation
    python benchmarks/detection.py step
    python benchmarks/detection.py pictures

- `evaluation`: the official one, against the loop that its protocol describes. `../shared` has the
  ground truth and the predictions of a detector for all 3,226 images.
- `step`: matching and loss, forward and backward, and the whole step of training, against the way
  of Pytorch_Retinaface: a Python loop over the pictures, and two sorts to find hard negatives.
  Pictures of 640x640 with 1 to 60 faces; both take turns, ratios are within a turn.
  On a busy machine set OMP_NUM_THREADS=1: threads that wait for a taken core measure the waiting.
- `pictures`: detection at three sizes in each engine, against the plain loop over ONNX Runtime:
  resize, subtract the mean, run with its defaults, decode all anchors, suppress in Python. Then the
  share of decoding and suppression. Real pictures, decoded before; one scale; all threads.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from plain_detector import PlainDetector
from torch import Tensor

from mindface import create_model
from mindface.detection.anchors import VARIANCES, anchors
from mindface.detection.detector import Detector, Look, decode, merge, to_input
from mindface.detection.evaluation import match, overlaps
from mindface.detection.losses import MultiBoxLoss
from mindface.formats.wider_face import Floats, GroundTruth, read_ground_truth, read_predictions
from mindface.imaging import read
from mindface.zoo.cache import bundled_path
from mindface.zoo.catalogue import DEFAULT_DETECTOR, get

DATA = Path("../shared/data/widerface")
PHOTOS = DATA / "val200" / "images"
PREDICTIONS = DATA / "retinaface_mobilenet025_val_predictions.zip"
STEPS = 1000

Result = TypeVar("Result")


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


def timed(function: Callable[[], Result]) -> tuple[float, Result]:
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


class Labels(NamedTuple):
    """The faces of a batch, picture by picture."""

    boxes: list[Tensor]
    landmarks: list[Tensor]
    ignored: list[Tensor]


Outputs = tuple[Tensor, Tensor, Tensor]
Loss = Callable[[Outputs, Labels, Tensor], dict[str, Tensor]]
SIZE = 640


def step() -> None:
    """Matching and loss for 32 pictures, then the whole step for 4."""
    grid = torch.tensor(anchors(SIZE, SIZE))
    generator = torch.Generator().manual_seed(0)
    labels = made_up(32, generator)
    outputs = tuple(
        torch.randn(32, len(grid), values, generator=generator, requires_grad=True)
        for values in (4, 2, 10)
    )
    print(f"{torch.get_num_threads()} threads, {sum(map(len, labels.boxes))} faces")
    agree(outputs, labels, grid)
    compared("matching and loss, 32 pictures", lambda loss: learn(loss, outputs, labels, grid), 15)

    network = create_model("retinaface_mobilenet025").train()
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    labels = made_up(4, generator)
    pictures = 50 * torch.randn(4, 3, SIZE, SIZE, generator=generator)

    def whole(loss: Loss) -> None:
        learn(loss, network(pictures), labels, grid)
        optimizer.step()
        optimizer.zero_grad()

    compared("the whole step of RetinaFace MobileNet0.25, 4 pictures", whole, 7)


def made_up(pictures: int, generator: torch.Generator) -> Labels:
    """1 to 60 faces a picture, of sides from 8 to 320 pixels; a fifth without landmarks."""
    labels = Labels([], [], [])
    for _ in range(pictures):
        count = int(torch.randint(1, 61, (), generator=generator))
        random = torch.rand(count, 15, generator=generator)
        width = 8 * 40 ** random[:, :1]
        sides = torch.cat([width, width * (1 + random[:, 1:2] / 2)], 1)
        low = random[:, 2:4] * SIZE - sides / 2
        points = low[:, None] + random[:, 5:].view(count, 5, 2) * sides[:, None]
        points[random[:, 4] < 0.2] = torch.nan
        labels.boxes.append(torch.cat([low, low + sides], 1))
        labels.landmarks.append(points)
        labels.ignored.append(torch.zeros(count, dtype=torch.bool))
    return labels


def learn(loss: Loss, outputs: Outputs, labels: Labels, grid: Tensor) -> dict[str, Tensor]:
    """Forward and backward."""
    parts = loss(outputs, labels, grid)
    sum(parts.values()).backward()
    return parts


def agree(outputs: Outputs, labels: Labels, grid: Tensor) -> None:
    """Both have the same parts and the same gradients."""
    found = []
    for loss in LOSSES.values():
        parts = learn(loss, outputs, labels, grid)
        found.append([*parts.values(), *(each.grad.clone() for each in outputs)])
        for each in outputs:
            each.grad = None
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-7)
    print("parts of both:", ", ".join(f"{name} {value:.6f}" for name, value in parts.items()))


def compared(title: str, work: Callable[[Loss], object], rounds: int) -> None:
    """Lets both losses take turns and prints medians."""
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for turn in range(rounds + 1):
        for name, loss in LOSSES.items():
            spent, _ = timed(lambda loss=loss: work(loss))
            if turn:
                seconds[name].append(spent)
    base = seconds["Pytorch_Retinaface"]
    print(f"{title}\n{'':20}  median ms       min       max  ratio")
    for name, values in seconds.items():
        ms = [1000 * value for value in values]
        ratio = statistics.median(a / b for a, b in zip(base, values, strict=True))
        print(
            f"{name:20}  {statistics.median(ms):9.2f} {min(ms):9.2f} {max(ms):9.2f} {ratio:5.2f}x"
        )


def our_loss(outputs: Outputs, labels: Labels, grid: Tensor) -> dict[str, Tensor]:
    """That of `mindface train detection`."""
    return OURS(outputs, *labels, grid)


def looped_loss(outputs: Outputs, labels: Labels, grid: Tensor) -> dict[str, Tensor]:
    """MultiBoxLoss of Pytorch_Retinaface, `layers/modules/multibox_loss.py`."""
    boxes, scores, landmarks = outputs
    pictures, count = scores.shape[:2]
    box_targets = torch.zeros(pictures, count, 4)
    landmark_targets = torch.zeros(pictures, count, 10)
    classes = torch.zeros(pictures, count, dtype=torch.long)
    for picture in range(pictures):
        looped_match(
            labels.boxes[picture],
            labels.landmarks[picture],
            grid,
            (box_targets[picture], landmark_targets[picture], classes[picture]),
        )
    positive, marked = classes != 0, classes > 0
    classes[positive] = 1
    found = landmarks[marked[..., None].expand_as(landmarks)].view(-1, 10)
    truth = landmark_targets[marked[..., None].expand_as(landmarks)].view(-1, 10)
    landmark_loss = F.smooth_l1_loss(found, truth, reduction="sum")
    found = boxes[positive[..., None].expand_as(boxes)].view(-1, 4)
    truth = box_targets[positive[..., None].expand_as(boxes)].view(-1, 4)
    box_loss = F.smooth_l1_loss(found, truth, reduction="sum")

    rows = scores.view(-1, 2)
    hardness = rows.logsumexp(1, keepdim=True) - rows.gather(1, classes.view(-1, 1))
    hardness[positive.view(-1, 1)] = 0
    _, order = hardness.view(pictures, -1).sort(1, descending=True)
    _, rank = order.sort(1)
    negative = rank < (7 * positive.long().sum(1, keepdim=True)).clamp(max=count - 1)
    chosen = positive | negative
    rows = scores[chosen[..., None].expand_as(scores)].view(-1, 2)
    class_loss = F.cross_entropy(rows, classes[chosen], reduction="sum")
    faces, marked_faces = max(int(positive.sum()), 1), max(int(marked.sum()), 1)
    return {
        "boxes": 2 * box_loss / faces,
        "classes": class_loss / faces,
        "landmarks": landmark_loss / marked_faces,
    }


def looped_match(boxes: Tensor, landmarks: Tensor, grid: Tensor, targets: Outputs) -> None:
    """Fills a picture's targets as `match` of Pytorch_Retinaface, `utils/box_utils.py`."""
    corners = torch.cat([grid[:, :2] - grid[:, 2:] / 2, grid[:, :2] + grid[:, 2:] / 2], 1)
    overlap = jaccard(boxes, corners)
    fitting_overlap, fitting = overlap.max(1)
    able = (fitting_overlap >= 0.2).nonzero()[:, 0]
    if not len(able):
        return
    best_overlap, best = overlap.max(0)
    best_overlap[fitting[able]] = 2
    for face in able:
        best[fitting[face]] = face
    unmarked = landmarks.isnan().flatten(1).any(1)
    classes = (1 - 2 * unmarked.long())[best]
    classes[best_overlap < 0.35] = 0
    matched, points = boxes[best], landmarks[best].nan_to_num()
    centres = ((matched[:, :2] + matched[:, 2:]) / 2 - grid[:, :2]) / (VARIANCES[0] * grid[:, 2:])
    sides = torch.log((matched[:, 2:] - matched[:, :2]) / grid[:, 2:]) / VARIANCES[1]
    points = (points - grid[:, None, :2]) / (VARIANCES[0] * grid[:, None, 2:])
    for target, values in zip(
        targets, (torch.cat([centres, sides], 1), points.flatten(1), classes), strict=True
    ):
        target[:] = values


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    """The overlap of each box of `a` with each of `b`."""
    low = torch.max(a[:, None, :2], b[None, :, :2])
    high = torch.min(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    areas_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    areas_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    return shared / (areas_a[:, None] + areas_b[None] - shared)


def pictures(sizes: Sequence[int] = (320, 640, 1280), rounds: int = 5) -> None:
    """Milliseconds a picture, medians over rounds in which all take turns."""
    photos = [read(path) for path in sorted(PHOTOS.glob("*.jpg"))[:20]]
    model = str(bundled_path(get(DEFAULT_DETECTOR)))
    for size in sizes:
        candidates: dict[str, Callable[[np.ndarray], object]] = {
            "plain loop": PlainDetector(model, size)
        }
        for engine in ("onnxruntime", "openvino"):
            detector = Detector(
                model,
                input_size=size,
                scales=(1.0,),
                closer=None,
                engine=engine,
                precision="fp32",
            )
            candidates[f"ours, {engine}"] = detector.detect
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for turn in range(rounds + 1):
            for name, detect in candidates.items():
                taken = timed(lambda detect=detect: [detect(photo) for photo in photos])[0]
                if turn:  # the first prepares shapes
                    seconds[name].append(taken / len(photos))
        print(f"{size} pixels")
        for name, found in seconds.items():
            ratios = [a / b for a, b in zip(seconds["plain loop"], found, strict=True)]
            middle = statistics.median(found) * 1e3
            print(f"  {name:20} {middle:8.2f} ms   {statistics.median(ratios):5.2f}")
    shares(photos, model)


def shares(photos: Sequence[np.ndarray], model: str) -> None:
    """Decoding and suppression at 640 pixels, against the network."""
    detector = Detector(model, scales=(1.0,), closer=None, engine="onnxruntime", precision="fp32")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    head = detector.record.detection
    network = after = 0.0
    for photo in photos:
        look = Look.at(detector.open(photo), 640, 1.0)
        inputs = to_input([look], detector.record.preprocessing)
        feed = {session.get_inputs()[0].name: inputs}
        session.run(None, feed)
        taken, outputs = timed(lambda feed=feed: session.run(None, feed))
        network += taken
        first = [output[0] for output in outputs]
        after += timed(
            lambda first=first, look=look: merge(
                [decode(first, look.shape, head, 0.5)], detector.thresholds
            )
        )[0]
    print(f"decoding and suppression: {after / network:.1%} of the network's time at 640 pixels")


OURS = MultiBoxLoss()
LOSSES: dict[str, Loss] = {"Pytorch_Retinaface": looped_loss, "ours": our_loss}
PARTS = {"evaluation": evaluation, "step": step, "pictures": pictures}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
