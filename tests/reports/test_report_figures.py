"""How figures are chosen and written, and whether they can be read."""

import re
from importlib.resources import files

import pytest

from mindface.reports.figures import between, figures, labels, leading, percent, power
from mindface.reports.markup import Markup, element, join
from mindface.reports.plots import SERIES


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.00%"),
        (1, "100.00%"),
        (0.97126, "97.13%"),
        (0.001, "0.10%"),
        (0.0008, "0.08%"),
        (0.000123, "0.012%"),
        (1.2e-6, "0.00012%"),
    ],
)
def test_percent(share: float, text: str):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(1e-6, "10⁻⁶"), (1e-3, "10⁻³"), (0.1, "10⁻¹"), (1, "1"), (10, "10¹"), (3e-4, "0.0003")],
)
def test_power(rate: float, text: str):
    assert power(rate) == text


def test_an_interval_needs_both_ends():
    assert between(0.1, 0.25) == "10.00% to 25.00%"
    assert between(None, 0.2) == between(0.1, None) == ""


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("a", "x"), ("b", "x")], ["a", "b"]),
        ([("a", "x"), ("a", "y")], ["a, x", "a, y"]),
        ([("a", "x"), ("a", "x")], ["a, x (1)", "a, x (2)"]),
        ([("a", None), ("a", None)], ["a (1)", "a (2)"]),
        ([(None, "x"), ("b", "x")], ["run 1", "b"]),
        ([("a\n b\x00", "x")], ["a b"]),
    ],
)
def test_labels_tell_runs_apart(runs: list[tuple[str, str]], expected: list[str]):
    assert labels([{"model": model, "protocol": protocol} for model, protocol in runs]) == expected


def point(tar: float) -> dict[str, float]:
    return {"tar": tar, "low": tar, "high": tar, "threshold": 0.5}


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({}, []),
        ({"eer": 0.1}, ["Equal error rate"]),
        ({"accuracy_mean": 0.9, "eer": 0.1}, ["Accuracy", "Equal error rate"]),
        (
            {"tar_at_far": {"1e-2": point(0.9), "1e-4": point(0.7), "1e-3": point(0.8)}},
            ["TAR at FMR 10⁻³", "TAR at FMR 10⁻⁴"],
        ),
        (
            {"tar_at_far": {"1e-2": point(0.9), "1e-6": None}, "eer": 0.1, "accuracy_mean": 0.9},
            ["Accuracy", "TAR at FMR 10⁻²", "Equal error rate"],
        ),
        ({"cmc": {"rank": [1, 2], "share": [0.9, 0.95]}}, ["Found at rank 1"]),
        ({"without_failures": {"eer": 0.1}}, []),
    ],
)
def test_the_leading_figures(run: dict, expected: list[str]):
    assert [figure.title for figure in leading(run)] == expected


def test_figures_without_failures_come_last():
    run = {"eer": 0.1, "auc": 0.9, "without_failures": {"eer": 0.05}}
    assert [(figure.name, figure.photos, figure.value) for figure in figures(run)] == [
        ("auc", "all", 0.9),
        ("eer", "all", 0.1),
        ("eer", "without failures", 0.05),
    ]


def test_text_is_escaped_once():
    inner = element("b", "a < b & c")
    assert inner == "<b>a &lt; b &amp; c</b>"
    assert element("p", inner, '"', class_="x", aria_label='"<') == (
        '<p class="x" aria-label="&quot;&lt;"><b>a &lt; b &amp; c</b>"</p>'
    )
    assert join(["<", Markup("<br>")]) == "&lt;<br>"
    assert element("img", src="#") == '<img src="#">'


def themes() -> list[dict[str, str]]:
    """The colours of the page in the light and in the dark."""
    style = files("mindface.reports").joinpath("report.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio" and "relative luminance"."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_everything_stands_out(theme: int):
    colors = themes()[theme]
    for text in ("ink", "quiet"):
        for ground in ("paper", "shade"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    for line in ("impostor", *(f"series-{i}" for i in range(1, len(SERIES) + 1))):
        assert contrast(colors[line], colors["paper"]) >= 3, line


def test_plots_and_page_have_the_same_colours():
    light, dark = themes()
    assert [light[f"series-{i}"] for i in range(1, len(SERIES) + 1)] == SERIES
    assert set(light) == set(dark)
