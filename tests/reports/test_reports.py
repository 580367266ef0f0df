"""The files of a report, and what stands in its page."""

import base64
import csv
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import example
from hypothesis import example as example_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mindface import golden
from mindface.errors import MissingExtraError
from mindface.reports import plots, write_report

FACES = golden.crops("arcface_112x112")
VOID = {"img", "meta", "link", "br"}
EVERY_FILE = {
    "index.html",
    "roc.png",
    "det.png",
    "histogram.png",
    "curve.csv",
    "figures.csv",
}
HOSTILE = "<script>alert('1')</script>\"><img src=http://x.invalid>&amp;"


def face(name: str) -> np.ndarray:
    return FACES[len(name) % 4]


class Page(HTMLParser):
    """A page taken apart; fails where elements are not closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.bare: list[str] = []  # sections that hold no more than their heading
        self._open: list[list[Any]] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs))
        self.tags.append((tag, dict(attrs)))
        if self._open:
            self._open[-1][1] += 1
        if tag not in VOID:
            self._open.append([tag, 0])

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        name, children = self._open.pop()
        assert name == tag
        if tag == "section" and children < 2:
            self.bare.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def headings(self) -> list[str]:
        return [word for word in self.words if word in SECTIONS]


SECTIONS = {
    "Figures",
    "Error rates",
    "Scores",
    "Quality",
    "Groups of people",
    "Worst pairs",
    "Skipped photos",
    "How it was measured",
}


def written(folder: Path, *runs: dict[str, Any]) -> Page:
    return Page(write_report(runs, folder, crop=face).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of two runs."""
    folder = tmp_path_factory.mktemp("report") / "made" / "here"
    write_report([example(), example("mobilefacenet", 1, 0.45)], folder, crop=face)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def test_files_are_written_whole(folder: Path):
    assert {path.name for path in folder.iterdir()} == EVERY_FILE
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            image.load()
            assert image.width > 800
            assert len(image.convert("L").getcolors()) > 10


def test_the_page_stands_alone(page: Page):
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data")
    ]
    assert links
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object")]
    assert "@import" not in page.text
    policy = [each["content"] for each in page.named("meta") if "http-equiv" in each]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_ids_are_unique_and_references_lead_somewhere(page: Page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 50
    values = [value for _, attributes in page.tags for value in attributes.values() if value]
    used = {value[1:] for value in values if value.startswith("#")}
    used |= {part.split(")")[0] for value in values for part in value.split("url(#")[1:]}
    assert used <= set(ids)


def test_headings_go_down_step_by_step(page: Page):
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.named("html") == [{"lang": "en"}]


def test_every_picture_says_what_it_shows(page: Page):
    assert all(attributes["alt"] for attributes in page.named("img"))
    drawn = page.named("svg")
    assert len(drawn) == 7  # one a plot, and where a run has its own, one a run
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in drawn)


def test_every_section_is_there_and_none_is_empty(page: Page):
    assert set(page.headings()) == SECTIONS
    assert not page.bare


def test_figures_stand_with_their_intervals(tmp_path: Path):
    point = {"tar": 0.98, "low": 0.97, "high": 0.99, "threshold": 0.3104}
    point |= {"fmr_low": 0.008, "fmr_high": 0.0125}
    run = {
        "model": "m",
        "accuracy_mean": 0.971,
        "accuracy_std": 0.004,
        "tar_at_far": {"1e-2": point, "1e-6": None},
        "auc": 0.998,
        "eer": 0.012,
        "pairs": 8660003,
        "failure_to_acquire": {"photos": 4163, "failed": 12, "rate": 12 / 4163},
    }
    text = written(tmp_path, run).text
    for part in (
        "TAR at FMR 10⁻²",
        "98.00%",
        "97.00% to 99.00%",
        "threshold 0.310",
        "FMR 0.80% to 1.25%",
        "TAR at FMR 10⁻⁶",
        "too few people",
        "± 0.40% over folds",
        "0.99800",
        "1.20%",
        "8,660,003",
        "12 of 4,163 (0.29%)",
    ):
        assert part in text
    assert list(csv.DictReader(io.StringIO((tmp_path / "figures.csv").read_text())))[1] == {
        "run": "m",
        "name": "tar",
        "photos": "all",
        "at_fmr": "1e-2",
        "value": "0.98",
        "low": "0.97",
        "high": "0.99",
        "std": "",
        "threshold": "0.3104",
        "fmr_low": "0.008",
        "fmr_high": "0.0125",
    }


def test_the_curve_is_a_table_too(tmp_path: Path):
    curve = {"fmr": [0.0, 0.25, 1.0], "tar": [0.5, 0.75, 1.0], "threshold": [0.9, 0.5, -1.0]}
    written(tmp_path, {"model": "a", "curve": curve}, {"model": "b", "eer": 0.1})
    assert (tmp_path / "curve.csv").read_text(encoding="utf-8") == (
        "run,threshold,fmr,tar\na,0.9,0.0,0.5\na,0.5,0.25,0.75\na,-1.0,1.0,1.0\n"
    )


@pytest.mark.parametrize(
    ("field", "gone", "files"),
    [
        ("curve", set(), {"roc.png", "det.png", "curve.csv"}),
        ("band", set(), set()),
        ("histogram", {"Scores"}, {"histogram.png"}),
        ("discard", {"Quality"}, set()),
        ("cmc", set(), set()),
        ("groups", {"Groups of people"}, set()),
        ("worst", {"Worst pairs"}, set()),
        ("skipped", {"Skipped photos"}, set()),
        ("manifest", {"How it was measured"}, set()),
        ("tar_at_far", set(), set()),
        ("without_failures", set(), set()),
        ("failure_to_acquire", set(), set()),
        ("model", set(), set()),
        ("task", set(), set()),
    ],
)
@pytest.mark.parametrize("absence", ["absent", "none", "empty"])
def test_what_is_absent_leaves_no_trace(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    field: str,
    gone: set[str],
    files: set[str],
    absence: str,
):
    blank = plots.Plot("title", "reading", ["<svg></svg>"], b"png")
    monkeypatch.setattr(plots, "_plot", lambda *_: blank)  # drawing takes a second
    run = example()
    if absence == "absent":
        del run[field]
    else:
        run[field] = None if absence == "none" else type(run[field])()
    page = written(tmp_path, run)
    assert set(page.headings()) == SECTIONS - gone
    assert not page.bare
    assert {path.name for path in tmp_path.iterdir()} == EVERY_FILE - files


def test_a_run_without_anything_is_a_heading(tmp_path: Path):
    page = written(tmp_path, {})
    assert page.headings() == []
    assert [tag for tag, _ in page.tags if tag in ("section", "table", "ul", "h1")] == ["h1"]
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "figures.csv"}


def hostile() -> dict[str, Any]:
    """A run with markup wherever text may stand."""
    run = example(HOSTILE)
    run |= {"protocol": HOSTILE, "licence": HOSTILE, "task": HOSTILE}
    run["skipped"] = [{"path": HOSTILE, "reason": HOSTILE}]
    run["groups"]["rows"][0] |= {"group": HOSTILE, "warning": HOSTILE}
    run["discard"][0]["score"] = HOSTILE
    run["worst"]["false_matches"] = [{"a": HOSTILE, "b": HOSTILE, "score": 0.5}]
    run["manifest"] = {HOSTILE: [HOSTILE]}
    return run


def test_markup_in_a_name_stays_text(tmp_path: Path):
    page = written(tmp_path, hostile(), example())
    assert not page.named("script")
    assert page.text.count(HOSTILE) >= 12
    assert {each["src"][:16] for each in page.named("img")} == {"data:image/jpeg;"}
    assert f"Face in {HOSTILE}" in {each["alt"] for each in page.named("img")}


@settings(max_examples=40, deadline=None)
@example_of("\udcff")
@given(st.text(max_size=30))
def test_any_text_may_stand_anywhere(tmp_path_factory: pytest.TempPathFactory, name: str):
    run = {
        "model": name,
        "skipped": [{"path": name, "reason": name}],
        "worst": {"false_matches": [{"a": name, "b": "b", "score": 0.5}]},
        "manifest": {"name": name},
    }
    page = written(tmp_path_factory.mktemp("any"), run)
    assert set(page.headings()) >= {"Worst pairs", "Skipped photos", "How it was measured"}
    assert len(page.named("img")) == 2


NAMES = [
    'model #0072b2 id="',
    "$x_1^{$",
    "_hidden",
    "人脸识别",
    "two\nlines\x00",
    "\udcff",
    "a" * 90,
]


def test_any_name_may_stand_in_a_plot():
    curve = {"fmr": [0.01, 1.0], "tar": [0.5, 1.0]}
    plot = plots.roc([{"model": name, "curve": curve} for name in NAMES])
    words = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svgs[0])
    for text in (
        NAMES[0],
        "$x_1^{$",
        "\u200b_hidden",
        "人脸识别",
        "two lines",
        "a" * 16 + "…" + "a" * 17,
    ):
        assert text in words


def test_faces_are_the_crops(tmp_path: Path):
    asked = []

    def crop(name: str) -> np.ndarray | None:
        asked.append(name)
        return None if name == "gone" else FACES[0]

    pairs = [{"a": "here", "b": "gone", "score": 0.71}] * 30
    run = {"model": "m", "worst": {"false_matches": pairs, "false_non_matches": pairs}}
    page = Page(write_report([run], tmp_path, crop=crop).read_text(encoding="utf-8"))
    images = page.named("img")
    assert sorted(asked) == ["gone", "here"]
    assert len(images) == 40
    assert page.text.count("no face") == 40
    assert page.text.count("0.710") == 40
    data = base64.b64decode(images[0]["src"].split(",")[1])
    shown = np.asarray(Image.open(io.BytesIO(data)))
    assert shown.shape == FACES[0].shape
    assert np.abs(shown.astype(int) - FACES[0]).mean() < 4


def test_runs_of_one_model_are_told_apart(tmp_path: Path):
    runs = [{"model": "m", "protocol": protocol, "eer": 0.1} for protocol in ("folder", "pairs")]
    assert "m, folder, m, pairs" in written(tmp_path, *runs).text


def test_the_same_runs_make_the_same_files(tmp_path: Path, folder: Path):
    write_report([example(), example("mobilefacenet", 1, 0.45)], tmp_path, crop=face)
    for name in EVERY_FILE:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_no_runs_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one evaluation"):
        write_report([], tmp_path / "new", crop=face)
    assert not (tmp_path / "new").exists()


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"mindface\[evaluate\]"):
        write_report([example()], tmp_path / "new", crop=face)
    assert not (tmp_path / "new").exists()


def test_a_failure_leaves_an_earlier_report_as_it_was(tmp_path: Path):
    written(tmp_path, {"model": "first", "eer": 0.1})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(name: str) -> np.ndarray | None:
        raise OSError("the photo is gone")

    run = {"model": "second", "eer": 0.2, "worst": example()["worst"]}
    with pytest.raises(OSError, match="the photo is gone"):
        write_report([run], tmp_path, crop=broken)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_that_cannot_be_replaced_leaves_no_rest(tmp_path: Path):
    (tmp_path / "index.html").mkdir()
    with pytest.raises(OSError, match=r"index\.html"):
        write_report([{"model": "m", "eer": 0.1}], tmp_path, crop=face)
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "figures.csv"}


def test_matplotlib_is_imported_late_and_its_state_left_alone(tmp_path: Path):
    code = """if True:
        import sys
        from pathlib import Path
        from mindface.reports import write_report
        assert "matplotlib" not in sys.modules
        import matplotlib
        names = "font.size", "svg.fonttype", "text.parse_math", "axes.grid"
        before = [matplotlib.rcParams[name] for name in names]
        curve = {"fmr": [0.1, 1], "tar": [0.9, 1], "threshold": [0.5, -1]}
        write_report([{"curve": curve}], Path(sys.argv[1]), crop=lambda name: None)
        assert [matplotlib.rcParams[name] for name in names] == before
        assert "matplotlib.pyplot" not in sys.modules
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
