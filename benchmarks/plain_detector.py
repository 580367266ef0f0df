"""RetinaFace over ONNX Runtime as one writes it in an hour, like Pytorch_Retinaface's `detect`."""

from __future__ import annotations

from itertools import product
from math import ceil

import cv2
import numpy as np
import onnxruntime

Array = np.ndarray


class PlainDetector:
    """One picture, one call: the session with its defaults, all anchors decoded, NMS in a loop.

    Args:
        model: an ONNX file that `mindface export` wrote.
        size: of the long side, in pixels.
    """

    def __init__(self, model: str, size: int) -> None:
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.size = size
        self.priors: dict[tuple[int, int], Array] = {}

    def __call__(self, image: Array) -> Array:
        """Faces `(N, 15)`: box, score and landmarks of a picture `(H, W, 3)` RGB."""
        scale = self.size / max(image.shape[:2])
        resized = cv2.resize(image, None, fx=scale, fy=scale)
        height, width = (ceil(side / 32) * 32 for side in resized.shape[:2])
        inputs = np.zeros((height, width, 3), np.float32)
        inputs[: resized.shape[0], : resized.shape[1]] = resized[:, :, ::-1] - np.float32(
            [104, 117, 123]
        )
        name = self.session.get_inputs()[0].name
        boxes, scores, landmarks = self.session.run(None, {name: inputs.transpose(2, 0, 1)[None]})
        if (height, width) not in self.priors:
            self.priors[height, width] = prior_boxes(height, width)
        priors = self.priors[height, width]
        boxes, points = decode(boxes[0], landmarks[0], priors)
        found = np.concatenate([boxes / scale, scores[0, :, 1:], points / scale], 1)
        found = found[found[:, 4] > 0.5]
        return found[suppress(found, 0.4)]


def prior_boxes(height: int, width: int) -> Array:
    """Anchors, one after the other."""
    anchors = []
    for step, sizes in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for i, j in product(range(ceil(height / step)), range(ceil(width / step))):
            anchors += [[(j + 0.5) * step, (i + 0.5) * step, size, size] for size in sizes]
    return np.array(anchors, np.float32)


def decode(boxes: Array, landmarks: Array, priors: Array) -> tuple[Array, Array]:
    """Corners and points of all anchors."""
    centers = priors[:, :2] + boxes[:, :2] * 0.1 * priors[:, 2:]
    sides = priors[:, 2:] * np.exp(boxes[:, 2:] * 0.2)
    points = priors[:, None, :2] + landmarks.reshape(-1, 5, 2) * 0.1 * priors[:, None, 2:]
    return np.concatenate([centers - sides / 2, centers + sides / 2], 1), points.reshape(-1, 10)


def suppress(found: Array, threshold: float) -> list[int]:
    """Greedy suppression, box by box."""
    x1, y1, x2, y2, scores = found[:, :5].T
    areas, order, keep = (x2 - x1 + 1) * (y2 - y1 + 1), scores.argsort()[::-1], []
    while order.size:
        i, order = order[0], order[1:]
        keep.append(int(i))
        width = np.maximum(0, np.minimum(x2[i], x2[order]) - np.maximum(x1[i], x1[order]) + 1)
        height = np.maximum(0, np.minimum(y2[i], y2[order]) - np.maximum(y1[i], y1[order]) + 1)
        shared = width * height
        order = order[shared / (areas[i] + areas[order] - shared) <= threshold]
    return keep
