"""Whether a set of faces can be trusted: damage, statistics, label noise, people in two sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mindface.datasets.faceset import NOBODY, FaceSet
from mindface.datasets.noise import DEFAULT_LIMITS, Ints, Limits, Noise, find_noise, matches
from mindface.datasets.records import RecordSet
from mindface.datasets.survey import Survey, Track, survey, untracked
from mindface.errors import ImageError
from mindface.formats.insightface_rec import IdentityRecords

if TYPE_CHECKING:
    from mindface.recognition.recognizer import Recognizer

HARMLESS = {"gaps", "foreign"}  # people are renumbered, and any picture is read that decodes


class Overlap(NamedTuple):
    """Somebody who seems to be in another set too.

    Attributes:
        name: of the person, or `#7` for a picture of nobody in particular; as `Without` takes it.
        other: the person's name in the other set.
        similarity: of the two.
    """

    name: str
    other: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Checked:
    """A set and what was found in it.

    Attributes:
        faces: the set.
        survey: what was seen in its pictures.
        faults: of a RecordIO file, what is wrong with its structure: `Faults`, by name.
        noise: None without a recogniser: not looked for.
    """

    faces: FaceSet
    survey: Survey
    faults: dict[str, Any]
    noise: Noise | None

    @property
    def damaged(self) -> bool:
        """Whether pictures cannot be read, or the structure is unsound."""
        return bool(self.survey.damaged or self.faults.keys() - HARMLESS)

    @property
    def suspicious(self) -> bool:
        """Whether anything was found that somebody should look at."""
        noise = self.noise
        found = noise is not None and (noise.wrong or noise.duplicates or noise.same)
        return bool(found or self.faults or self.survey.unfit or len(self.sizes) > 1)

    @property
    def sizes(self) -> dict[tuple[int, int], int]:
        """How many pictures have each (height, width), the most frequent first."""
        sizes = self.survey.sizes[self.survey.sizes.any(1)]
        return dict(Counter(map(tuple, sizes.tolist())).most_common())

    @property
    def counts(self) -> Ints:
        """How many pictures `(C,)` each person has."""
        labels = self.faces.labels
        return np.bincount(labels[labels != NOBODY], minlength=len(self.faces.class_names))

    def report(self, called: Callable[[int], str] | None = None) -> dict[str, Any]:
        """All of it as plain values.

        Args:
            called: what to call a picture; None: as the set describes it.

        Returns:
            Counts: `pictures`, `people`, `nobodys` (pictures of nobody in particular),
            `pictures_per_person` (`min`, `median`, `max`), `people_with_one`, `sizes` ("112x112":
            count), `gray`, `black_corners`. Lists: `damaged` and `unfit` (`picture`, `reason`),
            `wrong_labels` (`picture`, its `number`, `person`, `similarity`, `nearest`,
            `nearest_similarity`), `duplicates` (`picture`, `number`, `earlier`, `similarity`,
            `correlation`), `same_people` (`person`, `other`, `similarity`); the last three are
            None where they were not looked for. `faults` of a RecordIO file, and `set`.
        """
        faces, seen, counts = self.faces, self.survey, self.counts
        called = called or faces.describe
        ranks = np.percentile(counts, [0, 50, 100]).tolist() if len(counts) else [0, 0, 0]
        return {
            "set": faces.source,
            "pictures": len(faces),
            "people": len(counts),
            "nobodys": int((faces.labels == NOBODY).sum()),
            "pictures_per_person": dict(zip(("min", "median", "max"), ranks, strict=True)),
            "people_with_one": int((counts == 1).sum()),
            "sizes": {f"{height}x{width}": count for (height, width), count in self.sizes.items()},
            "gray": int(seen.gray.sum()),
            "black_corners": int(seen.black.sum()),
            "damaged": [{"picture": called(n), "reason": why} for n, why in seen.damaged.items()],
            "unfit": [{"picture": called(n), "reason": why} for n, why in seen.unfit.items()],
            "faults": self.faults,
            "wrong_labels": self.noise and [*self._wrong(self.noise, called)],
            "duplicates": self.noise and [*self._duplicates(self.noise, called)],
            "same_people": self.noise and [*self._same(self.noise)],
        }

    def overlap(self, other: Checked, limits: Limits, *, nobodys: bool) -> list[Overlap]:
        """People who are in another set too; empty where there is no recogniser.

        Args:
            other: the other set; its people are looked for.
            limits: `same` is looked at.
            nobodys: whether to look at pictures of nobody in particular, too.
        """
        if self.noise is None or other.noise is None:
            return []
        people, theirs = self.noise.people, other.noise.people
        names, others = self.faces.class_names, other.faces.class_names
        found = [
            Overlap(names[match.first], others[match.second], match.similarity)
            for match in matches(people.__getitem__, np.arange(len(people)), theirs, limits)
        ]
        if nobodys:
            numbers = np.flatnonzero((self.faces.labels == NOBODY) & self.survey.embedded)
            found += [
                Overlap(f"#{match.first}", others[match.second], match.similarity)
                for match in matches(self.survey.embeddings, numbers, theirs, limits)
            ]
        return found

    def _wrong(self, noise: Noise, called: Callable[[int], str]) -> Iterator[dict[str, Any]]:
        names, labels = self.faces.class_names, self.faces.labels
        for fault in noise.wrong:
            nearest = fault.nearest_similarity
            yield {
                "picture": called(fault.picture),
                "number": fault.picture,
                "person": names[labels[fault.picture]],
                "similarity": round(fault.similarity, 3),
                "nearest": None if fault.nearest is None else names[fault.nearest],
                "nearest_similarity": None if nearest is None else round(nearest, 3),
            }

    def _duplicates(self, noise: Noise, called: Callable[[int], str]) -> Iterator[dict[str, Any]]:
        for fault in noise.duplicates:
            yield {
                "picture": called(fault.picture),
                "number": fault.picture,
                "earlier": called(fault.earlier),
                "similarity": round(fault.similarity, 3),
                "correlation": round(fault.correlation, 3),
            }

    def _same(self, noise: Noise) -> Iterator[dict[str, Any]]:
        names = self.faces.class_names
        for match in noise.same:
            yield {
                "person": names[match.first],
                "other": names[match.second],
                "similarity": round(match.similarity, 3),
            }


def check(
    faces: FaceSet,
    recognizer: Recognizer | None = None,
    limits: Limits = DEFAULT_LIMITS,
    track: Track = untracked,
) -> Checked:
    """Looks at every picture of a set, and with a recogniser for label noise.

    Args:
        faces: aligned faces.
        recognizer: of aligned faces; None: what needs embeddings is not looked for.
        limits: from where on label noise is reported.
        track: shows the progress; see `survey`.

    Raises:
        ImageError: no picture of the set is an aligned face.
    """
    seen = survey(faces, recognizer, track)
    if seen.unfit and not seen.embedded.any():
        reason = next(iter(seen.unfit.values()))
        raise ImageError(
            f"{reason}; nor are its other pictures: run  mindface data build", faces.source
        )
    noise = None
    if recognizer:
        labels = np.where(seen.embedded, faces.labels, NOBODY)
        count = len(faces.class_names)
        noise = find_noise(seen.embeddings, seen.thumbnails, labels, count, limits)
    return Checked(faces, seen, _faults(faces), noise)


def _faults(faces: FaceSet) -> dict[str, Any]:
    """What is wrong with the structure of a set of people, where it has one."""
    if not isinstance(faces, RecordSet) or not faces.class_names:
        return {}
    faults = asdict(IdentityRecords(faces.source).check())
    return {name: found for name, found in faults.items() if found}
