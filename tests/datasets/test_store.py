"""Embeddings kept by what a picture holds."""

import numpy as np
import pytest

from mindface.datasets.store import MISSING, EmbeddingStore


def rows(*keys):
    """Keys, thumbnails and embeddings that are functions of the keys."""
    numbers = np.array(keys)
    thumbnails = (numbers[:, None] + np.arange(4)) % 256
    embeddings = numbers[:, None] % 64 / 8 + np.arange(3)
    return numbers.astype(np.uint64), thumbnails.astype(np.uint8), embeddings.astype(np.float32)


def test_what_was_stored_is_found_when_opened_again(tmp_path):
    path = tmp_path / "cache" / "x.rows"
    first = EmbeddingStore(path, 3, 4)
    assert first.find(rows(5, 2)[0]).tolist() == [MISSING, MISSING]
    assert first.append(*rows(5, 2**63)).tolist() == [0, 1]
    assert first.append(*rows(9)).tolist() == [2]
    second = EmbeddingStore(path, 3, 4)
    found = second.find(rows(9, 7, 5, 2**63, 5)[0])
    assert found.tolist() == [2, MISSING, 0, 1, 0]
    for store in (first, second):
        np.testing.assert_array_equal(store.embeddings(np.array([2, 0])), rows(9, 5)[2])
        np.testing.assert_array_equal(store.thumbnails(np.array([2, 0])), rows(9, 5)[1])
        assert store.embeddings(np.array([], np.int64)).shape == (0, 3)


def test_two_may_write_at_once(tmp_path):
    a, b = (EmbeddingStore(tmp_path / "x.rows", 3, 4) for _ in range(2))
    assert [int(a.append(*rows(1))[0]), int(b.append(*rows(2))[0]), int(a.append(*rows(3))[0])] == [
        *(0, 1, 2)
    ]
    np.testing.assert_array_equal(a.embeddings(np.arange(3)), rows(1, 2, 3)[2])


@pytest.mark.parametrize("torn", [1, 9])
def test_what_a_killed_process_left_is_written_over(tmp_path, torn):
    path = tmp_path / "x.rows"
    EmbeddingStore(path, 3, 4).append(*rows(1, 2))
    content = path.read_bytes()
    path.write_bytes(content[:-torn])
    store = EmbeddingStore(path, 3, 4)
    assert store.find(rows(1, 2)[0]).tolist() == [0, MISSING]
    assert store.append(*rows(2)).tolist() == [1]
    assert path.read_bytes() == content
