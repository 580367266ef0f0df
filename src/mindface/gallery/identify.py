"""From the search's candidates to an answer for each face."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mindface.errors import GalleryError
from mindface.gallery.backend import Backend
from mindface.gallery.decisions import Match, Policy, Thresholds
from mindface.gallery.rows import PersonRow
from mindface.gallery.verdicts import Verdicts, standing
from mindface.results import Array

TRIES = 100


class Filter(NamedTuple):
    """Which people are compared: those who have all tags and are valid at that moment."""

    tags: Collection[str]
    at: float

    def takes(self, person: PersonRow) -> bool:
        """Whether this person is compared."""
        since = -np.inf if person.valid_from is None else person.valid_from
        until = np.inf if person.valid_until is None else person.valid_until
        return {*self.tags} <= {*person.tags} and bool(since <= self.at < until)


class Candidate(NamedTuple):
    """A person and the similarity to its template."""

    person: int
    similarity: float


def identify(
    backend: Backend, policy: Policy, queries: Array, contents: Sequence[str], chosen: Filter
) -> list[Match]:
    """See `Gallery.identify`."""
    for _ in range(TRIES):
        verdicts = standing(backend, {*contents})
        lists, compared = _candidates(backend, queries, contents, chosen, verdicts)
        wanted = {each.person for some in lists for each in some}
        rows = backend.people(wanted | {*verdicts.confirmed.values()})
        people = {row.id: row for row in rows if row.merged_into is None}
        if wanted <= {*people}:  # else somebody was removed or merged since the search
            break
    else:
        raise GalleryError(f"{backend.where}: people are removed faster than it can be searched")
    thresholds = policy.thresholds(compared)
    templates = backend.templates({*verdicts.confirmed.values()} & {*people})
    answers = []
    for query, content, some in zip(queries, contents, lists, strict=True):
        certain = people.get(verdicts.confirmed.get(content, 0))
        if certain is not None and chosen.takes(certain):
            similarity = None
            if certain.id in templates:
                similarity = float(np.clip(templates[certain.id] @ query, -1, 1))
            answers.append(_certain(certain, similarity, some, people, thresholds))
        else:
            answers.append(_decided(policy, some, people, thresholds))
    return answers


def _candidates(
    backend: Backend,
    queries: Array,
    contents: Sequence[str],
    chosen: Filter,
    verdicts: Verdicts,
) -> tuple[list[list[Candidate]], int]:
    """The two people nearest to each query whom it was not rejected for."""
    most = max((len(each) for each in verdicts.rejected.values()), default=0)
    found = backend.search(queries, 2 + most, chosen.tags, chosen.at)
    pairs = zip(found.people.tolist(), found.scores.tolist(), strict=True)
    lists = []
    for content, (people, scores) in zip(contents, pairs, strict=True):
        allowed = [
            Candidate(person, score)
            for person, score in zip(people, scores, strict=True)
            if person and not verdicts.against(content, person)
        ]
        lists.append(allowed[:2])
    return lists, found.compared


def _decided(
    policy: Policy,
    candidates: Sequence[Candidate],
    people: dict[int, PersonRow],
    thresholds: Thresholds,
) -> Match:
    if not candidates:
        return Match("unknown", None, None, thresholds.match, None, None, thresholds.extrapolated)
    first, *others = candidates
    second = others[0] if others else None
    decision = policy.decide(first.similarity, second and second.similarity, thresholds)
    known = decision != "unknown"
    return Match(
        decision=decision,
        person=people[first.person].name if known else None,
        similarity=first.similarity,
        threshold=thresholds.match,
        margin=first.similarity - second.similarity if second else None,
        runner_up=people[second.person].name if second and known else None,
        extrapolated=thresholds.extrapolated,
    )


def _certain(
    person: PersonRow,
    similarity: float | None,
    candidates: Sequence[Candidate],
    people: dict[int, PersonRow],
    thresholds: Thresholds,
) -> Match:
    second = next((each for each in candidates if each.person != person.id), None)
    both = similarity is not None and second is not None
    return Match(
        decision="match",
        person=person.name,
        similarity=similarity,
        threshold=thresholds.match,
        margin=similarity - second.similarity if both else None,  # type: ignore[operator, union-attr]
        runner_up=people[second.person].name if second else None,
        extrapolated=thresholds.extrapolated,
        confirmed=True,
    )
