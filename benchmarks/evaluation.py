"""Evaluation: all pairs of many faces to a ROC curve with intervals, and ten folds of 6,000 pairs.

    pip install scikit-learn
    python benchmarks/evaluation.py

Embeddings are synthetic: people on the sphere and photos around them. Each part runs in a process
of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mindface import FaceAnalyzer
from mindface.features import extract
from mindface.formats.insightface_rec import IdentityRecords
from mindface.recognition.metrics import ScoreTable
from mindface.recognition.protocols import bin_set
from mindface.recognition.ten_fold import equal_folds, ten_fold
from mindface.recognition.verification import pair_scores

PEOPLE, PHOTOS, SIZE = 500, 20, 512
PAIRS = 6000


def faces() -> tuple[np.ndarray, np.ndarray]:
    """Embeddings `(10000, 512)` of 500 people, and who is who."""
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(PEOPLE), PHOTOS)
    centres = rng.normal(size=(PEOPLE, SIZE)).astype(np.float32)
    vectors = centres[people] + 1.3 * rng.normal(size=(len(people), SIZE)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), people


def ours() -> object:
    """Scores, ROC curve, AUC, EER, and TAR at five rates with 1,000 replicates."""
    table = ScoreTable.of_all_pairs(*faces())
    return table.curve(), table.auc(), table.eer(), table.rates()


def scikit_learn() -> object:
    """Scores and `roc_curve`; no intervals."""
    from sklearn.metrics import roc_curve

    embeddings, people = faces()
    rows, columns = np.triu_indices(len(people), 1)
    return roc_curve(people[rows] == people[columns], (embeddings @ embeddings.T)[rows, columns])


def pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of 12,000 photos, two a pair; whether they show one person; folds."""
    rng = np.random.default_rng(0)
    same = np.tile([True, False], PAIRS // 2)
    first = rng.normal(size=(PAIRS, SIZE))
    second = np.where(same[:, None], first, 0) + 1.3 * rng.normal(size=(PAIRS, SIZE))
    both = np.stack([first, second], 1)
    return both / np.linalg.norm(both, axis=2, keepdims=True), same, equal_folds(PAIRS)


def reference_loop() -> list[float]:
    """Ten folds as InsightFace's code goes: every threshold, every fold, over all pairs."""
    both, same, folds = pairs()
    distances = ((both[:, 0] - both[:, 1]) ** 2).sum(1)
    thresholds = np.arange(0, 4, 0.01)
    accuracies = []
    for fold in range(10):
        train, test = folds != fold, folds == fold
        right = [((distances[train] < t) == same[train]).mean() for t in thresholds]
        best = thresholds[int(np.argmax(right))]
        # The reference also scores every threshold on the test fold, for its ROC curve.
        for threshold in thresholds:
            ((distances[test] < threshold) == same[test]).mean()
        accuracies.append(float(((distances[test] < best) == same[test]).mean()))
    return accuracies


def vectorised() -> list[float]:
    """The same by `ten_fold`."""
    both, same, folds = pairs()
    scores = np.einsum("nd,nd->n", both[:, 0], both[:, 1])
    return ten_fold(2 - 2 * scores, same, folds).accuracies.tolist()


def cached_bin() -> float:
    """Seconds from a `.bin` of 6,000 pairs to its ten folds, once its features are in the cache.

    Its pictures are aligned faces of `../shared`; the model is that of `make demo`.
    """
    records = IdentityRecords("../shared/data/faces112/pins90.rec")
    rng = np.random.default_rng(0)
    first = rng.integers(len(records.keys), size=PAIRS)
    same = np.arange(PAIRS) % 2 == 0
    second = [
        rng.choice(np.flatnonzero((records.labels == records.labels[i]) == s))
        for i, s in zip(first, same, strict=True)
    ]
    rows = np.column_stack([first, second]).reshape(-1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINDFACE_CACHE"] = folder
        path = Path(folder, "pairs.bin")
        pictures = [records.file.read(int(records.keys[row])).content for row in rows]
        path.write_bytes(pickle.dumps((pictures, same.tolist())))
        analyzer = FaceAnalyzer(None, "build/recognizer.onnx", precision="fp32")
        extract(analyzer, pictures, aligned=True)
        start = time.perf_counter()
        protocol = bin_set(path)
        found = extract(analyzer, protocol.photos, aligned=True)
        scores = pair_scores(protocol, found.embeddings)
        ten_fold(2 - 2 * scores.astype(float), protocol.same, protocol.folds)
        return time.perf_counter() - start


PARTS: dict[str, Callable[[], object]] = {
    "ours": ours,
    "scikit_learn": scikit_learn,
    "vectorised": vectorised,
    "reference_loop": reference_loop,
    "cached_bin": cached_bin,
    "making the faces": faces,
    "making the pairs": pairs,
}


def main() -> None:
    """Runs one part and prints its figures, or runs all and prints them side by side."""
    if len(sys.argv) > 1:
        start = time.perf_counter()
        result = PARTS[sys.argv[1]]()
        seconds = result if isinstance(result, float) else time.perf_counter() - start
        status = Path("/proc/self/status").read_text()
        peak = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
        print(json.dumps([seconds, peak / 2**20]))
        return
    print(f"{'':18} {'seconds':>16} {'GB at most':>11}")
    for part in PARTS:
        runs = []
        for _ in range(3):
            command = [sys.executable, __file__, part]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            runs.append(json.loads(done.stdout))
        seconds = sorted(run[0] for run in runs)
        print(
            f"{part:18} {seconds[1]:7.2f} ({seconds[0]:.2f} to {seconds[2]:.2f}) {runs[0][1]:8.2f}"
        )


if __name__ == "__main__":
    main()
