"""From a folder of photos per person to a set of aligned faces.

Of every photo the largest face is cut out. With a recogniser, of several faces the one most like
the person's other photos takes its place. Then the set is checked, and what the caller names is
dropped; nothing else is.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mindface.crops import plausible
from mindface.datasets.check import Checked, check
from mindface.datasets.cut import Candidates, Cut
from mindface.datasets.faceset import NOBODY
from mindface.datasets.folder import FolderSet
from mindface.datasets.journal import Entry, Journal
from mindface.datasets.noise import DEFAULT_LIMITS, Limits, center, pictures_of
from mindface.datasets.survey import Track, survey, untracked
from mindface.errors import AlignmentError, ConfigError, ImageError
from mindface.geometry import fit_crop

if TYPE_CHECKING:
    from mindface.detection.detector import Detector, Opened
    from mindface.recognition.recognizer import Recognizer
    from mindface.results import Detections

Report = dict[str, Any]

DEFAULT_CUT = Cut()
REPORT = "build.json"
FAULTS = ("wrong", "duplicates", "few")


def build(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None,
    detector: Detector,
    recognizer: Recognizer | None = None,
    *,
    cut: Cut = DEFAULT_CUT,
    limits: Limits = DEFAULT_LIMITS,
    least: int = 2,
    drop: Collection[str] = (),
    track: Track = untracked,
) -> Report:
    """Cuts a face out of every photo and reports what is wrong.

    Writes `target/person/photo.jpg`; `build.jsonl`, by which a stopped build goes on and a later
    one only looks at photos that are new or changed; and `build.json`, the report. Crops of photos
    that are gone are removed.

    Args:
        source: a folder for each person with the person's photos.
        target: where the crops go; None: nothing is written, only reported.
        detector: finds the faces.
        recognizer: decides between several faces and finds label noise; None: not looked for.
        cut: how a face is cut out.
        limits: from where on label noise is reported.
        least: people with fewer faces are reported as few.
        drop: what is dropped: "wrong" labels, near "duplicates", then people with "few" faces.
        track: shows the progress; see `survey`.

    Returns:
        The report. Counts: `people`, `photos`, `faces` (that stayed). Lists: `unreadable` and
        `no_face` (`photo`, `reason`), `several_faces` (`photo`, `faces`, `taken`, `why`,
        `similarity`), `few` (`person`, `faces`), `dropped` (`photo`, `why`), `gone` (photos).
        `check`: `Checked.report` of all faces, before any was dropped, by their photos. `source`,
        `target`, `detector`, `recognizer`.

    Raises:
        ImageError: there is no photo in people's folders, or no face in any.
        ConfigError: the target lies in the source, holds something else or crops of other
            settings; the recogniser takes wider faces; `drop` names no fault, or label noise and
            there is no recogniser.
        IntegrityError: `build.jsonl` is damaged.
        OSError: the target cannot be written.
    """
    _check(cut, recognizer, drop)
    if target is None:
        with TemporaryDirectory() as folder:
            made = _Build(Path(source), Path(folder), detector, cut, track)
            return made.run(recognizer, limits, least, drop) | {"target": None}
    made = _Build(Path(source), Path(target), detector, cut, track)
    report = made.run(recognizer, limits, least, drop)
    _write(Path(target, REPORT), json.dumps(report, indent=1).encode())
    return report


def _check(cut: Cut, recognizer: Recognizer | None, drop: Collection[str]) -> None:
    """Says before hours of work, not after, what cannot be."""
    unknown = sorted(set(drop) - set(FAULTS))
    if unknown:
        raise ConfigError(f"nothing to drop is called {unknown[0]!r}: name {', '.join(FAULTS)}")
    if recognizer is None:
        if not set(drop) <= {"few"}:
            raise ConfigError("wrong labels and duplicates are not found without a recogniser")
        return
    try:
        fit_crop(np.zeros((*cut.size, 3), np.uint8), recognizer.template)
    except AlignmentError as error:
        raise ConfigError(
            f"{recognizer.record.name} takes faces on {recognizer.template}, wider than those on "
            f"{cut.template}: do without a recogniser"
        ) from error


class _Build:
    """One build of the folder `target` from the photos in `source`.

    Attributes:
        crops: where the crop of each photo lies; both are paths below their folders.
    """

    def __init__(
        self, source: Path, target: Path, detector: Detector, cut: Cut, track: Track
    ) -> None:
        if target.resolve().is_relative_to(source.resolve()):
            raise ConfigError(f"{target}: lies in the folder of the photos: name another")
        self.source, self.target = source, target
        self.detector, self.cut, self.track = detector, cut, track
        self.photos = FolderSet(source)
        self.crops = _crop_names(_paths(self.photos, source), cut.kind)
        self.journal = Journal(
            target,
            {
                "source": str(source.resolve()),
                "detector": detector.record.sha256,
                "score": detector.thresholds.score,
                "template": cut.template,
                "size": cut.height,
                "format": cut.kind,
            },
        )

    def run(
        self, recognizer: Recognizer | None, limits: Limits, least: int, drop: Collection[str]
    ) -> Report:
        """Builds, and returns the report."""
        gone = self._remove_gone()
        self._cut_out()
        if not any(entry.crop for entry in self._entries()):
            raise ImageError(f"no face in any of {len(self.photos)} photos", str(self.source))
        if recognizer:
            self._look_again(recognizer, limits)
        faces = FolderSet(self.target)
        checked = check(faces, recognizer, limits, self.track)
        photos = {crop: photo for photo, crop in self.crops.items()}
        names = [photos.get(crop, crop) for crop in _paths(faces, self.target)]
        dropped, few = self._drop(checked, least, drop)
        entries = self._entries()
        return {
            "source": str(self.source),
            "target": str(self.target),
            "detector": self.detector.record.name,
            "recognizer": recognizer and recognizer.record.name,
            "people": len(self.photos.class_names),
            "photos": len(entries),
            "faces": len(faces) - len(dropped),
            "unreadable": [{"photo": e.photo, "reason": e.error} for e in entries if e.error],
            "no_face": [{"photo": e.photo, "reason": e.reason} for e in entries if e.reason],
            "several_faces": [_choice(entry) for entry in entries if len(entry.faces) > 1],
            "few": [{"person": person, "faces": count} for person, count in few.items()],
            "dropped": [{"photo": names[n], "why": why} for n, why in dropped.items()],
            "gone": gone,
            "check": checked.report(names.__getitem__) | {"set": str(self.source)},
        }

    def _entries(self) -> list[Entry]:
        return [self.journal.entries[photo] for photo in self.crops]

    def _remove_gone(self) -> list[str]:
        """Removes crops whose photo is gone, or whose name is another photo's by now."""
        gone = []
        for photo, entry in list(self.journal.entries.items()):
            if entry.crop and entry.crop != self.crops.get(photo):
                (self.target / entry.crop).unlink(missing_ok=True)
                self.journal.add(replace(entry, crop=None, state=[]))
                gone.append(photo)
        return [photo for photo in gone if photo not in self.crops]

    def _cut_out(self) -> None:
        """Cuts the largest face out of each photo that is new or changed."""
        states = {photo: _state(self.source / photo) for photo in self.crops}
        todo = [photo for photo, state in states.items() if not self._done(photo, state)]
        found = self.detector.stream_opened(self.source / photo for photo in todo)
        numbers = self.track(range(len(todo)), len(todo), "cut faces out")
        for number, item in zip(numbers, found, strict=True):
            photo = todo[number]
            entry = self._largest(Entry(photo, states[photo]), item)
            if entry.crop is None:
                (self.target / self.crops[photo]).unlink(missing_ok=True)  # of what it was before
            self.journal.add(entry)

    def _done(self, photo: str, state: list[int]) -> bool:
        """Whether the photo was seen as it is, and its crop is there."""
        entry = self.journal.entries.get(photo)
        if entry is None or entry.state != state or entry.error:
            return False
        return entry.crop is None or (self.target / entry.crop).is_file()

    def _largest(self, blank: Entry, found: tuple[Opened, Detections] | ImageError) -> Entry:
        if isinstance(found, ImageError):
            return replace(blank, error=found.reason)
        opened, detections = found
        faces, rejected = plausible(detections)
        if not len(faces):
            return replace(blank, reason="; ".join(rejected) or "no face found")
        rows, taken = [face.to_dict() for face in faces], faces.largest_index()
        try:
            content = self.cut(opened, rows[taken])
        except ImageError as error:
            return replace(blank, error=error.reason)
        crop = self.crops[blank.photo]
        _write(self.target / crop, content)
        return replace(blank, faces=rows, taken=taken, crop=crop)

    def _look_again(self, recognizer: Recognizer, limits: Limits) -> None:
        """Takes, of several faces, the one most like the person's other photos.

        The largest stays where none is like them, or where there are none.
        """
        several = [entry for entry in self._entries() if entry.crop and len(entry.faces) > 1]
        if not several:
            return
        faces = FolderSet(self.target)
        seen = survey(faces, recognizer, self.track)
        labels = np.where(seen.embedded, faces.labels, NOBODY)
        pictures = pictures_of(labels, len(faces.class_names))
        numbers = {crop: number for number, crop in enumerate(_paths(faces, self.target))}
        listed = [(str(self.source / e.photo), face) for e in several for face in e.faces]
        candidates = Candidates(listed, self.cut, self.detector)
        shown = survey(candidates, recognizer, self.track)
        first = 0
        for entry in several:
            own = numbers[self.crops[entry.photo]]
            others = pictures[faces.labels[own]]
            others = others[others != own]
            group = np.arange(first, first + len(entry.faces))
            first += len(entry.faces)
            usable = group[shown.embedded[group]]
            if not len(others) or not len(usable):
                continue
            similar = shown.embeddings(usable) @ center(seen.embeddings(others))
            best = int(similar.argmax())
            if similar[best] >= limits.unlike:
                content = candidates.read(int(usable[best]))
                self._take(entry, int(usable[best] - group[0]), float(similar[best]), content)

    def _take(self, entry: Entry, taken: int, similarity: float, content: bytes) -> None:
        """Notes which face of several is the person's."""
        if taken != entry.taken:
            _write(self.target / self.crops[entry.photo], content)
        self.journal.add(replace(entry, taken=taken, similarity=round(similarity, 3)))

    def _drop(
        self, checked: Checked, least: int, drop: Collection[str]
    ) -> tuple[dict[int, str], dict[str, int]]:
        """Removes crops.

        Returns:
            Why pictures were dropped, by number, and how many faces are left of people with few.
        """
        dropped: dict[int, str] = {}
        if checked.noise and "wrong" in drop:
            dropped |= {fault.picture: "wrong" for fault in checked.noise.wrong}
        if checked.noise and "duplicates" in drop:
            dropped |= {fault.picture: "duplicates" for fault in checked.noise.duplicates}
        faces = checked.faces
        people = [faces.class_names[label] for label in faces.labels]
        left = Counter(person for number, person in enumerate(people) if number not in dropped)
        few = {name: left[name] for name in self.photos.class_names if left[name] < least}
        if "few" in drop:
            rest = (number for number, person in enumerate(people) if person in few)
            dropped |= {number: "few" for number in rest if number not in dropped}
        for number in dropped:
            Path(faces.describe(number)).unlink()
        return dropped, few


def _paths(faces: FolderSet, folder: Path) -> list[str]:
    """The path of each picture below the folder."""
    return [str(Path(faces.describe(n)).relative_to(folder)) for n in range(len(faces))]


def _crop_names(photos: Iterable[str], kind: str) -> dict[str, str]:
    """The path of each photo's crop: `ada/1.jpg`, or `ada/1.png.jpg` where another has that."""
    names: dict[str, str] = {}
    used = set[str]()
    for photo in photos:
        name = str(Path(photo).with_suffix(f".{kind}"))
        if name.casefold() in used:
            name = f"{photo}.{kind}"
        used.add(name.casefold())
        names[photo] = name
    return names


def _state(photo: Path) -> list[int]:
    """What changes when a photo does: its size and the time."""
    try:
        status = photo.stat()
    except OSError:  # whoever opens it says so
        return []
    return [status.st_size, status.st_mtime_ns]


def _choice(entry: Entry) -> Report:
    """Which face of several was taken, and why."""
    why = "largest" if entry.similarity is None else "most like the person's other photos"
    return {
        "photo": entry.photo,
        "faces": len(entry.faces),
        "taken": entry.taken,
        "why": why,
        "similarity": entry.similarity,
    }


def _write(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; an unfinished one is hidden."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_bytes(content)
    partial.replace(path)
