"""Verification figures written out naively, loop by loop, and the golden numbers they give.

    python tests/recognition/naive_verification.py    # writes golden_verification.json beside it

The ten folds follow InsightFace's evaluation (squared distances, thresholds 0, 0.01 .. 3.99,
strictly below is "same", the first of the best thresholds); the rates follow the definitions of
`metrics`.
"""

import json
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).with_name("golden_verification.json")


def samples() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores and labels: random ones, and ones with many ties."""
    rng = np.random.default_rng(7)
    same = np.tile(np.repeat([True, False], 30), 10)
    scores = np.where(same, rng.normal(0.5, 0.2, 600), rng.normal(0.05, 0.15, 600))
    scores = scores.clip(-1, 1).astype(np.float32)
    return {"random": (scores, same), "tied": (np.round(scores, 1), same)}


def ten_fold(scores: np.ndarray, same: np.ndarray) -> list[float]:
    """The accuracy of each of ten consecutive folds."""
    distances = 2 - 2 * scores.astype(np.float64)
    accuracies = []
    size = len(scores) // 10
    for fold in range(10):
        test = range(fold * size, (fold + 1) * size)
        train = [i for i in range(len(scores)) if i not in test]
        best, best_right = 0.0, -1
        for threshold in np.arange(0, 4, 0.01):
            right = sum((distances[i] < threshold) == same[i] for i in train)
            if right > best_right:
                best, best_right = threshold, right
        accuracies.append(sum((distances[i] < best) == same[i] for i in test) / size)
    return accuracies


def tar_at_far(scores: np.ndarray, same: np.ndarray, far: float) -> float:
    """The largest TAR of all thresholds whose FMR is at most `far`."""
    best = 0.0
    for threshold in sorted({*scores.tolist(), 2.0}):
        if sum(scores[~same] >= threshold) / sum(~same) <= far:
            best = max(best, sum(scores[same] >= threshold) / sum(same))
    return float(best)


def auc(scores: np.ndarray, same: np.ndarray) -> float:
    """The share of genuine-impostor pairs in the right order, ties counting half."""
    right = 0.0
    for mine in scores[same]:
        for other in scores[~same]:
            right += 1.0 if mine > other else 0.5 if mine == other else 0.0
    return right / (sum(same) * sum(~same))


def eer(scores: np.ndarray, same: np.ndarray) -> float:
    """The mean of FMR and FNMR at the highest threshold where they are nearest."""
    nearest, rate = float("inf"), 0.0
    for threshold in sorted({*scores.tolist(), 2.0}, reverse=True):
        matches, misses = sum(scores[~same] >= threshold), sum(scores[same] < threshold)
        gap = abs(int(matches) * int(sum(same)) - int(misses) * int(sum(~same)))
        if gap < nearest:
            nearest, rate = gap, (matches / sum(~same) + misses / sum(same)) / 2
    return float(rate)


def figures(scores: np.ndarray, same: np.ndarray) -> dict[str, object]:
    """All of them."""
    return {
        "ten_fold": ten_fold(scores, same),
        "tar": {str(far): tar_at_far(scores, same, far) for far in (0.01, 0.05, 0.1)},
        "auc": auc(scores, same),
        "eer": eer(scores, same),
    }


if __name__ == "__main__":
    golden = {name: figures(*sample) for name, sample in samples().items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
