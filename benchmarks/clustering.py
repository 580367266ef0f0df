"""Clustering: methods on real faces, and 100,000 faces at once.

    make build/detector.onnx
    pip install scikit-learn
    python benchmarks/clustering.py methods [DIVISIONS]
    python benchmarks/clustering.py coherence [DIVISIONS]
    python benchmarks/clustering.py scale [FACES]

`methods` embeds the photos of `../shared/data/celeba200` with EdgeFace-XS and, of the people that
it was not trained on, with the bundled recogniser; and both again among the faces of
`celeba_small`, about two a person. Every method has its parameters chosen on one half of the
people, for B-cubed F, and is measured on the other half; then the halves change places. Figures are
means over three such divisions (among `celeba_small` over one); ± is the standard deviation of F.
"default" is `cluster` with the threshold that `strictness` takes from a calibration on the first
half, without looking at any cluster. `coherence` does the same for the constant of `cluster`, with
thresholds chosen for an F in which precision weighs twice as much as recall ("pure").

Seconds are of processor time, over all threads, for what a user would call once: similarities
included. `scale` prints time and peak memory after each step.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from mindface import FaceAnalyzer
from mindface.clustering import cluster, strictness
from mindface.clustering import linkage as linkage_module
from mindface.clustering.cluster import NEIGHBOURS
from mindface.clustering.components import connected
from mindface.clustering.linkage import FLOOR
from mindface.clustering.neighbours import Pairs, neighbours
from mindface.errors import CalibrationError
from mindface.features import extract
from mindface.formats.insightface_rec import IdentityRecords
from mindface.recognition.calibration import calibrate
from mindface.recognition.clustering_metrics import ClusteringScores, score_clusters
from mindface.recognition.metrics import ScoreTable

Array = NDArray[np.float32]
Ints = NDArray[np.int64]

SHARED = Path("../shared/data")
HELD_OUT = Path("recipes/arcface_mobilefacenet/people")
RECOGNIZERS = {
    "EdgeFace-XS": SHARED / "teachers/edgeface_xs.onnx",
    "arcface_mobilefacenet, held-out people": "arcface_mobilefacenet",
}
THRESHOLDS = np.round(np.arange(0.2, 0.62, 0.03), 2).tolist()
FINE = np.round(np.arange(0.2, 0.6, 0.02), 2).tolist()
DIVISIONS = 3
GIANT = 100  # a component of more faces is cut again


class Faces(NamedTuple):
    """Embeddings `(N, D)` and who is who `(N,)`."""

    embeddings: Array
    people: Ints


def average(embeddings: Array, threshold: float) -> Ints:
    """Average linkage over all pairs."""
    similarity = (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
    distances = np.maximum(1 - similarity, 0)
    return fcluster(linkage(distances, "average"), 1 - threshold, "distance")


def components(embeddings: Array, threshold: float) -> Ints:
    """Connected components; giants are cut again at higher thresholds."""
    pairs = neighbours(embeddings, NEIGHBOURS, threshold)
    names = np.arange(len(embeddings))
    giant = np.ones(len(embeddings), bool)
    while giant.any() and threshold < 1:
        linked = (pairs.similarity >= threshold) & giant[pairs.first] & giant[pairs.second]
        found = connected(len(names), pairs.first[linked], pairs.second[linked])
        names[giant] = found[giant]
        giant = np.bincount(names, minlength=len(names))[names] > GIANT
        threshold += 0.02
    return names


def whispers(embeddings: Array, threshold: float) -> Ints:
    """Chinese whispers (Biemann, TextGraphs 2006), faces visited in one shuffled order."""
    pairs = neighbours(embeddings, NEIGHBOURS, threshold)
    near, weights = _lists(pairs, len(embeddings))
    names = np.arange(len(embeddings))
    order = np.random.default_rng(0).permutation(len(names)).tolist()
    for _ in range(20):
        before = names.copy()
        for face in order:
            if len(near[face]):
                labels, number = np.unique(names[near[face]], return_inverse=True)
                names[face] = labels[np.bincount(number, weights[face]).argmax()]
        if np.array_equal(before, names):
            break
    return names


def rank_order(embeddings: Array, threshold: float) -> Ints:
    """Approximate rank order (Otto, Wang, Jain, "Clustering millions of faces", PAMI 2018)."""
    count = len(embeddings)
    similarity = embeddings @ embeddings.T
    np.fill_diagonal(similarity, -2)
    near = np.argpartition(-similarity, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    order = np.argsort(-np.take_along_axis(similarity, near, 1), axis=1, kind="stable")
    near = np.take_along_axis(near, order, 1)
    among = np.zeros((count, count), bool)  # whether a face is another's neighbour, or itself
    among[np.arange(count)[:, None], near] = True
    np.fill_diagonal(among, True)
    missing = np.array([~among[near[i]][:, near[i]] for i in range(count)]).cumsum(2)
    face, rank = np.divmod(np.arange(count * NEIGHBOURS), NEIGHBOURS)
    other = near[face, rank]
    back = (near[other] == face[:, None]).argmax(1)  # their rank for me, where I have one
    back = np.where(among[other, face], back, NEIGHBOURS - 1)
    theirs = (~among[face[:, None], near[other]]).cumsum(1)[np.arange(len(face)), back]
    mine = missing[face, rank, rank] + ~among[other, face]
    linked = (mine + theirs) / (np.minimum(rank, back) + 1) <= threshold
    return connected(count, face[linked], other[linked])


def _lists(pairs: Pairs, count: int) -> tuple[list[Ints], list[Array]]:
    """Each face's neighbours, the nearest first, and their similarities."""
    faces = np.column_stack([pairs.first, pairs.second]).reshape(-1)
    others = np.column_stack([pairs.second, pairs.first]).reshape(-1)
    order = np.argsort(faces, kind="stable")
    cuts = np.searchsorted(faces[order], np.arange(1, count))
    values = np.repeat(pairs.similarity, 2)
    return np.split(others[order], cuts), np.split(values[order], cuts)


def dbscan(embeddings: Array, parameters: tuple[float, int]) -> Ints:
    """scikit-learn's."""
    from sklearn.cluster import DBSCAN

    threshold, least = parameters
    distances = np.maximum(1 - embeddings @ embeddings.T, 0)
    return DBSCAN(eps=1 - threshold, min_samples=least, metric="precomputed").fit(distances).labels_


def hdbscan(embeddings: Array, parameters: tuple[int, int]) -> Ints:
    """scikit-learn's."""
    from sklearn.cluster import HDBSCAN

    size, least = parameters
    distances = np.maximum(1 - embeddings @ embeddings.T, 0).astype(np.float64)
    model = HDBSCAN(min_cluster_size=size, min_samples=least, metric="precomputed", copy=False)
    return model.fit(distances).labels_


METHODS: dict[str, tuple[Callable[[Array, Any], Ints], Sequence[Any]]] = {
    "cluster": (lambda embeddings, t: cluster(embeddings, threshold=t).labels, THRESHOLDS),
    "average linkage (SciPy)": (average, THRESHOLDS),
    "Chinese whispers": (whispers, THRESHOLDS),
    "components, giants cut": (components, THRESHOLDS),
    "rank order": (rank_order, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8]),
    "DBSCAN (scikit-learn)": (dbscan, [(t, least) for t in THRESHOLDS for least in (1, 3)]),
    "HDBSCAN (scikit-learn)": (hdbscan, [(2, 1), (2, 2), (3, 1), (3, 3), (5, 2), (5, 5)]),
}


def sets(count: int) -> Iterator[tuple[str, list[tuple[Faces, Faces]]]]:
    """Each set of faces, with so many divisions into halves (among others: one)."""
    for name, recognizer in RECOGNIZERS.items():
        analyzer = FaceAnalyzer("build/detector.onnx", recognizer, precision="fp32")
        held_out = recognizer == "arcface_mobilefacenet"
        photos, small = celeba200(analyzer, held_out), celeba_small(analyzer, held_out)
        yield f"{name}: celeba200", [halves(photos, seed) for seed in range(count)]
        both = zip(halves(photos, 0), halves(small, 0), strict=True)
        first, second = (together(a, b) for a, b in both)
        yield f"{name}: celeba200 among celeba_small", [(first, second)]


def celeba200(analyzer: FaceAnalyzer, held_out: bool) -> Faces:
    """The largest face of each photo."""
    names = sorted(path.name for path in (SHARED / "celeba200/photos").iterdir())
    if held_out:
        names = (HELD_OUT / "celeba200_held_out.txt").read_text().split()
    photos = [
        path for name in names for path in sorted((SHARED / "celeba200/photos" / name).iterdir())
    ]
    found = extract(analyzer, [str(path) for path in photos])
    there = np.array([reason is None for reason in found.reasons])
    people = np.array([int(path.parent.name) for path in photos])
    return Faces(found.embeddings[there], people[there])


def celeba_small(analyzer: FaceAnalyzer, held_out: bool) -> Faces:
    """Aligned faces, about two a person."""
    records = IdentityRecords(SHARED / "faces112/celeba_small.rec")
    chosen = np.arange(len(records))
    if held_out:
        names = (HELD_OUT / "celeba_small_held_out.txt").read_text().split()
        chosen = np.flatnonzero(np.isin(records.labels.astype(str), names))
    pictures = [records.file.read(int(records.keys[row])).content for row in chosen]
    return Faces(extract(analyzer, pictures, aligned=True).embeddings, records.labels[chosen])


def halves(faces: Faces, seed: int) -> tuple[Faces, Faces]:
    """The faces of either half of the people."""
    people = np.random.default_rng(seed).permutation(np.unique(faces.people))
    first = np.isin(faces.people, people[::2])
    return Faces(*(column[first] for column in faces)), Faces(*(column[~first] for column in faces))


def together(a: Faces, b: Faces) -> Faces:
    """Two sets of different people as one."""
    people = np.concatenate([a.people, b.people + a.people.max() + 1])
    return Faces(np.concatenate([a.embeddings, b.embeddings]), people)


class Outcome(NamedTuple):
    """What a method reached on one half of the people."""

    parameter: Any
    scores: ClusteringScores
    seconds: float


def table(title: str, divisions: Sequence[tuple[Faces, Faces]]) -> None:
    """Prints what each method reaches."""
    turns = heading(title, divisions)
    for name, (method, grid) in METHODS.items():
        row(name, [outcome(method, tuned(method, grid, tune), test) for tune, test in turns])
    usual = METHODS["cluster"][0]
    try:
        row("cluster, default", [outcome(usual, default(*turn), turn[1]) for turn in turns])
    except CalibrationError as error:
        print(f"cluster, default: {error}")


def heading(title: str, divisions: Sequence[tuple[Faces, Faces]]) -> list[tuple[Faces, Faces]]:
    """Prints the head of a table; returns the halves to choose on, and those to measure on."""
    test = divisions[0][1]
    print(f"\n{title}: {len(np.unique(test.people))} people, {len(test.people)} faces in a half")
    print(
        f"{'':24} F      ±      P      R      purity complete pairs F clusters  CPU s  parameters"
    )
    return [turn for first, second in divisions for turn in ((first, second), (second, first))]


def coherence(title: str, divisions: Sequence[tuple[Faces, Faces]]) -> None:
    """Prints what `cluster` reaches with other coherences, chosen for purity, and by default."""
    turns = heading(title, divisions)
    method = METHODS["cluster"][0]
    for value in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        linkage_module.COHERENCE = value
        row(f"{value}, pure", [outcome(method, pure(method, tune), test) for tune, test in turns])
    for value in (0.4, 0.5, 0.6, 0.7, 0.8, 1.0):
        linkage_module.COHERENCE = value
        try:
            row(f"{value}, default", [outcome(method, default(*turn), turn[1]) for turn in turns])
        except CalibrationError as error:
            print(f"{value}, default: {error}")


def pure(method: Callable[[Array, Any], Ints], faces: Faces) -> float:
    """The threshold of the best B-cubed F in which precision weighs twice as much as recall."""

    def f(threshold: float) -> float:
        precision, recall = score_clusters(
            method(faces.embeddings, threshold), faces.people
        ).b_cubed
        return 1.25 * precision * recall / (0.25 * precision + recall)

    return max(FINE, key=f)


def tuned(method: Callable[[Array, Any], Ints], grid: Sequence[Any], faces: Faces) -> Any:
    """The parameter of the best B-cubed F."""

    def f(parameter: Any) -> float:
        return score_clusters(method(faces.embeddings, parameter), faces.people).b_cubed.f

    return max(grid, key=f)


def default(tune: Faces, test: Faces) -> float:
    """The threshold by a calibration on other people."""
    table = ScoreTable.of_all_pairs(*tune)
    calibration = calibrate(table, "half", rates=None, replicates=10)
    return strictness(calibration, len(test.people)).threshold


def outcome(method: Callable[[Array, Any], Ints], parameter: Any, test: Faces) -> Outcome:
    """What a method reaches, and in which time."""
    start = time.process_time()
    labels = method(test.embeddings, parameter)
    seconds = time.process_time() - start
    return Outcome(parameter, score_clusters(labels, test.people), seconds)


def row(name: str, outcomes: Sequence[Outcome]) -> None:
    """Prints the means of what a method reached."""
    scores = [each.scores for each in outcomes]
    shares = np.array(
        [(s.b_cubed.f, *s.b_cubed, s.purity, s.completeness, s.pairwise.f) for s in scores]
    )
    f, *others = shares.mean(axis=0)
    columns = " ".join(f"{share:.4f}" for share in (f, shares[:, 0].std(), *others))
    clusters = np.mean([s.clusters for s in scores])
    seconds = np.mean([each.seconds for each in outcomes])
    used = sorted({str(np.round(each.parameter, 2).tolist()) for each in outcomes})
    print(f"{name:23} {columns}  {clusters:6.0f} {seconds:8.2f}  {', '.join(used)}", flush=True)


def synthetic(count: int, seed: int = 0) -> Faces:
    """Embeddings with similarities as EdgeFace-XS has them in celeba200.

    A person is a Gaussian point whose k-th coordinate has the standard deviation k ** -0.32, a face
    is that point plus a Gaussian of the same shape, 0.85 times as wide at the median and more or
    less so by a log-normal factor (0.35): poor photos. Of people there are as many with n faces as
    a Zipf law of exponent 1.8 says, 500 at most.
    """
    rng = np.random.default_rng(seed)
    sizes = np.minimum(rng.zipf(1.8, count), 500)
    people = np.repeat(np.arange(count), sizes)[:count]
    shape = (np.arange(1, 513) ** -0.32).astype(np.float32)
    centers = rng.standard_normal((int(people.max()) + 1, 512), np.float32)
    width = 0.85 * np.exp(0.35 * rng.standard_normal((count, 1), np.float32))
    vectors = rng.standard_normal((count, 512), np.float32)
    vectors *= width
    for start in range(0, count, 4096):
        rows = slice(start, start + 4096)
        vectors[rows] += centers[people[rows]]
    vectors *= shape
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = rng.permutation(count)
    return Faces(vectors[order], people[order])


def scale(count: int) -> None:
    """Time and memory of clustering many faces."""
    made = synthetic(count)
    sample = Faces(made.embeddings[:5000], made.people[:5000])
    scores = ScoreTable.of_all_pairs(*sample)
    known = ", ".join(
        f"{rate:g}: {scores.threshold(rate):.3f}" for rate in (1e-2, 1e-3, 1e-4, 1e-5)
    )
    print(f"{count} faces of {len(np.unique(made.people))} people")
    print(f"genuine {scores.genuine.mean():.3f} ± {scores.genuine.std():.3f}; strangers {known}")
    calibration = calibrate(scores, "sample", rates=None, replicates=10)
    threshold, extrapolated = strictness(calibration, count)
    print(f"threshold {threshold:.3f}{', extrapolated' if extrapolated else ''}")
    del sample, scores
    step("faces in memory", lambda: None)
    step("the products alone", lambda: products(made.embeddings))
    step(
        "nearest neighbours",
        lambda: neighbours(made.embeddings, NEIGHBOURS, FLOOR * threshold),
    )
    found = step("cluster", lambda: cluster(made.embeddings, threshold=threshold))
    print(score_clusters(found.labels, made.people))


def products(embeddings: Array) -> None:
    """The products of each pair of blocks, and nothing else."""
    for start in range(0, len(embeddings), 2048):
        for row in range(0, start + 1, 2048):
            embeddings[row : row + 2048] @ embeddings[start : start + 2048].T


def step(name: str, work: Callable[[], Any]) -> Any:
    """Does something and prints what it took."""
    start, cpu = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name:20} {seconds:8.1f} s  {cpu:8.1f} s of CPU  peak so far {peak:.2f} GB", flush=True)
    return result


if __name__ == "__main__":
    part, *rest = sys.argv[1:] or ["methods"]
    if part in ("methods", "coherence"):
        for title, divisions in sets(int(rest[0]) if rest else DIVISIONS):
            (table if part == "methods" else coherence)(title, divisions)
    else:
        scale(int(rest[0]) if rest else 100_000)
