"""IJB-B and IJB-C, 1:1 and 1:N, from the official lists.

Whitelam et al., "IARPA Janus Benchmark-B Face Dataset", CVPR Workshops 2017; Maze et al., "IARPA
Janus Benchmark - C: Face Dataset and Protocol", ICB 2018. The faces are pooled to templates and
the figures are made as in InsightFace, `recognition/_evaluation_/ijb`: `ijb_11.py` for 1:1,
`ijb_evals.py` for 1:N.

Whoever embeds cuts out each image of `IjbSet.images`, in `loose_crop` of the set's folder, by its
landmarks: `mindface.geometry.align`. The reference does not shrink large faces before it warps
them, and it embeds faces whose landmarks `align` refuses; pool these as rows of zeros.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.errors import IntegrityError
from mindface.files import open_regular
from mindface.recognition.identification import Identification, identify
from mindface.recognition.metrics import Doubles, Flags, Floats, Ints, ScoreTable

GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}
RATES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
BATCH = 1000  # pairs scored at once
KEPT_RATE = 0.2  # impostor scores are kept one by one down to this FMR


@dataclass(frozen=True, eq=False)
class IjbSet:
    """The lists of IJB-B or IJB-C: N images, P pairs of templates.

    Attributes:
        images: `(N,)` names of files in `loose_crop`.
        landmarks: `(N, 5, 2)` float32 in pixels of each image.
        detector_scores: `(N,)` float32.
        templates: `(N,)` the id of the template that each image belongs to.
        media: `(N,)` the id of the medium, a still or a video, that it was taken from.
        pairs: `(P, 2)` ids of the templates that 1:1 compares.
        labels: `(P,)` whether a pair shows one subject.
        gallery1: `(G, 2)` ids of enrolled templates and of their subjects, rising.
        gallery2: likewise, of other subjects.
        probes: likewise, of the templates that 1:N searches in either gallery.
    """

    images: tuple[str, ...]
    landmarks: Floats
    detector_scores: Floats
    templates: Ints
    media: Ints
    pairs: Ints
    labels: Flags
    gallery1: Ints
    gallery2: Ints
    probes: Ints


@dataclass(frozen=True, eq=False)
class Templates:
    """Embeddings of templates.

    Attributes:
        ids: `(T,)`, rising.
        embeddings: `(T, D)` float64 of unit length; zeros where no image of a template counts.
    """

    ids: Ints
    embeddings: Doubles

    def of(self, ids: Ints) -> Doubles:
        """Embeddings `(K, D)` of templates by their ids `(K,)`, all of which must be known."""
        return self.embeddings[np.searchsorted(self.ids, ids)]


@dataclass(frozen=True, eq=False)
class IjbVerification:
    """The 1:1 figures.

    Attributes:
        reference: FAR -> TAR as InsightFace reads it; see `reference_tar`.
        table: the scores, for TAR by the rule of `mindface.recognition.metrics`, with intervals.
    """

    reference: dict[float, float]
    table: ScoreTable


@dataclass(frozen=True, eq=False)
class IjbIdentification:
    """The 1:N figures: every probe searched in each gallery by itself.

    Attributes:
        galleries: the outcome in gallery 1 and in gallery 2.
    """

    galleries: tuple[Identification, Identification]

    def found(self, rank: int) -> float:
        """The share of mated searches in both galleries that find the subject by this rank.

        InsightFace's mean, save that a tie counts against the probe here.
        """
        mated = [len(each.ranks) for each in self.galleries]
        found = [each.found(rank) for each in self.galleries]
        return float(np.average(found, weights=mated)) if any(mated) else 0.0

    def tpir(self, rate: float) -> float | None:
        """The mean over the galleries of the TPIR at an FPIR; None where one cannot support it.

        Of n non-mated probes our threshold lets floor(rate n) raise an alarm. InsightFace takes
        the score of the last of these for the threshold and wants more than that, so that one
        fewer does: its TPIR is never above ours, and equal where floor(rate n) is 0.
        """
        if not all(each.supports(rate) for each in self.galleries):
            return None
        return float(np.mean([1 - each.fnir(each.threshold(rate)) for each in self.galleries]))


def read_ijb(folder: str | os.PathLike[str], name: str) -> IjbSet:
    """Reads the lists of a set, as InsightFace distributes them, from `meta` in its folder.

    Args:
        folder: holds `meta` and `loose_crop`.
        name: "ijbb" or "ijbc", which the names of the lists begin with.

    Raises:
        ValueError: another name.
        IntegrityError: a list cannot be read, or says something impossible: its path and line.
    """
    if name not in GALLERIES:
        raise ValueError(f"{name!r} is no set of IJB: use one of {', '.join(GALLERIES)}")
    meta = Path(folder) / "meta"
    faces, points = meta / f"{name}_face_tid_mid.txt", meta / f"{name}_name_5pts_score.txt"
    images = tuple(os.fsdecode(cells[0]) for _, cells in _rows(faces, 3))
    members = _numbers(faces, ((line, cells[1:]) for line, cells in _rows(faces, 3)), 2, int)
    values = _numbers(points, _points(points, images), 11, _finite)
    known = np.unique(members[:, 0])
    pairs, labels = _pairs(meta / f"{name}_template_pair_label.txt", known)
    lists = (*(f"gallery_{gallery}" for gallery in GALLERIES[name]), "probe_mixed")
    subjects = [_subjects(meta / f"{name}_1N_{each}.csv", known) for each in lists]
    return IjbSet(
        images,
        values[:, :10].reshape(-1, 5, 2).astype(np.float32),
        values[:, 10].astype(np.float32),
        members[:, 0],
        members[:, 1],
        pairs,
        labels,
        *subjects,
    )


def pool(
    ijb: IjbSet,
    features: Iterable[tuple[Floats, Floats]],
    *,
    flip: bool = True,
    detector_score: bool = True,
    feature_norm: bool = True,
) -> Templates:
    """Pools the features of images to templates, one batch at a time.

    The images of a medium are averaged, the media of a template summed, and the sum is scaled to
    unit length. How often a medium occurs in a template is known beforehand, so only the sums of
    the templates are held. The defaults are N1 D1 F1 of `ijb_11.py`, where N1 keeps the lengths.

    Args:
        ijb: the set.
        features: batches, in the order of `ijb.images`, of the network's raw outputs `(B, D)` for
            the images and for their mirror images. Zeros for a face that cannot be embedded: it
            counts like one whose detector score is 0.
        flip: add the feature of the mirror image.
        detector_score: weight each feature by the score of the detector.
        feature_norm: keep the length of each feature; otherwise it is scaled to 1 before it is
            weighted.

    Raises:
        ValueError: there are more or fewer features than images.
    """
    ids, template = np.unique(ijb.templates, return_inverse=True)
    weights = _share_of_medium(template, ijb.media)
    if detector_score:
        weights *= ijb.detector_scores
    sums = np.zeros((len(ids), 0))
    stop = 0
    for upright, mirrored in features:
        start, stop = stop, stop + len(upright)
        if stop > len(weights):
            break
        batch = np.asarray(upright + mirrored if flip else upright, np.float64)
        if not feature_norm:
            batch = _unit(batch)
        if not start:
            sums = np.zeros((len(ids), batch.shape[1]))
        np.add.at(sums, template[start:stop], batch * weights[start:stop, None])
    if stop != len(weights):
        raise ValueError(f"{stop} features for {len(weights)} images: give one for each, in order")
    return Templates(ids, _unit(sums))


def verify(ijb: IjbSet, templates: Templates, rates: Sequence[float] = RATES) -> IjbVerification:
    """Scores the pairs of the 1:1 protocol.

    The list of pairs says nothing of subjects, but the lists of 1:N do, and going by the counts
    they name every template (3,531 + 19,593 = 23,124 in IJB-C). So the table draws subjects for
    its intervals; a template that they do not name counts as a subject of its own.

    Args:
        ijb: the set.
        templates: from `pool`.
        rates: FARs for the reference's TAR.

    Raises:
        ValueError: there are no genuine or no impostor pairs.
    """
    scores = np.empty(len(ijb.pairs))
    for start in range(0, len(scores), BATCH):
        rows = slice(start, start + BATCH)
        first, second = (templates.of(ids) for ids in ijb.pairs[rows].T)
        scores[rows] = np.einsum("nd,nd->n", first, second)
    tars = reference_tar(scores, ijb.labels, rates)
    table = ScoreTable.of_pairs(scores.astype(np.float32), ijb.labels, _people(ijb))
    kept = max(int(KEPT_RATE * table.impostor_count), 200_000)
    highest, strangers = table.impostor[:kept].copy(), table.impostor_people[:kept].copy()
    table = replace(table, impostor=highest, impostor_people=strangers)
    return IjbVerification(dict(zip(rates, tars.tolist(), strict=True)), table)


def search(ijb: IjbSet, templates: Templates) -> IjbIdentification:
    """Searches every probe of the 1:N protocol in gallery 1 and in gallery 2.

    A probe is mated in the gallery that holds its subject and non-mated in the other.

    Args:
        ijb: the set.
        templates: from `pool`.
    """

    def one(gallery: Ints) -> Identification:
        (enrolled, people), (probes, searched) = gallery.T, ijb.probes.T
        return identify(templates.of(enrolled), people, templates.of(probes), searched)

    return IjbIdentification((one(ijb.gallery1), one(ijb.gallery2)))


def reference_tar(scores: Doubles, labels: Flags, rates: Sequence[float] = RATES) -> Doubles:
    """TAR at FAR `(R,)` as InsightFace reads it from scikit-learn's `roc_curve`.

    The curve has a point at each score; points that lie between two others at equal steps are
    dropped, as `drop_intermediate` does. The TAR is that of the point whose FAR is nearest, above
    or below; of equally near ones the higher FAR, then the highest TAR.

    Args:
        scores: `(N,)`.
        labels: `(N,)` whether a pair is genuine.
        rates: FARs.

    Raises:
        ValueError: there are no genuine or no impostor pairs.
    """
    if labels.all() or not labels.any():
        raise ValueError(f"{len(labels)} pairs of one kind: TAR at FAR needs genuine and impostor")
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    genuine = np.cumsum(labels[order])[last]
    impostor = last + 1 - genuine
    if len(last) > 2:
        bent = (np.diff(impostor, 2) != 0) | (np.diff(genuine, 2) != 0)
        corners = np.concatenate([[True], bent, [True]])
        genuine, impostor = genuine[corners], impostor[corners]
    tar = np.append(genuine[::-1] / genuine[-1], 0.0)
    far = np.append(impostor[::-1] / impostor[-1], 0.0)
    return np.array([tar[np.argmin(np.abs(far - rate))] for rate in rates])


def _people(ijb: IjbSet) -> Ints:
    """The subjects `(P, 2)` of the pairs' templates, numbered from 0 on."""
    listed = np.concatenate([ijb.gallery1, ijb.gallery2, ijb.probes])
    ids = np.unique(ijb.templates)
    subjects = listed[:, 1].max(initial=0) + 1 + np.arange(len(ids))
    subjects[np.searchsorted(ids, listed[:, 0])] = listed[:, 1]
    _, numbers = np.unique(subjects, return_inverse=True)
    return np.asarray(numbers[np.searchsorted(ids, ijb.pairs)])


def _share_of_medium(template: Ints, media: Ints) -> Doubles:
    """One over the number of images that a template has of an image's medium, `(N,)`."""
    ids, medium = np.unique(media, return_inverse=True)
    pairs = template * len(ids) + medium
    _, group, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[group])


def _unit(rows: Doubles) -> Doubles:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1))


def _points(path: Path, images: tuple[str, ...]) -> Iterator[tuple[int, list[bytes]]]:
    """Landmarks and scores, where the images are those of the list of templates."""
    line = 0
    for line, (image, *cells) in _rows(path, 12):
        name = os.fsdecode(image)
        if (name,) != images[line - 1 : line]:
            raise _fault(path, line, f"the list of templates has another image than {name!r} here")
        yield line, cells
    if line < len(images):
        raise _fault(path, line + 1, f"the list ends before {images[line]}")


def _pairs(path: Path, known: Ints) -> tuple[Ints, Flags]:
    table = _numbers(path, _rows(path, 3), 3, int)
    labels = table[:, 2]
    _refuse(path, 1, labels, ~np.isin(labels, (0, 1)), "is no label: use 0 or 1")
    for templates in (table[:, 0], table[:, 1]):
        _refuse(path, 1, templates, ~np.isin(templates, known), "is a template without images")
    return table[:, :2].copy(), labels == 1


def _subjects(path: Path, known: Ints) -> Ints:
    """Templates and their subjects `(K, 2)`, each template once: the lists have a row an image."""
    table = _numbers(path, _csv_rows(path), 2, int)
    templates, subjects = table.T
    _refuse(path, 2, templates, ~np.isin(templates, known), "is a template without images")
    _, first, places = np.unique(templates, return_index=True, return_inverse=True)
    others = subjects != subjects[first[places]]
    _refuse(path, 2, templates, others, "is a template of two subjects")
    return table[first]


def _numbers(
    path: Path, rows: Iterator[tuple[int, list[bytes]]], width: int, parse: Callable[[bytes], float]
) -> NDArray[Any]:
    """The cells of numbered rows as an array `(rows, width)`, compact while it grows."""
    flat = array("q" if parse is int else "d")
    for line, cells in rows:
        try:
            flat.extend(map(parse, cells))
        except (ValueError, OverflowError) as error:
            raise _fault(path, line, f"not the numbers of such a list: {error}") from error
    if not flat:
        raise IntegrityError(f"{path}: the list is empty")
    return np.frombuffer(flat, flat.typecode).reshape(-1, width)


def _finite(cell: bytes) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value


def _rows(path: Path, width: int) -> Iterator[tuple[int, list[bytes]]]:
    """Line numbers and cells of a list that spaces separate."""
    for line, text in _lines(path):
        cells = text.split()
        if len(cells) != width:
            raise _fault(path, line, f"{len(cells)} fields, where such a list has {width}")
        yield line, cells


def _csv_rows(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Line numbers, templates and subjects of the lines after the header."""
    for line, text in _lines(path):
        cells = text.split(b",", 2)[:2]
        if len(cells) != 2:
            raise _fault(path, line, "no commas, where template and subject are expected")
        if line > 1:
            yield line, cells
        elif cells[0].strip().isdigit():
            raise _fault(path, line, "numbers, where a header is expected")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with open_regular(path) as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror or error}") from error


def _fault(path: Path, line: int, what: str) -> IntegrityError:
    return IntegrityError(f"{path}, line {line}: {what}")


def _refuse(path: Path, first_line: int, values: Ints, wrong: Flags, why: str) -> None:
    """Refuses a list at the first row that is wrong."""
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _fault(path, first_line + row, f"{values[row]} {why}")
