"""Average precision against WIDER FACE's protocol written out, a box and a threshold a time."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mindface.detection.evaluation import Curve, match, overlaps
from mindface.formats.wider_face import GroundTruth, read_ground_truth, read_predictions


def naive_overlap(a, b) -> float:
    ax2, ay2, bx2, by2 = a[0] + a[2], a[1] + a[3], b[0] + b[2], b[1] + b[3]
    width = min(ax2, bx2) - max(a[0], b[0]) + 1
    height = min(ay2, by2) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    area_a = (ax2 - a[0] + 1) * (ay2 - a[1] + 1)
    area_b = (bx2 - b[0] + 1) * (by2 - b[1] + 1)
    return width * height / (area_a + area_b - width * height)


def naive_image(predicted, faces, counted) -> tuple[list[int], list[bool]]:
    """Faces found up to each box, and whether each box counts."""
    state = dict.fromkeys(range(len(faces)), "unseen")
    found, proposed = [], []
    for box in predicted:
        values = [naive_overlap(box, face) for face in faces]
        best = values.index(max(values))
        proposed.append(True)
        if values[best] >= 0.5:
            if not counted[best]:
                proposed[-1] = False
            elif state[best] == "unseen":
                state[best] = "found"
        found.append(sum(each == "found" for each in state.values()))
    return found, proposed


def naive_ap(truth: GroundTruth, predictions, subset: str) -> float:
    scores = [box[4] for predicted in predictions for box in predicted]
    low, high = min([1, *scores]), max([0, *scores])
    totals = [[0, 0] for _ in range(1000)]
    for faces, counted, predicted in zip(
        truth.boxes, truth.counted[subset], predictions, strict=True
    ):
        if not len(faces) or not len(predicted):
            continue
        found, proposed = naive_image(predicted, faces, counted)
        for step in range(1000):
            least = 1 - (step + 1) / 1000
            rows = [r for r, box in enumerate(predicted) if (box[4] - low) / (high - low) >= least]
            if rows:
                totals[step][0] += sum(proposed[: rows[-1] + 1])
                totals[step][1] += found[rows[-1]]
    faces = sum(int(counted.sum()) for counted in truth.counted[subset])
    recall = [0.0, *(hits / faces for _, hits in totals), 1.0]
    precision = [0.0, *(hits / boxes if boxes else 0.0 for boxes, hits in totals), 0.0]
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    return sum((recall[i + 1] - recall[i]) * precision[i + 1] for i in range(len(recall) - 1))


# Few places and scores, so that boxes tie in overlap and in score.
sides = st.tuples(*[st.integers(0, 6)] * 2, *[st.integers(0, 5)] * 2)
box_lists = st.lists(sides, max_size=5)
scores = st.lists(
    st.sampled_from([0.0, 0.02, 0.3, 0.301, 0.5, 0.999, 1.0, 2.0]), min_size=5, max_size=5
)


@st.composite
def image(draw):
    faces = draw(box_lists)
    counted = draw(st.lists(st.booleans(), min_size=len(faces), max_size=len(faces)))
    found = draw(box_lists)
    values = sorted(draw(scores)[: len(found)], reverse=True)
    rows = [[*box, value] for box, value in zip(found, values, strict=True)]
    return np.reshape(np.array(faces, float), (-1, 4)), np.array(counted, bool), rows


def as_truth(images) -> tuple[GroundTruth, list[np.ndarray]]:
    names = tuple(f"e/{i}" for i in range(len(images)))
    counted = {"all": tuple(each[1] for each in images)}
    predictions = [np.reshape(np.array(each[2], float), (-1, 5)) for each in images]
    return GroundTruth(names, tuple(each[0] for each in images), counted), predictions


@settings(max_examples=60, deadline=None)
@given(images=st.lists(image(), min_size=1, max_size=4))
def test_like_the_protocol_written_out(images):
    values = [row[4] for each in images for row in each[2]]
    assume(any(each[1].any() for each in images) and max([0, *values]) > min([1, *values]))
    truth, predictions = as_truth(images)
    found = match(truth, predictions).curve("all").average_precision
    assert found == pytest.approx(naive_ap(truth, predictions, "all"), abs=1e-12)


@given(a=box_lists, b=box_lists)
def test_overlaps(a, b):
    found = overlaps(
        np.reshape(np.array(a, float), (-1, 4)), np.reshape(np.array(b, float), (-1, 4))
    )
    assert found.tolist() == [[naive_overlap(x, y) for y in b] for x in a]


FACE, OTHER, FAR = [0.0, 0, 9, 9], [20.0, 0, 9, 9], [200.0, 200, 9, 9]


def evaluate(faces, counted, rows):
    truth, predictions = as_truth([(np.reshape(faces, (-1, 4)), np.array(counted, bool), rows)])
    return match(truth, predictions)


@pytest.mark.parametrize(
    ("counted", "rows", "expected"),
    [
        ([True, True], [[*FACE, 0.9], [*OTHER, 0.1]], 1.0),
        ([True, True], [[*FACE, 0.9]], 0.5),
        ([True, True], [[*FACE, 0.9], [*FAR, 0.5], [*OTHER, 0.1]], 0.5 + 0.5 * 2 / 3),
        ([True, True], [[*FACE, 0.9], [*FACE, 0.5], [*OTHER, 0.1]], 0.5 + 0.5 * 2 / 3),
        ([True, False], [[*OTHER, 0.9], [*OTHER, 0.8], [*FACE, 0.1]], 1.0),
        ([False, True], [[*FAR, 0.9], [*OTHER, 0.9]], 0.5),
        ([True, True], [], 0.0),
        ([True, True], [[*FACE, 0.5], [*OTHER, 0.5]], 1.0),
    ],
    ids=["both", "one", "false alarm", "twice", "ignored", "tie", "nothing", "one score"],
)
def test_small_cases(counted, rows, expected):
    curve = evaluate([FACE, OTHER], counted, rows).curve("all")
    assert curve.average_precision == pytest.approx(expected, abs=1e-12)
    assert curve.faces == sum(counted)


def test_a_box_takes_the_face_it_overlaps_most_and_no_second_choice():
    faces = [[0.0, 0, 9, 9], [2.0, 0, 9, 9]]
    rows = [[0.0, 0, 9, 9, 0.9], [0.0, 0, 9, 9, 0.8]]
    curve = evaluate(faces, [True, True], rows).curve("all")
    assert curve.recall[-1] == 0.5


def test_boxes_in_images_without_faces_do_not_count():
    faces = np.array([FACE])
    empty = (np.zeros((0, 4)), np.zeros(0, bool), [[*FAR, 1.0]])
    truth, predictions = as_truth([empty, (faces, np.array([True]), [[*FACE, 0.5], [*FAR, 0.0]])])
    curve = match(truth, predictions).curve("all")
    assert curve.average_precision == 1.0
    assert curve.precision[0] == 0, "yet its score sets the scale"


def test_curve():
    rows = [[*FACE, 0.8], [*FAR, 0.5], [*OTHER, 0.3]]
    curve = evaluate([FACE, OTHER], [True, True], rows).curve("all")
    assert len(curve.threshold) == len(curve.precision) == len(curve.recall) == 1000
    assert math.isclose(curve.threshold[-1], 0.3)
    assert (np.diff(curve.threshold) < 0).all()
    for threshold, precision, recall in ((0.7, 1, 0.5), (0.45, 0.5, 0.5), (0.3, 2 / 3, 1)):
        row = np.argmax(curve.threshold <= threshold + 1e-9)
        assert (curve.precision[row], curve.recall[row]) == (pytest.approx(precision), recall)


def test_a_thinned_curve_keeps_its_ends():
    recall = np.linspace(0.1, 0.9, 1000)
    curve = Curve(np.linspace(1, 0, 1000), 1 - recall / 2, recall, 10)
    thin = curve.thinned(11)
    assert len(thin.recall) == 11
    assert (thin.recall[0], thin.recall[-1]) == (0.1, 0.9)
    assert thin.faces == 10
    flat = Curve(np.linspace(1, 0, 1000), np.zeros(1000), np.zeros(1000), 10).thinned(11)
    assert flat.recall.tolist() == [0]


def test_misses_and_false_alarms():
    tall, low, ignored = [0.0, 0, 10, 50], [100.0, 0, 40, 20], [300.0, 0, 99, 99]
    rows = [[*FAR, 0.9], [*OTHER, 0.8], [*OTHER, 0.7], [*ignored, 0.6], [*FAR, 0.5]]
    found = evaluate([tall, OTHER, low, ignored], [True, True, True, False], rows)
    assert [case.box.tolist() for case in found.misses("all", 5)] == [tall, low]
    assert [case.score for case in found.misses("all", 1)] == [None]
    alarms = found.false_alarms("all", 5)
    assert [(case.box.tolist(), case.score) for case in alarms] == [
        (FAR, 0.9),
        (OTHER, 0.7),
        (FAR, 0.5),
    ]
    assert len(found.false_alarms("all", 1)) == 1
    assert {case.image for case in alarms} == {"e/0"}


@pytest.mark.shared
def test_the_official_figures(shared):
    folder = shared / "data" / "widerface"
    truth = read_ground_truth(folder)
    path = folder / "retinaface_mobilenet025_val_predictions.zip"
    matches = match(truth, read_predictions(path, truth.images))
    found = {subset: matches.curve(subset).average_precision for subset in truth.counted}
    assert found == pytest.approx(
        {"easy": 0.9069584244, "medium": 0.8815790551, "hard": 0.7382863255}, abs=1e-9
    )
