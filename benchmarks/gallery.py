"""Galleries: search beside other libraries, and what opening and enrolling take.

    pip install faiss-cpu usearch lancedb pymilvus milvus-lite
    python benchmarks/gallery.py search [--sizes N...] [--rounds R]
    python benchmarks/gallery.py hnsw [--sizes N...]
    python benchmarks/gallery.py store [--sizes N...] [--rounds R] [--folder DIR]

All print tables for `docs/benchmarks.md`. All cores that the process may use are used; a library
that is not installed is left out, and that is said.

`search` looks for the ten templates most like 1, 16 and 256 faces among N. Strangers are as alike
as EdgeFace-XS has them in celeba200 (see `clustering.py`); half of the faces are of enrolled
people.
Candidates take turns in each round; times are medians, in milliseconds for all faces of a call, and
ratios medians of the ratios within a round. "Reading" is each core reading its share of the float32
matrix once, "product" all scores in float32 with nothing selected. Recall is the share of the true
ten, by sums in float64, of 32 faces.
LanceDB and Milvus Lite take their turns after all others, whom their threads would disturb; the
former is asked for one face alone. They, and graphs, have at most `--most` rows.

`hnsw` builds MindFace's graph of templates that are alike as strangers' faces are, and of random
ones, and says what share of the true first and of the true ten are found, of faces at 0.6 of
somebody and of strangers; and the processor time of building and of searching for one. Sizes at
which there is no graph, and those above `--most`, are left out.

`store` enrolls N people with an embedding each, 10,000 in a transaction, and opens the gallery:
`Gallery(path)` with the matrix mapped, and until one face is identified; the files are in the
system's cache. "copy" is the first search in int8, which makes it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.engines import EngineOptions
from mindface.gallery import Gallery
from mindface.gallery.hnsw import SMALL, Graph
from mindface.gallery.matrix import View
from mindface.gallery.product import Product
from mindface.gallery.quantised import QuantisedSearch, encode
from mindface.gallery.search import GROUP, SCORES, ExactSearch

Array = NDArray[np.float32]
Ints = NDArray[np.int64]
Find = Callable[[Array], Ints]

SIZES = [10_000, 100_000, 1_000_000]
FACES = [1, 16, 256]
K = 10
JUDGED = 32  # faces by which recall is measured
SIZE = 512
BATCH = 10_000  # people in a transaction
PART = 1 << 16  # rows made or handed over at once
CORES = EngineOptions().thread_count


class Candidate(NamedTuple):
    """A way to search: finds rows `(Q, K)`; `than` is what it is compared with."""

    name: str
    find: Find
    than: str | None = None
    many: bool = True


def templates(count: int, seed: int = 0, decay: float = 0.32) -> Array:
    """Unit vectors `(count, 512)` of different people; with a decay of 0 any directions."""
    random = np.random.default_rng(seed)
    shape = (np.arange(1, SIZE + 1) ** -decay).astype(np.float32)
    rows = np.empty((count, SIZE), np.float32)
    for start in range(0, count, PART):
        some = rows[start : start + PART]
        some[:] = random.standard_normal(some.shape, np.float32) * shape
        some /= np.linalg.norm(some, axis=1, keepdims=True)
    return rows


def probes(rows: Array, count: int, decay: float = 0.32) -> Array:
    """Faces `(count, 512)`: of people who are there, and of strangers, in turn."""
    faces = templates(count, 1, decay)
    known = faces[::2]
    known[:] = 0.6 * rows[np.random.default_rng(2).integers(0, len(rows), len(known))] + 0.8 * known
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    return faces


def ours(rows: Array) -> Iterator[Candidate]:
    """The three precisions of MindFace."""
    yield Candidate(
        "MindFace, float32", lambda faces: ExactSearch(rows).top(faces, K)[0], "faiss, float32"
    )
    for precision, than in (("float16", "faiss, float16"), ("int8", "faiss, int8")):
        if not find_spec("numkong"):
            print(f"MindFace, {precision}: NumKong is not installed\n")
            continue
        codes = [
            encode(rows[start : start + PART], precision) for start in range(0, len(rows), PART)
        ]
        whole = type(codes[0])(*(np.concatenate(parts) for parts in zip(*codes, strict=True)))
        search = QuantisedSearch(rows, whole, precision)
        yield Candidate(
            f"MindFace, {precision}", lambda faces, it=search: it.top(faces, K)[0], than
        )


def graph_of(rows: Array) -> ExactSearch:
    """MindFace's search by HNSW."""
    people = np.arange(1, len(rows) + 1)
    limits = np.zeros(len(rows))
    view = View(rows, people, limits, limits, people.astype(np.uint32), (0, b""))
    return Graph(None, SIZE).follow(view)


def faiss_indices(rows: Array) -> Iterator[Candidate]:
    """What faiss searches without an index."""
    import faiss

    faiss.omp_set_num_threads(CORES)
    kinds = faiss.ScalarQuantizer
    product = faiss.METRIC_INNER_PRODUCT
    for name, index in (
        ("float32", faiss.IndexFlatIP(SIZE)),
        ("float16", faiss.IndexScalarQuantizer(SIZE, kinds.QT_fp16, product)),
        ("int8", faiss.IndexScalarQuantizer(SIZE, kinds.QT_8bit, product)),
    ):
        index.train(rows[:PART])
        index.add(rows)
        yield Candidate(f"faiss, {name}", lambda faces, it=index: it.search(faces, K)[1])


def usearch_exact(rows: Array) -> Iterator[Candidate]:
    """The exact search of usearch, in two precisions."""
    from usearch.index import search

    def find(held: Any, faces: Any) -> Ints:
        keys = search(held, faces, K, "ip", exact=True, threads=CORES).keys
        return np.asarray(keys, np.int64).reshape(len(faces), -1)

    yield Candidate("usearch, float32", lambda faces: find(rows, faces), "faiss, float32")
    codes = np.rint(rows * 127).astype(np.int8)
    yield Candidate(
        "usearch, int8",
        lambda faces: find(codes, np.rint(faces * 127).astype(np.int8)),
        "faiss, int8",
    )


def lancedb_table(rows: Array, folder: Path) -> Iterator[Candidate]:
    """LanceDB without an index."""
    import lancedb
    import pyarrow

    vectors = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.reshape(-1)), SIZE)
    held = pyarrow.table({"id": np.arange(len(rows)), "vector": vectors})
    table = lancedb.connect(folder / "lance").create_table("rows", held)

    def find(faces: Array) -> Ints:
        found = (
            table.search(faces[0])
            .distance_type("dot")
            .limit(K)
            .select(["id", "_distance"])
            .to_arrow()
        )
        return found["id"].to_numpy()[None]

    yield Candidate("LanceDB, float32", find, "faiss, float32", many=False)


def milvus_lite(rows: Array, folder: Path) -> Iterator[Candidate]:
    """Milvus Lite without an index."""
    from pymilvus import MilvusClient

    client = MilvusClient(str(folder / "milvus.db"))
    client.create_collection("rows", dimension=SIZE, metric_type="IP")
    for start in range(0, len(rows), 1000):
        some = rows[start : start + 1000]
        client.insert(
            "rows", [{"id": start + n, "vector": row.tolist()} for n, row in enumerate(some)]
        )

    def find(faces: Array) -> Ints:
        found = client.search("rows", faces.tolist(), limit=K)
        return np.array([[hit["id"] for hit in hits] for hits in found])

    yield Candidate("Milvus Lite, float32", find, "faiss, float32")


def reading(rows: Array) -> Iterator[Candidate]:
    """Each core reads its share of the matrix."""
    words = np.array_split(rows.reshape(-1).view(np.uint64), CORES)
    pool = ThreadPoolExecutor(CORES)

    def find(_: Array) -> Ints:
        list(pool.map(np.bitwise_or.reduce, words))
        return np.empty((0, K), np.int64)

    yield Candidate("reading the float32 matrix", find, many=False)


def product(rows: Array) -> Iterator[Candidate]:
    """The product in MindFace's search alone."""
    multiply = Product()
    groups = rows[: len(rows) // GROUP * GROUP].reshape(-1, GROUP, SIZE)

    def find(faces: Array) -> Ints:
        queries = np.ascontiguousarray(faces.T)
        size = max(SCORES // len(faces) // GROUP, 1)
        for start in range(0, len(groups), size):
            multiply(groups[start : start + size], queries)
        return np.empty((0, K), np.int64)

    yield Candidate("product, float32", find, "faiss, float32")


def libraries(rows: Array, most: int) -> Iterator[Candidate]:
    """What searches in this process."""
    yield from reading(rows)
    yield from product(rows)
    yield from ours(rows)
    if find_spec("usearch") and SMALL < len(rows) <= most:
        graph = graph_of(rows)
        yield Candidate("MindFace, hnsw", lambda faces: graph.top(faces, K)[0], "faiss, int8")
    else:
        print(f"MindFace, hnsw: needs usearch, and {SMALL + 1} to {most} rows\n")
    for name, made in (("faiss", faiss_indices), ("usearch", usearch_exact)):
        if find_spec(name) is None:
            print(f"{name} is not installed\n")
        else:
            yield from made(rows)


def databases(rows: Array, folder: Path, most: int) -> Iterator[Candidate]:
    """What searches in threads or processes of its own."""
    for module, name, made in (
        ("lancedb", "LanceDB", lancedb_table),
        ("milvus_lite", "Milvus Lite", milvus_lite),
    ):
        if find_spec(module) is None:
            print(f"{name} is not installed\n")
        elif len(rows) > most:
            print(f"{name}: not with more than {most} rows\n")
        else:
            yield from made(rows, folder)


def search(sizes: list[int], rounds: int, most: int) -> None:
    """Prints a table for each size."""
    for count in sizes:
        rows = templates(count)
        faces = {number: probes(rows, number) for number in FACES}
        right = truth(rows, probes(rows, JUDGED))
        with tempfile.TemporaryDirectory() as folder:
            candidates = list(libraries(rows, most))
            taken = {number: times(candidates, faces[number], rounds) for number in FACES}
            others = list(databases(rows, Path(folder), most))
            for number in FACES:
                taken[number] |= times(others, faces[number], rounds)
            print(f"{count} rows, {CORES} cores, {rounds} rounds\n")
            names = [f"{number} face{'s' * (number > 1)}" for number in FACES]
            print(f"| | {' | '.join(f'{name} | ratio' for name in names)} | recall |")
            print("|---" * (2 * len(FACES) + 2) + "|")
            for each in candidates + others:
                cells = [cell for number in FACES for cell in told(each, taken[number])]
                print(f"| {each.name} | {' | '.join(cells)} | {recall(each, rows, right)} |")
            print(flush=True)


def times(candidates: list[Candidate], faces: Array, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate in each round.

    A turn is two searches, of which the second counts: in the first another library's threads may
    spin still, and its own sleep.
    """
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for each in candidates:
            if each.many or len(faces) == 1:
                each.find(faces)
                start = time.perf_counter()
                each.find(faces)
                taken.setdefault(each.name, []).append(1000 * (time.perf_counter() - start))
    return taken


def told(candidate: Candidate, taken: dict[str, list[float]]) -> tuple[str, str]:
    """The median, and the ratio to what it is compared with."""
    if candidate.name not in taken:
        return "", ""
    mine = np.array(taken[candidate.name])
    theirs = taken.get(candidate.than or "")
    ratio = f"{np.median(mine / theirs):.2f}" if theirs else ""
    return f"{np.median(mine):.2f}", ratio


def truth(rows: Array, faces: Array) -> Ints:
    """The true ten of each face."""
    scores = np.concatenate(
        [
            faces.astype(np.float64) @ rows[start : start + PART].astype(np.float64).T
            for start in range(0, len(rows), PART)
        ],
        axis=1,
    )
    return np.argsort(-scores, axis=1)[:, :K]


def recall(candidate: Candidate, rows: Array, right: Ints) -> str:
    """The share of the true ten that is found."""
    faces = probes(rows, JUDGED)
    if candidate.many:
        found = candidate.find(faces)
    else:
        found = np.concatenate([candidate.find(face[None]) for face in faces])
    if not len(found):
        return ""
    shared = [len({*a} & {*b}) for a, b in zip(found.tolist(), right.tolist(), strict=True)]
    return f"{sum(shared) / right.size:.4f}"


def hnsw(sizes: list[int]) -> None:
    """Prints what a graph finds."""
    print(
        "| templates | built, s of processor time | a face, ms | enrolled: the first | of ten | "
        "stranger: the first | of ten |"
    )
    print("|---|---|---|---|---|---|---|")
    for count in sizes:
        for name, decay in (("as faces", 0.32), ("random", 0.0)):
            rows = templates(count, decay=decay)
            faces = probes(rows, FACES[-1], decay)
            began = time.process_time()
            graph = graph_of(rows)
            built = time.process_time() - began
            began = time.process_time()
            found = graph.top(faces, K)[0]
            spent = 1000 * (time.process_time() - began) / len(faces)
            right = truth(rows, faces)
            first = (found == right[:, :1]).any(axis=1)
            ten = (found[:, :, None] == right[:, None]).any(axis=1).mean(axis=1)
            shares = (each[start::2].mean() for start in (0, 1) for each in (first, ten))
            cells = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {count} {name} | {built:.0f} | {spent:.2f} | {cells} |", flush=True)


def store(sizes: list[int], rounds: int, where: Path | None) -> None:
    """Prints what enrolling and opening take."""
    print(
        "| people | 10,000 enrolled, s | opened, s | and one face identified, s | "
        "int8: copy made, s | opened and one face identified, s |"
    )
    print("|---|---|---|---|---|---|")
    for count in sizes:
        rows = templates(count)
        face = probes(rows, 1)
        folder = Path(tempfile.mkdtemp(dir=where))
        try:
            path = folder / "people.db"
            enrolled = filled(path, rows)
            opened = [opening(path, None, "float32") for _ in range(rounds)]
            answered = [opening(path, face, "float32") for _ in range(rounds)]
            cells = [np.median(each) for each in (enrolled, opened, answered)]
            if find_spec("numkong"):
                copied, *again = [opening(path, face, "int8") for _ in range(rounds + 1)]
                cells += [copied, np.median(again)]
            print(f"| {count} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)
        finally:
            shutil.rmtree(folder)


def filled(path: Path, rows: Array) -> list[float]:
    """Enrolls everybody; the seconds of each transaction."""
    seconds = []
    with Gallery(path, "0" * 64, SIZE) as gallery:
        for start in range(0, len(rows), BATCH):
            people = [
                (f"person {start + number}", row[None])
                for number, row in enumerate(rows[start : start + BATCH])
            ]
            began = time.perf_counter()
            gallery.add_many(people)
            seconds.append(time.perf_counter() - began)
    return seconds


def opening(path: Path, face: Array | None, precision: Any) -> float:
    """Seconds until the gallery is open, and a face is identified if there is one."""
    began = time.perf_counter()
    with Gallery(path, search=precision) as gallery:
        if face is None:
            gallery.backend.view()  # type: ignore[attr-defined]
        else:
            gallery.identify(face)
        return time.perf_counter() - began


def main() -> None:
    """Measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["search", "hnsw", "store"])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--most", type=int, default=100_000, help="rows in graphs, LanceDB, Milvus Lite"
    )
    parser.add_argument("--folder", type=Path, help="on the disk that store is to write to")
    asked = parser.parse_args()
    if asked.part == "search":
        search(asked.sizes, asked.rounds, asked.most)
    elif asked.part == "hnsw":
        hnsw([count for count in asked.sizes if SMALL < count <= asked.most])
    else:
        store(asked.sizes, asked.rounds, asked.folder)


if __name__ == "__main__":
    main()
