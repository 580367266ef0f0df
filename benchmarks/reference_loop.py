"""The way UniFace and InsightFace work: one photo and one face at a time, straight through."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from mindface.detection.anchors import anchors
from mindface.geometry import align, nms

MEAN = (104.0, 117.0, 123.0)


class ReferenceLoop:
    """Square letterbox, one scale after the other, every anchor decoded, one face a run.

    With `spin`, ONNX Runtime's default and that of both packages, the threads of one session spin
    on after its run while the next session works.
    """

    def __init__(self, detector: Path, recognizer: Path, threads: int, *, spin: bool) -> None:
        options = onnxruntime.SessionOptions()
        if not spin:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        options.intra_op_num_threads = threads
        providers = ["CPUExecutionProvider"]
        self.detector, self.recognizer = (
            onnxruntime.InferenceSession(str(path), options, providers=providers)
            for path in (detector, recognizer)
        )

    def __call__(self, path: Path) -> list[np.ndarray]:
        """The embeddings of the faces of a photo."""
        image = cv2.imread(str(path))
        found = [self._detect(image, side) for side in (640, 160)]
        boxes, scores, landmarks = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = nms(boxes, scores, 0.4)
        return [self._embed(image, landmarks[index]) for index in kept]

    def _detect(self, image: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ratio = side / max(image.shape[:2])
        scaled = cv2.resize(image, None, fx=ratio, fy=ratio)
        square = np.zeros((side, side, 3), np.uint8)
        square[: scaled.shape[0], : scaled.shape[1]] = scaled
        batch = cv2.dnn.blobFromImage(square, 1.0, (side, side), MEAN)
        boxes, probabilities, points = self.detector.run(None, {"images": batch})
        grid = anchors(side, side)
        centre = grid[:, :2] + boxes[0, :, :2] * 0.1 * grid[:, 2:]
        half = grid[:, 2:] * np.exp(boxes[0, :, 2:] * 0.2) / 2
        corners = np.concatenate([centre - half, centre + half], 1) / ratio
        points = points[0].reshape(-1, 5, 2) * 0.1 * grid[:, None, 2:] + grid[:, None, :2]
        keep = probabilities[0, :, 1] >= 0.5
        return corners[keep], probabilities[0, keep, 1], points[keep] / ratio

    def _embed(self, image: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        crop = align(image, landmarks)
        batch = cv2.dnn.blobFromImage(crop, 1 / 127.5, (112, 112), (127.5,) * 3, swapRB=True)
        vector = self.recognizer.run(None, {"images": batch})[0][0]
        return vector / np.linalg.norm(vector)
