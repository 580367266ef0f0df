"""From photos to enrolled people, any number of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Literal

from mindface.analyzer import FaceAnalyzer
from mindface.enrolment.crop import crop_with_margin
from mindface.enrolment.gate import Limits, Refusal, judge
from mindface.enrolment.photos import photo_hash
from mindface.enrolment.portraits import Portrait
from mindface.errors import GalleryError, ImageError
from mindface.gallery import Gallery, Sample
from mindface.gallery.checks import check_name
from mindface.gallery.rows import FaceRow, face_content, photo_of
from mindface.gallery.verdicts import standing
from mindface.imaging import open_image
from mindface.results import Analysis, Array

BATCHES = 8  # looked up in the gallery together


@dataclass(frozen=True)
class Outcome:
    """What became of a photo.

    Attributes:
        portrait: the photo, and whom it shows.
        status: "enrolled"; "present": it was, before; or "refused".
        refusals: why not; of an enrolled one what was overruled.
        entry: the number of the journal's entry, where it was enrolled.
    """

    portrait: Portrait
    status: Literal["enrolled", "present", "refused"]
    refusals: tuple[Refusal, ...] = ()
    entry: int | None = None

    @property
    def reason(self) -> str:
        """The refusals in a sentence."""
        return "; ".join(refusal.sentence for refusal in self.refusals)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "path": str(self.portrait.path),
            "name": self.portrait.name,
            "status": self.status,
            "entry": self.entry,
            "reasons": [refusal.to_dict() for refusal in self.refusals],
        }


def enroll_photos(
    gallery: Gallery,
    analyzer: FaceAnalyzer,
    portraits: Iterable[Portrait],
    *,
    limits: Limits | None = None,
    force: bool = False,
    batch_size: int = 32,
) -> Iterator[Outcome]:
    """Enrolls the largest face of each photo, unless the gate refuses it.

    Each photo is enrolled by itself, durably, with a crop (`crop_with_margin`). Stopped work goes
    on where it was when it is given again: photos that are enrolled are not looked at.

    Args:
        gallery: of the analyzer's recogniser.
        analyzer: with a detector.
        portraits: photos and whom they show; taken as they are needed.
        limits: of the gate; None: the usual ones.
        force: overrule all refusals but the final ones (`gate.FINAL`); the journal keeps which.
        batch_size: how many photos are worked on together.

    Yields:
        What became of each photo, in their order.

    Raises:
        GalleryError: it cannot be written, or a person there has other tags or validity.
        ContractError: the gallery holds another model's embeddings.
    """
    enrolment = _Enrolment(gallery, limits or Limits(), force)
    remaining = iter(portraits)
    while chunk := list(islice(remaining, BATCHES * batch_size)):
        known = [enrolment.known(portrait) for portrait in chunk]
        paths = [each.path for each, outcome in zip(chunk, known, strict=True) if outcome is None]
        stream = analyzer.stream(paths, batch_size=batch_size, quality=True)
        for portrait, outcome in zip(chunk, known, strict=True):
            yield outcome or enrolment.enroll(portrait, next(stream))


@dataclass(frozen=True)
class _Enrolment:
    gallery: Gallery
    limits: Limits
    force: bool

    def known(self, portrait: Portrait) -> Outcome | None:
        """What can be said of a photo without looking at it."""
        try:
            check_name(portrait.name)
            photo = photo_hash(portrait.path)
        except GalleryError as error:
            return _refused(portrait, Refusal("name", str(error)))
        except ImageError as error:
            return _refused(portrait, Refusal("unreadable", error.reason))
        return self._present(portrait, photo)

    def enroll(self, portrait: Portrait, analysis: Analysis) -> Outcome:
        if analysis.error:
            return _refused(portrait, Refusal("unreadable", analysis.error))
        if not len(analysis.faces):
            return _refused(portrait, Refusal("face", analysis.reason or "no face found"))
        index = analysis.faces.largest_index()
        try:
            photo = photo_hash(portrait.path)
            crop = crop_with_margin(open_image(portrait.path), analysis.faces[index])
        except ImageError as error:  # it changed since its faces were found
            return _refused(portrait, Refusal("unreadable", error.reason))
        content = face_content(photo, index)
        operation = self._operation(content, portrait.name)
        if (outcome := self._present(portrait, photo)) is not None:
            return outcome
        embedding = analysis.embeddings[index]
        refusals = [
            *judge(analysis, index, self.limits),
            *self._conflicts(portrait.name, content, embedding),
        ]
        if refusals and not (self.force and all(not refusal.final for refusal in refusals)):
            return _refused(portrait, *refusals)
        sample = Sample.of(
            analysis.embedded[index],
            quality=float(analysis.norms[index]),
            path=os.path.abspath(portrait.path),
            content=content,
            crop=crop,
        )
        forced = [[refusal.check, refusal.figure, refusal.limit] for refusal in refusals]
        entry = self.gallery.enroll(
            portrait.name,
            [sample],
            tags=portrait.tags,
            valid_until=portrait.valid_until,
            operation=operation,
            note={"forced": forced} if forced else None,
        )
        return Outcome(portrait, "enrolled", tuple(refusals), entry.id)

    def _present(self, portrait: Portrait, photo: str) -> Outcome | None:
        """The answer for a photo of which a face is the person's already."""
        own = self._person(portrait.name)
        roots = self.gallery.backend.roots()
        mine = [
            face
            for face in self.gallery.backend.faces_in(photo)
            if roots.get(face.person, face.person) == own
        ]
        if not mine:
            return None
        return _present_as(portrait, mine)

    def _conflicts(self, name: str, content: str, embedding: Array) -> Iterator[Refusal]:
        """What the gallery has against a face's being this person's."""
        backend, own = self.gallery.backend, self._person(name)
        if own is not None and standing(backend, {content}).against(content, own):
            yield Refusal("rejected", f"it was said not to show {name!r:.80}: undo that first")
        for face in backend.faces_in(photo_of(content)):
            if face.content == content:  # for another person, else it would be present
                yield Refusal("conflict", f"this face is enrolled as {self._owner(face.person)}")
                return
        found = backend.search(embedding[None], 2)
        limit = self.gallery.policy.thresholds(found.compared).match
        if limit is None:
            return
        for person, score in zip(found.people[0].tolist(), found.scores[0].tolist(), strict=True):
            if person and person != own and score >= limit:
                said = (
                    f"looks like {self._owner(person)}: similarity {score:.2f}, and from "
                    f"{limit:.2f} on two people are taken for one"
                )
                yield Refusal("conflict", said, score, limit)

    def _person(self, name: str) -> int | None:
        known = self.gallery.backend.person(name)
        return None if known is None else self.gallery.journal.root(name).id

    def _owner(self, person: int) -> str:
        root = self.gallery.backend.roots().get(person, person)
        rows = self.gallery.backend.people([root])
        return f"{rows[0].name!r:.80}" if rows else "somebody who was removed meanwhile"

    def _operation(self, content: str, name: str) -> str:
        """The same for two who enroll at once; another where it was enrolled and taken back."""
        operations = (f"enroll {content} {name} {number}" for number in count())
        return next(each for each in operations if self.gallery.journal.done(each) is None)


def _present_as(portrait: Portrait, faces: list[FaceRow]) -> Outcome:
    if os.path.abspath(portrait.path) in [face.path for face in faces]:
        return Outcome(portrait, "present")
    said = f"the same photo is enrolled already: {faces[0].path or 'without a path'}"
    return _refused(portrait, Refusal("duplicate", said))


def _refused(portrait: Portrait, *refusals: Refusal) -> Outcome:
    return Outcome(portrait, "refused", refusals)
