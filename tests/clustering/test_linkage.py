import numpy as np
import pytest
from planted import partition, planted, unit
from scipy.cluster.hierarchy import fcluster, linkage

from mindface.clustering import cluster
from mindface.clustering import linkage as module


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("spread", [0.6, 1.2])
def test_with_coherence_one_it_is_average_linkage(monkeypatch, threshold, spread):
    monkeypatch.setattr(module, "COHERENCE", 1.0)
    embeddings, _ = planted(people=8, photos=4, spread=spread)
    distances = 1 - (embeddings @ embeddings.T)[np.triu_indices(len(embeddings), 1)]
    expected = fcluster(linkage(distances, "average"), 1 - threshold, "distance")
    assert partition(cluster(embeddings, threshold=threshold).labels) == partition(expected)


def naive_similarity(a, b, coherence):
    """The cosine of two groups' sums, with the lengths that a person's sums should have."""
    lengths = [np.sqrt(len(g) * (1 + (len(g) - 1) * coherence)) for g in (a, b)]
    return a.sum(0) @ b.sum(0) / np.prod(lengths)


def test_joins_are_listed_with_the_similarity_of_the_groups():
    embeddings = unit([[1, 0, 0], [0.9, 0.43, 0], [0.55, 0.3, 0.78]])
    found = cluster(embeddings, threshold=0.3)
    assert found.joins.tolist()[1] in ([0, 1], [1, 0])
    assert sorted(found.joins.tolist()[0])[1] == 2
    late = naive_similarity(embeddings[:2], embeddings[2:], module.COHERENCE)
    np.testing.assert_allclose(found.similarities, [late, embeddings[0] @ embeddings[1]], rtol=1e-5)


def test_a_chain_of_bridges_does_not_make_a_giant():
    """Each face is like the next, so that at any threshold all are one connected component."""
    place = np.linspace(0, 20, 300)
    chain = unit(np.exp(-((place[:, None] - np.arange(0, 20.5, 0.5)) ** 2)))
    assert np.einsum("nd,nd->n", chain[1:], chain[:-1]).min() > 0.99
    people = cluster(chain, threshold=0.5).people
    assert all(np.ptp(place[faces]) < 5 for faces in people)


def test_two_people_with_a_bridge_between_them_stay_two():
    rng = np.random.default_rng(0)
    centers = np.zeros((2, 64))
    centers[0, 0] = centers[1, 1] = 1
    people = unit(np.repeat(centers, 20, 0) + 0.08 * rng.normal(size=(40, 64)))
    bridges = unit(centers.mean(0) + 0.02 * rng.normal(size=(3, 64)))
    found = cluster(np.concatenate([people, bridges]), threshold=0.55)
    assert len(set(found.labels[:20])) == len(set(found.labels[20:40])) == 1
    assert found.labels[0] != found.labels[20]
