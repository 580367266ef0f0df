import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import planted, unit

from mindface.clustering import neighbours as module
from mindface.clustering.neighbours import neighbours


def naive(embeddings, k, least=-1.0, since=0):
    """For each face its k nearest by sorting all; pairs of which one has the other."""
    alike = embeddings @ embeddings.T
    alike = np.triu(alike) + np.triu(alike, 1).T
    found = set()
    for face, row in enumerate(alike):
        others = [
            other
            for other in np.argsort(-row, kind="stable").tolist()
            if other != face and row[other] >= least and max(face, other) >= since
        ]
        found |= {(min(face, other), max(face, other)) for other in others[:k]}
    return found


def listed(pairs):
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))


@pytest.fixture(params=[7, 16, 2048])
def block(request, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", request.param)


@pytest.mark.parametrize("k", [1, 3, 200])
@pytest.mark.parametrize("least", [-1.0, 0.3])
@pytest.mark.parametrize("since", [0, 40, 72])
def test_pairs_are_those_of_sorting_all(block, k, least, since):
    embeddings, _ = planted()
    pairs = neighbours(embeddings, k, least, since)
    assert listed(pairs) == naive(embeddings, k, least, since)
    assert (pairs.first < pairs.second).all()
    assert (np.diff(pairs.similarity) <= 0).all()
    cosines = (embeddings[pairs.first] * embeddings[pairs.second]).sum(1)
    np.testing.assert_allclose(pairs.similarity, cosines, atol=1e-6)


@given(st.integers(0, 5), st.integers(1, 4))
def test_equally_near_neighbours_are_taken_by_number(axes, k):
    faces = np.eye(6, dtype=np.float32)[np.arange(12) % (axes + 1)]
    assert listed(neighbours(faces, k)) == naive(faces, k)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_faces_have_no_neighbours(count):
    assert not listed(neighbours(np.eye(4, dtype=np.float32)[:count], 3))


def test_memory_grows_with_neighbours_and_not_with_pairs(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 128)
    rng = np.random.default_rng(0)
    crowd = unit(1 + 0.1 * rng.normal(size=(3000, 8)))  # everybody is like everybody
    tracemalloc.start()
    pairs = neighbours(crowd, 4, 0.5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pairs.first) <= 4 * len(crowd)
    assert peak < 6_000_000  # all 4.5 million pairs would take 54 MB
