"""Embeddings, calibrations and galleries for tests."""

import numpy as np

from mindface.gallery import Sample
from mindface.zoo.record import Calibration, Tail, Threshold

CONTRACT = "a" * 64
SIZE = 32


def unit(count, size=SIZE, seed=0):
    """Embeddings `(count, size)` of unit length."""
    rows = np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def near(vector, similarity, seed=0):
    """A unit vector of that similarity to another."""
    other = np.random.default_rng(seed).standard_normal(len(vector))
    other -= (other @ vector) * vector
    mixed = similarity * vector + np.sqrt(1 - similarity**2) * other / np.linalg.norm(other)
    return mixed.astype(np.float32)


def jpeg(seed=0, pixels=250):
    """Bytes with a header that all share, and pixels that nobody shares."""
    noise = np.random.default_rng(seed).integers(0, 256, pixels, np.uint8).tobytes()
    return b"\xff\xd8\xff\xe0" + bytes(range(64)) + b"\xff\xda" + noise + b"\xff\xd9"


def sample(vector, number=0, **others):
    """A sample with all its parts."""
    facts = {
        "quality": 20.0 + number,
        "path": f"/photos/{number}.jpg",
        "box": [1, 2, 3 + number, 4],
        "landmarks": np.arange(10).reshape(5, 2) + number,
        "crop": jpeg(number),
    }
    return Sample(vector, **(facts | others))


def calibration(*, tail=False, contract=None):
    """A threshold 0.2 at 1e-2, a tenth more for each factor of ten; measured down to 1e-5."""
    rates = [(1e-6, 0.6, True)] if tail else []
    rates += [(1e-5, 0.5, False), (1e-4, 0.4, False), (1e-3, 0.3, False), (1e-2, 0.2, False)]
    thresholds = [
        Threshold(false_match_rate=rate, threshold=score, interval=(0, 1), extrapolated=beyond)
        for rate, score, beyond in rates
    ]
    fitted = Tail(start=0.2, share=1e-2, pairs=300, shape=0, scale=0.1 / np.log(10), distance=0.1)
    return Calibration(
        name="test",
        contract=contract,
        thresholds=thresholds,
        people=100,
        people_pairs=4950,
        photos=200,
        genuine=100,
        tail=fitted if tail else None,
    )


def recalled(exact, found):
    """The share of the people that an exact search gives whom another gave too."""
    pairs = zip(exact.people, found.people, strict=True)
    return np.mean([np.isin(right, answers).mean() for right, answers in pairs])


def everything(gallery):
    """All that a gallery says of its people, as plain values."""
    return {
        person.name: (
            person.aliases,
            person.tags,
            person.valid_from,
            person.valid_until,
            [
                (face.id, face.embedding.tobytes(), face.quality, face.path, face.content)
                for face in gallery.faces(person.name)
            ],
            [gallery.crop(face.id) for face in gallery.faces(person.name)],
        )
        for person in gallery.people()
    }
