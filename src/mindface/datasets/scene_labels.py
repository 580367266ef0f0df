"""Pseudo labels: the faces that a teacher finds in a folder of photos, as COCO JSON.

The teacher looks at each photo at several scales, each of which has a say about faces of the sizes
that it shows well. Faces that they agree on are labels; of those that they doubt, training asks
nothing (`ignore`).
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.detection.detector import Candidates, Detector, Look, Opened
from mindface.detection.framing import MIRRORED
from mindface.detection.policies import mirrored
from mindface.errors import ConfigError, ImageError, IntegrityError
from mindface.formats.coco import CocoImage, write_coco
from mindface.geometry import iou, nms
from mindface.imaging import find_images
from mindface.results import Array

Report = dict[str, Any]
Track = Callable[[Iterable[Path], int, str], Iterator[Path]]

BATCH = 8
SHOWN_WELL = (12, 320)  # long sides of faces in pixels of the network's input


def label_photos(
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
    detector: Detector,
    *,
    score: float = 0.6,
    mirror: bool = False,
    track: Track = lambda items, total, what: iter(items),
) -> Report:
    """Writes the faces that a detector finds in a folder of photos as COCO JSON.

    What is found is kept in `path` + ".part", line by line, so that stopped work goes on when it is
    called again; at most `2 * BATCH` photos are in memory.

    Args:
        folder: of the photos; folders in it are walked.
        path: of the JSON; `open_scenes(path, folder)` opens it.
        detector: the teacher, with its scales. Its score threshold is the least confidence: faces
            from there up to `score` are ignored in training.
        score: the confidence from which on a face is a label.
        mirror: look at each photo's mirror image, too, at each scale.
        track: shows the progress: given what to go through, how many there are, and what it is.

    Returns:
        Counts: `photos` (that are labelled), `faces`, `ignored`; `unreadable`: a list of `photo`
        and `reason`; they are not in the JSON. `labels`: the path; `detector`: its name.

    Raises:
        ConfigError: `score` is below the detector's threshold, or work on the file was begun with
            another detector or settings.
        FileExistsError: the JSON is there already.
        ImageError: there is no photo in the folder, or none that can be read.
        IntegrityError: the unfinished file is damaged.
        OSError: the files cannot be written.
    """
    folder, path = Path(folder), Path(path)
    if score < detector.thresholds.score:
        raise ConfigError(
            f"labels from a score of {score} on, and the detector finds none below "
            f"{detector.thresholds.score}: raise the one, or lower the other"
        )
    if path.exists():
        raise FileExistsError(errno.EEXIST, "labels are there already: name a new file", str(path))
    photos = list(find_images([folder])) if folder.is_dir() else []
    if not photos:
        raise ImageError("no such folder, or no photo in it", str(folder))
    part = path.with_name(f"{path.name}.part")
    facts = _facts(folder, detector, score, mirror)
    done = _begun(part, facts)
    names = {photo: photo.relative_to(folder).as_posix() for photo in photos}
    todo = [photo for photo in photos if names[photo] not in done]
    unreadable = []
    found = _stream(detector, todo, mirror)
    with part.open("a", encoding="utf-8") as file:
        for photo, item in zip(track(todo, len(todo), "label"), found, strict=True):
            if isinstance(item, ImageError):
                unreadable.append({"photo": str(photo), "reason": item.reason})
                continue
            file.write(json.dumps(_line(names[photo], *item)) + "\n")
            file.flush()
    if len(unreadable) == len(photos):
        raise ImageError(f"none of {len(photos)} photos could be read", str(folder))
    return _finish(part, path, score, facts) | {"unreadable": unreadable}


def _facts(folder: Path, detector: Detector, score: float, mirror: bool) -> Report:
    """Whatever decides what is found."""
    return {
        "photos": str(folder.resolve()),
        "detector": detector.record.name,
        "sha256": detector.record.sha256,
        "licence": detector.record.licence,
        "input_size": detector.input_size,
        "scales": list(detector.scales),
        "overlap": detector.thresholds.overlap,
        "ignored_from": detector.thresholds.score,
        "score": score,
        "mirror": mirror,
    }


def _stream(
    detector: Detector, photos: Sequence[Path], mirror: bool
) -> Iterator[tuple[Opened, Candidates] | ImageError]:
    """Each photo with its faces, or why it cannot be read; decoded ahead."""
    for batch in detector.open_ahead(photos, BATCH):
        readable = [item for item in batch if not isinstance(item, ImageError)]
        found = zip(readable, _detect(detector, readable, mirror), strict=True)
        yield from (item if isinstance(item, ImageError) else next(found) for item in batch)


def _detect(detector: Detector, photos: Sequence[Opened], mirror: bool) -> list[Candidates]:
    looks = [_looks(photo, detector, mirror) for photo in photos]
    found = iter(detector.candidates(list(chain(*looks))))
    overlap = detector.thresholds.overlap
    return [
        agreed(
            _upright(list(islice(found, len(each))), photo.photo.width, mirror),
            [1 / float(look.enlargement.mean()) for look in each],
            overlap,
        )
        for photo, each in zip(photos, looks, strict=True)
    ]


def _looks(photo: Opened, detector: Detector, mirror: bool) -> list[Look]:
    """The photo at each scale, then its mirror image at each if that is asked for."""
    shown = [photo]
    if mirror:
        shown.append(Opened(photo.photo, np.ascontiguousarray(photo.pixels[:, ::-1])))
    return [
        Look.at(each, detector.input_size, scale) for each in shown for scale in detector.scales
    ]


def _upright(found: list[Candidates], width: int, mirror: bool) -> list[Candidates]:
    """What the looks found; the second half of them at the mirror image if there is one."""
    half = len(found) // 2 if mirror else len(found)
    return [*found[:half], *(_mirrored(each, width) for each in found[half:])]


def _mirrored(found: Candidates, width: int) -> Candidates:
    landmarks = found.landmarks[:, MIRRORED] * np.array([-1, 1], np.float32)
    landmarks[..., 0] += width
    return Candidates(mirrored(found.boxes, width), found.scores, landmarks)


def agreed(looks: Sequence[Candidates], ratios: Sequence[float], overlap: float) -> Candidates:
    """Joins what several looks at a photo found.

    The best box and those that overlap it become one face, of each look the best: box and landmarks
    are means weighted by score. The face's score is the sum of theirs over the number of looks that
    show a face of its size well, so that what one look takes for a face is doubted.

    Args:
        looks: what each found, in pixels of the photo.
        ratios: pixels of each look's input for one of the photo.
        overlap: the IoU from which on boxes are one face.

    Returns:
        The faces, best first.
    """
    seen = [_well_shown(*each, overlap) for each in zip(looks, ratios, strict=True)]
    look = np.repeat(np.arange(len(seen)), [len(each.scores) for each in seen])
    boxes, scores, landmarks = (
        np.concatenate([getattr(each, name) for each in seen])
        for name in ("boxes", "scores", "landmarks")
    )
    faces = []
    rest = np.argsort(-scores, kind="stable")
    while rest.size:
        joined = iou(boxes[rest[:1]], boxes[rest])[0] >= overlap
        joined[0] = True
        group, rest = rest[joined], rest[~joined]
        best = group[np.unique(look[group], return_index=True)[1]]
        shares = scores[best] / scores[best].sum()
        box = shares @ boxes[best]
        able = max(int(_shows_well(_sides(box[None]) * np.array(ratios)).sum()), len(best))
        points = np.tensordot(shares, landmarks[best], 1)
        faces.append((box, scores[best].sum() / able, points))
    if not faces:
        return Candidates(boxes, scores, landmarks)
    joined_boxes, sums, points = (np.array(part, np.float32) for part in zip(*faces, strict=True))
    kept = nms(joined_boxes, sums, overlap)
    return Candidates(joined_boxes, sums, points).select(kept)


def _well_shown(found: Candidates, ratio: float, overlap: float) -> Candidates:
    """The faces of one look that have a size which it shows well, after suppression."""
    found = found.select(nms(found.boxes, found.scores, overlap))
    return found.select(np.flatnonzero(_shows_well(_sides(found.boxes) * ratio)))


def _shows_well(sides: Array) -> NDArray[np.bool_]:
    low, high = SHOWN_WELL
    return (low <= sides) & (sides <= high)


def _sides(boxes: Array) -> Array:
    """Longer sides of boxes."""
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(1, initial=0))


def _line(name: str, opened: Opened, faces: Candidates) -> Report:
    """A photo and its faces as plain values, in hundredths of a pixel."""
    return {
        "photo": name,
        "size": [opened.photo.width, opened.photo.height],
        "boxes": _rounded(faces.boxes, 2),
        "landmarks": _rounded(faces.landmarks, 2),
        "scores": _rounded(faces.scores, 4),
    }


def _rounded(values: np.ndarray[Any, Any], digits: int) -> list[Any]:
    rounded: list[Any] = values.astype(np.float64).round(digits).tolist()
    return rounded


def _begun(part: Path, facts: Report) -> set[str]:
    """The photos that are done in an unfinished file, which is begun if there is none."""
    if not part.exists():
        part.write_text(json.dumps(facts) + "\n", encoding="utf-8")
    _cut_torn(part)
    lines = _lines(part)
    before = next(lines, None)
    if before is None:
        part.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return set()
    if differ := [name for name in facts if before.get(name) != facts[name]]:
        raise ConfigError(
            f"{part}: begun with another {', '.join(differ)}: name another file, or delete this one"
        )
    return {line["photo"] for line in lines}


def _cut_torn(part: Path) -> None:
    """Cuts off a last line that was not finished."""
    with part.open("r+b") as file:
        whole = 0
        for line in file:
            whole += len(line) if line.endswith(b"\n") else 0
        file.truncate(whole)


def _lines(part: Path) -> Iterator[Report]:
    with part.open(encoding="utf-8") as file:
        for line in file:
            try:
                found = json.loads(line)
            except ValueError as error:
                raise IntegrityError(f"{part}: damaged ({error}): delete it") from error
            yield found


def _finish(part: Path, path: Path, score: float, facts: Report) -> Report:
    """Writes the JSON from the lines of the unfinished file, and removes that."""
    counts = {"photos": 0, "faces": 0, "ignored": 0}

    def images() -> Iterator[CocoImage]:
        for line in islice(_lines(part), 1, None):
            image = _image(line, score)
            counts["photos"] += 1
            counts["faces"] += int((~image.ignored).sum())
            counts["ignored"] += int(image.ignored.sum())
            yield image

    write_coco(path, images(), facts)
    with suppress(OSError):
        part.unlink()
    return {"labels": str(path), "detector": facts["detector"], **counts}


def _image(line: Report, score: float) -> CocoImage:
    boxes = np.reshape(np.array(line["boxes"], np.float64), (-1, 4))
    boxes[:, 2:] = (boxes[:, 2:] - boxes[:, :2]).round(2)
    width, height = line["size"]
    scores = np.array(line["scores"], np.float64)
    landmarks = np.reshape(np.array(line["landmarks"], np.float64), (-1, 5, 2))
    return CocoImage(line["photo"], (width, height), boxes, landmarks, scores < score, scores)
