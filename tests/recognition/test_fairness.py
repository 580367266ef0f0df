import math

import numpy as np
import pytest

from mindface.errors import MindFaceError
from mindface.recognition.fairness import group_rates, group_thresholds, read_groups
from mindface.recognition.metrics import ScoreTable

# People 0 and 1 are in group a, 2 and 3 in group b, 4 in none.
GROUPS = {0: "a", 1: "a", 2: "b", 3: "b"}
PAIRS = [
    (0, 1, 0.9),
    (0, 1, 0.1),
    (0, 2, 0.1),
    (1, 2, 0.8),
    (1, 3, 0.1),
    (2, 3, 0.1),
    (3, 4, 0.9),
    (0, 0, 0.9),
    (1, 1, 0.2),
    (2, 2, 0.9),
    (4, 4, 0.1),
]


def by_hand():
    people = np.array([pair[:2] for pair in PAIRS])
    scores = np.array([pair[2] for pair in PAIRS], np.float32)
    return ScoreTable.of_pairs(scores, people[:, 0] == people[:, 1], people)


def test_rates_by_hand():
    found = group_rates(by_hand(), GROUPS, 0.5, replicates=20)
    assert found.groups == ("a", "b")
    np.testing.assert_array_equal(found.people, [2, 2])
    np.testing.assert_array_equal(found.people_pairs, [[1, 3], [3, 1]])
    np.testing.assert_allclose(found.fmr.values, [[1 / 2, 1 / 3], [1 / 3, 0]])
    np.testing.assert_allclose(found.fnmr.values, [1 / 2, 0])
    assert found.fmr_ratio is found.fnmr_ratio is None
    assert len(found.warnings) == 4
    assert "The group 'a' has 1 pairs of people" in found.warnings[0]
    assert "it takes 9" in found.warnings[0]  # 3 / (2 / 6)


def faces(rng, sizes, spreads, photos=4, size=32):
    """Unit vectors of people of each group, whose faces are the more alike the smaller spread."""
    people, vectors = [], []
    for count, spread in zip(sizes, spreads, strict=True):
        centres = rng.normal(size=(1, size)) + spread * rng.normal(size=(count, size))
        vectors.append(np.repeat(centres, photos, axis=0))
        people.append(np.repeat(np.arange(count) + sum(map(len, people)) // photos, photos))
    found = np.concatenate(vectors)
    found += 0.5 * rng.normal(size=found.shape)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32), np.concatenate(people)


def test_all_pairs_are_the_same_pairs_as_a_list():
    vectors, people = faces(np.random.default_rng(0), (6, 5), (1, 2))
    groups = dict(enumerate("aaaaaabbbb"))  # the last is in none
    a, b = np.triu_indices(len(vectors), 1)
    scores = (vectors @ vectors.T)[a, b]
    pairs = np.column_stack([people[a], people[b]])
    listed = group_rates(
        ScoreTable.of_pairs(scores, people[a] == people[b], pairs), groups, 0.6, replicates=20
    )
    whole = group_rates(ScoreTable.of_all_pairs(vectors, people), groups, 0.6, replicates=20)
    np.testing.assert_array_equal(whole.people_pairs, [[15, 24], [24, 6]])
    np.testing.assert_array_equal(listed.people_pairs, whole.people_pairs)
    for mine, theirs in ((listed.fmr, whole.fmr), (listed.fnmr, whole.fnmr)):
        for name in ("values", "low", "high"):
            np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name))


def test_a_group_whose_faces_are_alike_has_more_false_matches():
    vectors, people = faces(np.random.default_rng(0), (60, 60, 5), (0.8, 1.5, 1.5), photos=2)
    groups = {person: "alike" if person < 60 else "varied" for person in range(120)}
    groups |= dict.fromkeys(range(120, 125), "few")
    table = ScoreTable.of_all_pairs(vectors, people)
    threshold = table.threshold(0.01)
    found = group_rates(table, groups, threshold, replicates=50)
    alike, _, varied = np.diag(found.fmr.values)
    assert alike > 5 * varied
    assert found.fmr_ratio == pytest.approx(alike / varied)
    assert any("'few' has 10 pairs of people" in warning for warning in found.warnings)
    assert not any("'alike'" in warning and "FMR" in warning for warning in found.warnings)
    np.testing.assert_allclose(found.fmr.values, found.fmr.values.T)
    assert (found.fmr.low <= found.fmr.values).all()
    assert (found.fmr.values <= found.fmr.high).all()
    thresholds = group_thresholds(table, groups, 0.01)
    assert thresholds["few"] is None
    assert thresholds["alike"] > threshold


def test_thresholds_hold_the_rate_in_each_group():
    vectors, people = faces(np.random.default_rng(1), (30, 30), (1, 2), photos=2)
    groups = {person: "ab"[person // 30] for person in range(60)}
    table = ScoreTable.of_all_pairs(vectors, people)
    for index, (group, threshold) in enumerate(group_thresholds(table, groups, 0.02).items()):
        found = group_rates(table, groups, threshold, replicates=2)
        assert found.groups[index] == group
        assert 0.01 < found.fmr.values[index, index] <= 0.02


def test_nothing_compared_is_not_a_rate():
    people = np.array([[0, 1], [0, 1], [0, 0]])
    table = ScoreTable.of_pairs(
        np.array([0.9, 0.1, 0.8], np.float32), np.array([False, False, True]), people
    )
    found = group_rates(table, {0: "a", 1: "b"}, 0.5, replicates=5)
    np.testing.assert_allclose(found.fmr.values, [[math.nan, 0.5], [0.5, math.nan]])
    np.testing.assert_allclose(found.fnmr.values, [0, math.nan])
    assert "The FNMR of all groups together is 0" in found.warnings[-1]


@pytest.mark.parametrize(
    ("groups", "threshold", "match"),
    [({}, 0.5, "nobody"), ({0: "a"}, -0.9, "not kept down to -0.9")],
)
def test_what_cannot_be_told(groups, threshold, match):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(700, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    table = ScoreTable.of_all_pairs(vectors, np.arange(700) // 2)
    with pytest.raises(ValueError, match=match):
        group_rates(table, groups, threshold, replicates=2)


def test_groups_are_read(tmp_path):
    path = tmp_path / "groups.csv"
    path.write_text("\ufeffphoto,group,person\nx,a,Ada\ny,b, Grace \nz,,Mary\nw,a,Ada\n", "utf-8")
    assert read_groups(path) == {"Ada": "a", "Grace": "b"}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"person\nAda\n", "no column group in its header"),
        (b"", "no column group and person in its header"),
        (b"person,group\nAda,a\nAda,b\n", "line 3: 'Ada' is in the group 'b', and before in 'a'"),
        (b"person,group\n,a\n", "line 2: no person"),
        (b"person,group\n\xff,a\n", "not a CSV file in UTF-8"),
        (b'person,group\n"Ada,a\n', "not a CSV file"),
    ],
)
def test_groups_that_cannot_be_read(tmp_path, content, match):
    path = tmp_path / "groups.csv"
    path.write_bytes(content)
    with pytest.raises(MindFaceError, match=match):
        read_groups(path)
    with pytest.raises(MindFaceError, match="cannot be read"):
        read_groups(tmp_path / "absent.csv")
