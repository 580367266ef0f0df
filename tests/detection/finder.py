"""A stand-in for a detector, quick and exactly known."""

from types import SimpleNamespace

import numpy as np

from mindface.detection.detector import Candidates


class Finder:
    """Finds a photo's white square and a second box beside it, and keeps the looks it is shown."""

    def __init__(self, sha256: str = "0" * 64) -> None:
        self.record = SimpleNamespace(name="finder", sha256=sha256, licence="MIT")
        self.options = SimpleNamespace(thread_count=1, precision="fp32")
        self.thresholds = SimpleNamespace(score=0.02, overlap=0.4)
        self.looks = []

    def candidates(self, looks):
        self.looks += looks
        return [self._in(look.opened.pixels) for look in looks]

    def _in(self, pixels):
        rows, columns = np.nonzero(pixels[..., 0] > 128)
        if not len(rows):
            return Candidates(*(np.zeros(shape, np.float32) for shape in ((0, 4), 0, (0, 5, 2))))
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        boxes = np.array([[left, top, right, bottom], [left + 4, top, right + 4, bottom]])
        return Candidates(
            boxes.astype(np.float32), np.array([0.9, 0.3], np.float32), np.zeros((2, 5, 2))
        )


def photo(left: int, top: int, side: int = 100):
    """A black photo of 1024 x 600 pixels with a white square."""
    pixels = np.zeros((600, 1024, 3), np.uint8)
    pixels[top : top + side, left : left + side] = 255
    return pixels
