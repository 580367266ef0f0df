import numpy as np
import pytest

from mindface.errors import MindFaceError
from mindface.recognition.protocols import Protocol
from mindface.recognition.ten_fold import equal_folds
from mindface.recognition.verification import evaluate
from mindface.recognition.verification_details import (
    discard,
    fairness,
    genuine_pairs,
    listed,
    operating_point,
)

PEOPLE, PHOTOS, SIZE = 40, 4, 24


def crowd(seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    people = np.repeat(np.arange(PEOPLE), PHOTOS)
    noise = spread * rng.normal(size=(len(people), SIZE)) * rng.uniform(0.2, 1.5, (len(people), 1))
    vectors = rng.normal(size=(PEOPLE, SIZE))[people] + noise
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), people, np.linalg.norm(noise, axis=1)


def folder(people):
    names = tuple(f"{person}/{index}.jpg" for index, person in enumerate(people))
    persons = tuple(f"p{number}" for number in range(PEOPLE))
    return Protocol("folder", names, names, people, None, None, None, {"paths": "x"}, persons)


def as_list(people):
    a, b = np.triu_indices(len(people), 1)
    same = people[a] == people[b]
    names = folder(people).names
    pairs, folds = np.column_stack([a, b]), equal_folds(len(a))
    return Protocol("list", names, names, people, pairs, same, folds, {"list": "x"})


@pytest.mark.parametrize("protocol", [folder, as_list])
def test_a_photo_without_a_face_is_a_false_non_match(protocol):
    embeddings, people, _ = crowd()
    reasons = [None] * len(people)
    whole = evaluate(protocol(people), embeddings, reasons, replicates=50)
    assert whole.acquired is None
    embeddings[5], reasons[5] = 0, "no face found"
    result = evaluate(protocol(people), embeddings, reasons, replicates=50)
    assert result.failures == {"1/5.jpg": "no face found"}
    genuine = PEOPLE * 6
    assert len(result.table.genuine) == genuine
    assert result.table.tar(-0.99) == pytest.approx(1 - 3 / genuine)
    assert len(result.acquired.table.genuine) == genuine - 3
    assert result.acquired.table.impostor_count == result.table.impostor_count - 156
    assert "1/5.jpg" not in str(result.worst), "a pair without a face teaches nothing"


def test_the_worst_pairs_are_the_extremes_however_they_are_found():
    embeddings, people, _ = crowd()
    reasons = [None] * len(people)
    whole, pairs = (
        evaluate(make(people), embeddings, reasons, replicates=10).worst
        for make in (folder, as_list)
    )
    scores = embeddings @ embeddings.T
    strangers = people[:, None] != people[None]
    for worst in (whole, pairs):
        assert len(worst["false_matches"]) == len(worst["false_non_matches"]) == 20
        assert worst["false_matches"][0][2] == pytest.approx(scores[strangers].max(), abs=1e-6)
        assert worst["false_non_matches"][0][2] == pytest.approx(scores[~strangers].min(), abs=1e-6)
    assert {pair[:2] for pair in whole["false_matches"]} == {
        pair[:2] for pair in pairs["false_matches"]
    }


def test_plain_values_say_what_was_measured():
    embeddings, people, _ = crowd()
    result = evaluate(folder(people), embeddings, [None] * len(people), manifest={"a": 1})
    plain = result.to_dict()
    assert (plain["pairs"], plain["people_pairs"]) == (160 * 159 // 2, 780)
    assert plain["manifest"] == {"a": 1, "lists": {"paths": "x"}, "seed": 0, "replicates": 1000}
    assert [rate is None for rate in plain["tar_at_far"].values()] == [False, *[True] * 4]
    assert plain["band"]["fmr"] == [0.005, 0.01]
    fmr, tar = plain["curve"]["fmr"], plain["curve"]["tar"]
    assert (fmr[0], tar[0], fmr[-1], tar[-1]) == (0, 0, 1, 1)
    assert len(fmr) < 600
    assert sum(plain["histogram"]["impostor"]) == plain["impostor"]


def test_the_measure_of_what_is_wrong_with_a_photo_is_worth_using():
    embeddings, people, noise = crowd(spread=1.6)
    result = evaluate(folder(people), embeddings, [None] * len(people), replicates=10)
    chance = np.random.default_rng(0).normal(size=len(people))
    curves = discard(result, embeddings, {"chance": chance, "noise": -noise})
    assert [curve["score"] for curve in curves] == ["noise", "chance"]
    assert curves[0]["worth_using"]
    assert curves[0]["fnmr"][0] > curves[0]["fnmr"][len(curves[0]["fnmr"]) // 2]


def test_groups_have_rates_and_thresholds(tmp_path):
    embeddings, people, _ = crowd()
    result = evaluate(folder(people), embeddings, [None] * len(people), replicates=10)
    table = tmp_path / "groups.csv"
    table.write_text("person,group\n" + "".join(f"p{i},{'AB'[i % 2]}\n" for i in range(PEOPLE)))
    found = fairness(result, table)
    assert [row["people"] for row in found["rows"]] == [20, 20]
    assert found["rate"] == 0.01
    assert found["thresholds"].keys() == {"A", "B"}
    table.write_text("person,group\nnobody,A\n")
    with pytest.raises(MindFaceError, match="nobody in"):
        fairness(result, table)


def test_pairs_and_points():
    embeddings, people, _ = crowd()
    result = evaluate(as_list(people), embeddings, [None] * len(people), replicates=10)
    assert operating_point(result).rate == 0.01
    assert genuine_pairs(folder(people)).tolist() == genuine_pairs(as_list(people)).tolist()
    kept = listed(result, embeddings)
    assert len(kept["scores"]) == len(kept["same"]) == len(kept["people"]) == 160 * 159 // 2
    assert listed(evaluate(folder(people), embeddings, [None] * 160), embeddings) is None
