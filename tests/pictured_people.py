"""Photos that say whom they show, and an analyzer that reads it instead of looking."""

import io
import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

from mindface.errors import ImageError
from mindface.imaging import open_image, or_error
from mindface.results import Analysis, Detections, Quality
from mindface.zoo.record import Calibration, Threshold

CONTRACT = "c" * 64
SIZE = 16
FACE = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
GOOD = {
    "sharpness": 300.0,
    "yaw": 3.0,
    "pitch": -2.0,
    "roll": 0.0,
    "truncation": 0.0,
    "score": 0.99,
}


def face(who, *, look=0, x=60, side=80, likeness=0.8, **quality):
    """A face of a person as a photo's comment holds it; `look` tells photos of one person apart."""
    return {"who": who, "look": look, "x": x, "side": side, "likeness": likeness, **quality}


def photo(path, *faces, size=(240, 200)):
    """Writes a JPEG with these faces."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = len(faces) and faces[0]["who"]
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path, comment=json.dumps(faces).encode())
    return path


def embedding(who, look, likeness):
    """A vector of that similarity to the person's own direction."""
    middle, aside = (
        np.random.default_rng(seed).standard_normal(SIZE) for seed in ([who], [who, look + 1])
    )
    middle /= np.linalg.norm(middle)
    aside -= (aside @ middle) * middle
    aside /= np.linalg.norm(aside)
    return (likeness * middle + np.sqrt(1 - likeness**2) * aside).astype(np.float32)


def calibration():
    """Thresholds from 0.9 at 1e-5 to 0.6 at 1e-2: random directions in 16 dimensions are far."""
    rates = [(1e-5, 0.9), (1e-4, 0.8), (1e-3, 0.7), (1e-2, 0.6)]
    thresholds = [
        Threshold(false_match_rate=rate, threshold=score, interval=(0, 1)) for rate, score in rates
    ]
    return Calibration(
        name="drawn people",
        contract=CONTRACT,
        thresholds=thresholds,
        people=100,
        people_pairs=4950,
        photos=200,
        genuine=100,
    )


def recognizer(calibrated=True):
    """What of a recogniser a gallery needs."""
    return SimpleNamespace(
        record=SimpleNamespace(contract=CONTRACT, name="drawn", licence="CC0-1.0"),
        embedding_size=SIZE,
        calibration=calibration() if calibrated else None,
    )


class Reader:
    """Stands for a `FaceAnalyzer`; `seen` are the photos it was given."""

    seen: list

    def __init__(self, detector=None, recognizer=None):
        self.recognizer = recognizer
        self.seen = []

    def stream(self, sources, *, batch_size=32, quality=False):
        for source in sources:
            self.seen.append(source)
            opened = or_error(open_image, str(source))
            yield Analysis.failed(opened) if isinstance(opened, ImageError) else _read(opened)


def _read(opened):
    with open(opened.path, "rb") as file, Image.open(io.BytesIO(file.read())) as image:
        faces = json.loads(image.info.get("comment", b"[]"))
    boxes = np.array(
        [[each["x"], 40, each["x"] + each["side"], 40 + each["side"]] for each in faces]
    )
    quality = [
        Quality(
            side=float(each["side"]),
            eye_distance=0.4 * each["side"],
            **{name: each.get(name, value) for name, value in GOOD.items()},
        )
        for each in faces
    ]
    found = Detections(
        boxes.reshape(-1, 4),
        np.array([each.score for each in quality]),
        np.array([FACE * each["side"] + (each["x"], 40) for each in faces]).reshape(-1, 5, 2),
        opened.width,
        opened.height,
        opened.path,
    )
    vectors = [embedding(each["who"], each["look"], each["likeness"]) for each in faces]
    return Analysis(
        found,
        np.array(vectors, np.float32).reshape(-1, SIZE),
        np.full(len(faces), 20, np.float32),
        len(faces),
        quality=tuple(quality),
    )
