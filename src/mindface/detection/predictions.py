"""What a detector finds in the photos of a benchmark, on disk: stopped work goes on where it was.

The folder is in WIDER FACE's format; `mindface.json` in it says whose predictions they are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mindface.detection.detector import Detector
from mindface.detection.policies import POLICIES, stream
from mindface.errors import ConfigError, ImageError
from mindface.formats.wider_face import prediction_path, write_prediction

Track = Callable[[Iterable[str], int], Iterator[str]]

MANIFEST = "mindface.json"
SUFFIXES = (".jpg", ".jpeg", ".png")


def predict(
    detector: Detector,
    policy: str,
    images: Sequence[str],
    photos: Path,
    output: Path,
    track: Track = lambda items, total: iter(items),
) -> None:
    """Finds the faces of all images whose predictions are not there yet.

    Args:
        detector: with the thresholds of the benchmark.
        policy: a name of `POLICIES`.
        images: names, `EVENT/NAME`.
        photos: the folder where they lie.
        output: the folder of predictions; made if absent.
        track: is given the images to be done, and how many there are; shows the progress.

    Raises:
        ImageError: photos are missing, or one cannot be read; the predictions so far are kept.
        ConfigError: the folder holds predictions of another model, policy or thresholds.
        OSError: the folder cannot be written.
    """
    found = dict(zip(images, _all_photos(photos, images), strict=True))
    _claim(output, _facts(detector, policy))
    missing = [image for image in images if not prediction_path(output, image).exists()]
    results = stream(detector, (found[image] for image in missing), POLICIES[policy])
    for image, boxes in zip(track(missing, len(missing)), results, strict=True):
        if isinstance(boxes, ImageError):
            raise boxes
        write_prediction(output, image, boxes)


def manifest(predictions: Path) -> dict[str, Any]:
    """How the predictions in a folder were made; empty where that does not stand with them.

    Raises:
        ConfigError: what stands there cannot be read.
    """
    path = predictions / MANIFEST
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: damaged, so delete these predictions: {error}") from error
    if not isinstance(facts, dict):
        raise ConfigError(f"{path}: holds no facts about predictions: give another folder")
    return facts


def find_photo(folder: Path, image: str) -> Path | None:
    """The photo of an image, by its name without a suffix, or None."""
    candidates = (folder / f"{image}{suffix}" for suffix in SUFFIXES)
    return next(filter(Path.exists, candidates), None)


def _all_photos(folder: Path, images: Sequence[str]) -> list[Path]:
    found = {image: find_photo(folder, image) for image in images}
    if missing := [image for image, photo in found.items() if photo is None]:
        shown = ", ".join(missing[:10])
        raise ImageError(f"{len(missing):,} photos are missing: {shown:.1000}", str(folder))
    return [photo for photo in found.values() if photo]


def _facts(detector: Detector, policy: str) -> dict[str, Any]:
    thresholds = detector.thresholds
    return {
        "model": detector.record.name,
        "sha256": detector.record.sha256,
        "licence": detector.record.licence,
        "precision": detector.options.precision,
        "scales": {"policy": policy, **asdict(POLICIES[policy])},
        "thresholds": {"score": thresholds.score, "overlap": thresholds.overlap},
    }


def _claim(output: Path, facts: dict[str, Any]) -> None:
    """Writes down whose predictions the folder holds, or makes sure that they are those."""
    facts = json.loads(json.dumps(facts))
    before = manifest(output)
    if before or any(output.glob("*/*.txt")):
        if differ := [name for name in facts if facts[name] != before.get(name)]:
            raise ConfigError(
                f"{output}: holds predictions with another {', '.join(differ)}: give another "
                "folder, or delete this one"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    partial = output / f".{MANIFEST}.{os.getpid()}.tmp"
    partial.write_text(json.dumps(facts, indent=2), encoding="utf-8")
    partial.replace(output / MANIFEST)
