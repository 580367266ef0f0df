"""The product of rows and queries: what its graph is, and that it works after a fork."""

import multiprocessing
import sys
from textwrap import dedent

import numpy as np
import pytest
from gallery_faces import unit

from mindface.gallery import product
from mindface.gallery.product import GRAPH, Product
from mindface.gallery.search import ExactSearch


def test_the_graph_is_what_its_documentation_says():
    onnx = pytest.importorskip("onnx", reason="graphs are made by onnx, of the extra train")
    from onnx import parser

    text = dedent(product.__doc__[product.__doc__.index("    <ir_version") :])
    assert GRAPH.read_bytes() == parser.parse_model(text).SerializeToString()
    onnx.checker.check_model(onnx.load(GRAPH))


def test_scores_and_the_best_of_each_group():
    rows, queries = unit(60), unit(5, seed=1)
    multiply = Product()
    for size in (1, 4, 60):
        grouped = rows.reshape(-1, size, rows.shape[1])
        scores, bests = multiply(grouped, np.ascontiguousarray(queries.T))
        np.testing.assert_allclose(scores, grouped @ queries.T, atol=1e-6)
        np.testing.assert_array_equal(bests, scores.max(axis=1))


def found(rows):
    return ExactSearch(rows).top(rows[:3], 1)[0][:, 0].tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # Python 3.12
def test_a_fork_of_a_process_that_has_searched_searches():
    rows = unit(1000)
    assert found(rows) == [0, 1, 2]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(found, (rows,)).get(timeout=60) == [0, 1, 2]
