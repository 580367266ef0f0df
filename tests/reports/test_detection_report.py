"""The report of a detector: figures and curves of subsets, misses and false alarms."""

import csv

import numpy as np
import pytest

from mindface.reports import write_report
from mindface.reports.figures import figures, leading

PRECISIONS = {"easy": 0.9069, "medium": 0.8816, "hard": 0.7383}


def run(model: str = "retinaface") -> dict:
    recall = np.linspace(0, 0.9, 20).tolist()
    curves = {
        subset: {"average_precision": value, "recall": recall, "precision": [value] * 20}
        for subset, value in PRECISIONS.items()
    }
    return {
        "task": "detection",
        "protocol": "WIDER FACE",
        "model": model,
        "licence": None,
        "photos": 3226,
        "precision_recall": curves,
        "worst": {
            "misses": [{"a": f"e/a [{i} 0 9 9]", "score": None} for i in range(30)],
            "false_alarms": [{"a": "e/b [1 2 3 4]", "score": 0.75}],
        },
        "manifest": {"scales": {"policy": "mxnet"}},
    }


def test_figures():
    found = figures(run())
    assert [(figure.title, figure.value) for figure in found] == [
        (f"Average precision, {subset}", value) for subset, value in PRECISIONS.items()
    ]
    assert leading(run()) == found


def test_page_and_files(tmp_path):
    shown = []
    page = write_report([run()], tmp_path, crop=shown.append).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        "index.html",
        "figures.csv",
        "precision_recall.png",
    }
    for text in ("Average precision, hard", "73.83%", "3,226", "easy 90.69%", "mxnet"):
        assert text in page
    assert shown == [f"e/a [{i} 0 9 9]" for i in range(20)] + ["e/b [1 2 3 4]"]
    assert page.count("no face</span>") == 21
    assert "0.750" in page
    assert "TAR" not in page
    assert "Worst pairs" not in page
    rows = list(csv.DictReader((tmp_path / "figures.csv").read_text().splitlines()))
    assert [(row["name"], float(row["value"])) for row in rows] == [
        (f"average_precision_{subset}", value) for subset, value in PRECISIONS.items()
    ]


@pytest.mark.parametrize("models", [("a", "b"), ("a", "a")])
def test_two_detectors_side_by_side(tmp_path, models):
    page = write_report([run(model) for model in models], tmp_path, crop=lambda name: None)
    assert page.read_text().count("<svg") == 2
