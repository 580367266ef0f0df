"""Scores held against a cohort of strangers, so that one threshold suits everybody.

Some faces score high with everybody. Each side of a pair is therefore compared with a cohort of
people who are in no pair, and its score is measured in standard deviations above the mean. Such
scores are no cosines: they have no upper end, and thresholds of cosines do not hold for them.

Z-norm and T-norm: Auckenthaler, Carey, Lloyd-Thomas, "Score normalization for text-independent
speaker verification systems", Digital Signal Processing 2000. S-norm and its adaptive form:
Matejka et al., "Analysis of score normalization in multilingual speaker recognition", Interspeech
2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mindface.recognition.metrics import BLOCK, Floats

LEAST_SPREAD = 1e-6


@dataclass(frozen=True, eq=False)
class CohortScores:
    """How faces score with a cohort.

    Attributes:
        mean: `(N,)` float32, of each face's scores.
        std: `(N,)` float32, their standard deviation (of the population).
    """

    mean: Floats
    std: Floats


def cohort_scores(embeddings: Floats, cohort: Floats, nearest: int | None = None) -> CohortScores:
    """Compares faces with a cohort, block by block.

    Args:
        embeddings: `(N, D)` float32 of unit length; every row shows a face.
        cohort: `(C, D)` float32 of unit length, of people in none of the pairs.
        nearest: only so many of the highest scores of each face count: adaptive normalisation.
            None for the whole cohort.

    Raises:
        ValueError: fewer than two scores to a face, more than the cohort has, or a face whose
            scores with the cohort are all alike.
    """
    count = len(cohort) if nearest is None else nearest
    if not 2 <= count <= len(cohort):
        raise ValueError(f"between 2 and {len(cohort)} of the cohort can count, not {count}")
    mean, std = np.empty(len(embeddings), np.float32), np.empty(len(embeddings), np.float32)
    for start in range(0, len(embeddings), BLOCK):
        rows = slice(start, start + BLOCK)
        scores = embeddings[rows] @ cohort.T
        if count < len(cohort):
            scores = np.partition(scores, -count, axis=1)[:, -count:]
        mean[rows], std[rows] = scores.mean(axis=1), scores.std(axis=1)
    alike = np.flatnonzero(~(std >= LEAST_SPREAD))
    if len(alike):
        raise ValueError(
            f"row {alike[0]} scores alike with all of the cohort: leave out photos without a face, "
            "and give a cohort of different people"
        )
    return CohortScores(mean, std)


def z_norm(scores: Floats, enrolled: CohortScores) -> Floats:
    """Scores as seen from the enrolled faces.

    Args:
        scores: `(E, P)` of each enrolled face with each probe, or `(N,)` of pairs.
        enrolled: of the `E` enrolled faces, or of the first face of each pair.
    """
    shape = (-1, 1) if scores.ndim == 2 else (-1,)
    return (scores - enrolled.mean.reshape(shape)) / enrolled.std.reshape(shape)


def t_norm(scores: Floats, probes: CohortScores) -> Floats:
    """Scores as seen from the probes.

    Args:
        scores: `(E, P)` of each enrolled face with each probe, or `(N,)` of pairs.
        probes: of the `P` probes, or of the second face of each pair.
    """
    return (scores - probes.mean) / probes.std


def s_norm(scores: Floats, enrolled: CohortScores, probes: CohortScores) -> Floats:
    """The mean of Z-norm and T-norm, the same whichever side is called enrolled.

    With `cohort_scores(..., nearest=...)` it is the adaptive S-norm (AS-norm1).

    Args:
        scores: `(E, P)` of each enrolled face with each probe, or `(N,)` of pairs.
        enrolled: of the `E` enrolled faces, or of the first face of each pair.
        probes: of the `P` probes, or of the second face of each pair.
    """
    return (z_norm(scores, enrolled) + t_norm(scores, probes)) * np.float32(0.5)
