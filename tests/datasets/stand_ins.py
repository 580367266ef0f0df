"""Sets in memory, and a recogniser that knows people by their colours."""

from types import SimpleNamespace

import cv2
import numpy as np

from mindface.errors import ImageError

COLORS = np.array([(220, 40, 40), (40, 220, 40), (40, 40, 220), (200, 200, 40), (40, 200, 200)])


def face(person: int, photo: int, size: int = 112) -> np.ndarray:
    """A picture of a person: the person's colour, and a pattern that is the photo's own."""
    rng = np.random.default_rng((person, photo))
    pattern = cv2.resize(rng.normal(0, 25, (6, 6, 1)), (size, size))[..., None]
    return np.clip(COLORS[person] + pattern, 10, 255).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()


class Faces:
    """A `FaceSet` of encoded pictures; None is one that cannot be read."""

    source = "memory"

    def __init__(self, pictures, labels, names=None):
        self.pictures = list(pictures)
        self.labels = np.array(labels, np.int64)
        self.class_names = names or tuple("abcdefgh"[: self.labels.max(initial=-1) + 1])

    def __len__(self):
        return len(self.pictures)

    def read(self, index):
        if self.pictures[index] is None:
            raise ImageError("cannot be read", self.describe(index))
        return self.pictures[index]

    def describe(self, index):
        return f"memory[{index}]"

    def order(self, rng):
        return rng.permutation(len(self))


class ColorRecognizer:
    """Embeds a face as its mean colour, told apart from gray."""

    template = "arcface_112x112"
    embedding_size = 3
    precision = "fp32"
    options = SimpleNamespace(thread_count=2)
    record = SimpleNamespace(contract="c0" * 32, name="colors")

    def __init__(self):
        self.seen = 0

    def features(self, crops, *, aligned):
        assert aligned
        self.seen += len(crops)
        colors = np.array([crop.mean((0, 1)) for crop in crops], np.float32)
        return colors - colors.mean(1, keepdims=True)
