"""The page of a report, section by section; a section without content is left out."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mindface.reports.figures import (
    Figure,
    Run,
    between,
    figures,
    labels,
    leading,
    percent,
)
from mindface.reports.markup import Markup, element, join, scrolling, table
from mindface.reports.plots import SERIES, Plot

Crop = Callable[[str], NDArray[np.uint8] | None]

# Nothing is fetched and no script is run, whatever the page should hold.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_SHOWN = 20  # pairs on a contact sheet
_HEADINGS = {
    "precision_recall": "Precision and recall",
    "histogram": "Scores",
    "discard": "Quality",
}


def page(runs: Sequence[Run], plots: Mapping[str, Plot], crop: Crop) -> str:
    """The whole page.

    Args:
        runs: at least one.
        plots: those there are, of `roc`, `det`, `histogram`, `precision_recall`, `cmc`, `discard`.
        crop: the face by its name in `worst`.
    """
    names = labels(runs)
    named = list(zip(names, runs, strict=True))
    title = ", ".join(names) if len(names) <= 3 else f"{len(names)} runs compared"
    style = files("mindface.reports").joinpath("report.css").read_text(encoding="utf-8")
    curves = [plots[name] for name in ("roc", "det", "cmc") if name in plots]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{title}: evaluation"),
        element("style", Markup(style)),
    )
    main = element(
        "main",
        _header(title, named),
        _section("Figures", _figures(named)),
        _section("Error rates", _plots(curves)),
        *(
            _section(heading, _plots([plots[name]] if name in plots else []))
            for name, heading in _HEADINGS.items()
        ),
        _section("Groups of people", join(_groups(*each) for each in named)),
        _section("Worst pairs", _worst(named, crop, _PAIRS)),
        _section("Misses and false alarms", _worst(named, crop, _DETECTIONS)),
        _section("Skipped photos", join(_skipped(*each) for each in named)),
        _section("How it was measured", join(_manifest(*each) for each in named)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', main), lang='en')}\n"


def _section(title: str, content: Markup) -> Markup:
    return element("section", element("h2", title), content) if content else Markup()


def _header(title: str, named: Sequence[tuple[str, Run]]) -> Markup:
    kinds = (" · ".join(filter(None, (run.get("task"), run.get("protocol")))) for _, run in named)
    kind = ", ".join(dict.fromkeys(filter(None, kinds)))
    cards = join(_card(i, *each, alone=len(named) == 1) for i, each in enumerate(named))
    return element(
        "header",
        element("p", kind, class_="kind") if kind else "",
        element("h1", title),
        element("ul", cards, class_="runs") if cards else "",
    )


def _card(index: int, label: str, run: Run, alone: bool) -> Markup:
    best = leading(run)
    if not best:
        return Markup()
    swatch = element("span", class_=f"swatch series-{index % len(SERIES) + 1}", aria_hidden="true")
    parts = (
        element("div", element("dt", figure.title), element("dd", _cell(figure, "threshold")))
        for figure in best
    )
    heading = "" if alone else element("p", swatch, label, class_="run")
    return element("li", heading, element("dl", *parts))


def _cell(figure: Figure, *without: str) -> Markup:
    """A figure, its interval, and what its threshold does."""
    if figure.value is None:
        return element("span", "too few people", class_="note")
    value = f"{figure.value:.5f}" if figure.name == "auc" else percent(figure.value)
    spread = between(figure.low, figure.high)
    if figure.std is not None:
        spread = f"± {percent(figure.std)} over folds"
    notes = [spread]
    if figure.threshold is not None and "threshold" not in without:
        notes.append(f"threshold {figure.threshold:.3f}")
        if rates := between(figure.fmr_low, figure.fmr_high):
            notes.append(f"FMR {rates}")
    return join(
        [
            element("span", value, class_="value"),
            *(element("span", note, class_="note") for note in notes if note),
        ]
    )


def _figures(named: Sequence[tuple[str, Run]]) -> Markup:
    """All figures, runs side by side; a heading over each kind of rows."""
    measured = [
        {
            (figure.photos, figure.title): figure
            for figure in figures(run)
            if figure.name != "failure_to_acquire"  # stands among the facts
        }
        for _, run in named
    ]
    keys = dict.fromkeys(key for run in measured for key in run)
    bodies = [_body("What was measured", _facts([run for _, run in named]))]
    for photos, title in (
        ("labelled", "Labelled faces"),
        ("all", "All pairs"),
        ("without failures", "Pairs with both faces found"),
    ):
        rows = [
            (name, [_cell(run[kind, name]) if (kind, name) in run else "" for run in measured])
            for kind, name in keys
            if kind == photos
        ]
        bodies.append(_body(title, rows))
    if not (content := join(bodies)):
        return content
    heads = (element("th", label, scope="col") for label, _ in named)
    thead = element("thead", element("tr", element("td"), *heads))
    return join(
        [
            scrolling("Figures of the runs", element("table", thead, content, class_="figures")),
            element("p", *_notes([run for _, run in named]), class_="reading"),
        ]
    )


def _body(title: str, rows: Sequence[tuple[str, Sequence[str]]]) -> Markup:
    if not rows:
        return Markup()
    head = element("th", title, scope="rowgroup", colspan=str(len(rows[0][1]) + 1))
    lines = (
        element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells))
        for name, cells in rows
    )
    return element("tbody", element("tr", head, class_="part"), *lines)


def _notes(runs: Sequence[Run]) -> list[str]:
    detectors = [bool(run.get("precision_recall")) for run in runs]
    return [_DETECTION_NOTE] * any(detectors) + [_NOTE] * (not all(detectors))


_DETECTION_NOTE = (
    "Average precision is the area below the curve of precision over recall, by the protocol of "
    "WIDER FACE. "
)
_NOTE = (
    "TAR is the share of genuine pairs that match, FMR the share of impostor pairs that do. "
    "Intervals are at 95%. A photo without a face found matches nobody. An FMR can be measured "
    "where the pairs of different people are at least three times its inverse."
)
_FACTS = {
    "task": "Task",
    "protocol": "Protocol",
    "licence": "Licence of the model",
    "people": "People",
    "photos": "Photos",
    "pairs": "Pairs of photos",
    "genuine": "Pairs of one person",
    "impostor": "Pairs of strangers",
    "people_pairs": "Pairs of different people",
}


def _facts(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    rows = [
        (title, [_fact(run.get(key)) for run in runs])
        for key, title in _FACTS.items()
        if any(run.get(key) is not None for run in runs)
    ]
    failures = [run.get("failure_to_acquire") for run in runs]
    if any(failures):
        cells = [_failed(each) if each else "" for each in failures]
        rows.append(("Photos without a face found", cells))
    return rows


def _failed(failures: Mapping[str, Any]) -> str:
    return f"{failures['failed']:,} of {failures['photos']:,} ({percent(failures['rate'])})"


def _fact(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def _plots(plots: Sequence[Plot]) -> Markup:
    drawn = join(
        element(
            "figure",
            element("h3", plot.title) if len(plots) > 1 else "",
            element("div", *map(Markup, plot.svgs), class_="panels"),
            element("figcaption", plot.reading),
        )
        for plot in plots
    )
    return element("div", drawn, class_="plots") if drawn else drawn


def _groups(label: str, run: Run) -> Markup:
    groups = run.get("groups")
    if not groups or not groups["rows"]:
        return Markup()
    rows = [
        (
            str(row["group"]),
            _rate(row, "fmr"),
            _rate(row, "fnmr"),
            _fact(row.get("pairs")),
            str(row.get("warning") or ""),
        )
        for row in groups["rows"]
    ]
    threshold = groups.get("threshold")
    caption = label if threshold is None else f"{label}, threshold {threshold:.3f}"
    return table(caption, ("Group", "FMR", "FNMR", "Pairs", "Note"), rows)


def _rate(row: Mapping[str, Any], name: str) -> Markup:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return _cell(Figure(name, value=row.get(name), low=low, high=high))


_PAIRS = {
    "false_matches": (
        "false matches",
        "Strangers with the highest scores. Look for wrong labels first.",
    ),
    "false_non_matches": ("false non-matches", "Photos of one person with the lowest scores."),
}
_DETECTIONS = {
    "misses": ("misses", "Faces on which no box lies, the tallest first."),
    "false_alarms": (
        "false alarms",
        "Boxes on no face, or on one that a better box found, with the highest scores. Look for "
        "faces without a label first.",
    ),
}


def _worst(
    named: Sequence[tuple[str, Run]], crop: Crop, kinds: Mapping[str, tuple[str, str]]
) -> Markup:
    @cache
    def face(name: str) -> Markup:
        return _face(name, crop(name))

    return join(
        _sheet(f"{label}: {title}", reading, (run.get("worst") or {}).get(key) or [], face)
        for label, run in named
        for key, (title, reading) in kinds.items()
    )


def _sheet(
    title: str, reading: str, cases: Sequence[Mapping[str, Any]], face: Callable[[str], Markup]
) -> Markup:
    if not cases:
        return Markup()
    items = (
        _case([case[key] for key in "ab" if key in case], case["score"], face)
        for case in cases[:_SHOWN]
    )
    return element(
        "section",
        element("h3", title),
        element("p", reading, class_="reading"),
        element("ol", *items, class_="sheet"),
        class_="whole",
    )


def _case(names: Sequence[str], score: float | None, face: Callable[[str], Markup]) -> Markup:
    """A pair of faces, or one, with the score, if there is one, and their names."""
    return element(
        "li",
        element("div", *map(face, names), class_="pair"),
        "" if score is None else element("span", f"{score:.3f}", class_="value"),
        *(element("span", name, class_="note") for name in names),
    )


def _face(name: str, pixels: NDArray[np.uint8] | None) -> Markup:
    if pixels is None:
        return element("span", "no face", class_="missing")
    data = BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=85)
    source = f"data:image/jpeg;base64,{b64encode(data.getvalue()).decode()}"
    height, width = pixels.shape[:2]
    return element("img", src=source, alt=f"Face in {name}", width=str(width), height=str(height))


def _skipped(label: str, run: Run) -> Markup:
    skipped = run.get("skipped")
    if not skipped:
        return Markup()
    rows = [(str(each["path"]), str(each["reason"])) for each in skipped]
    count = f"{label}: {len(rows):,} {'photo' if len(rows) == 1 else 'photos'}"
    return _folded(count, table("Skipped photos", ("Photo", "Reason"), rows))


def _manifest(label: str, run: Run) -> Markup:
    if not run.get("manifest"):
        return Markup()
    text = json.dumps(run["manifest"], indent=2, ensure_ascii=False)
    return _folded(label, scrolling("Manifest", element("pre", text)))


def _folded(summary: str, content: Markup) -> Markup:
    return element("details", element("summary", summary), content)
