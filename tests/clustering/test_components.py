import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mindface.clustering.components import connected


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_components_are_scipys_named_by_their_lowest(edges):
    first, second = np.array(edges, int).reshape(-1, 2).T
    matrix = coo_matrix((np.ones(len(edges)), (first, second)), shape=(20, 20))
    _, expected = connected_components(matrix, directed=False)
    names = connected(20, first, second)
    lowest = np.array([np.flatnonzero(expected == each)[0] for each in expected])
    assert names.tolist() == lowest.tolist()


def test_a_long_chain_is_one():
    numbers = np.random.default_rng(0).permutation(100_000)
    assert not connected(100_000, numbers[:-1], numbers[1:]).any()
