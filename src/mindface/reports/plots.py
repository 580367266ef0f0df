"""The plots of a report: as SVG that takes its colours from the page, and as PNG.

Colours are told apart by colour-blind readers (after Okabe and Ito, "Color universal design",
2008, darkened until they stand out on white by 3 : 1), and lines differ in their dashes too.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import MissingExtraError
from mindface.reports.figures import Run, labels, percent, power, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Draw = Callable[[Axes], None]

SERIES = ["#0072b2", "#c44e00", "#00805e", "#a8498c", "#866400", "#4f5357"]
"""Colours of the runs in this order, then again; `report.css` gives each for the dark."""

_INK, _GRID, _IMPOSTOR, _PAPER = "#1c2024", "#dcdfe3", "#767c85", "#ffffff"
_VARIABLES = {color: f"var(--series-{i})" for i, color in enumerate(SERIES, 1)} | {
    _INK: "var(--ink)",
    _GRID: "var(--line)",
    _IMPOSTOR: "var(--impostor)",
    _PAPER: "var(--paper)",
}
_DASHES: list[Any] = ["-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))]
_WIDTH, _HEIGHT = 4.6, 3.5  # inches; 331 units wide in the SVG, about the width of a phone
_FLOOR = 1e-6  # the least rate on a logarithmic axis
_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": _INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.facecolor": _PAPER,
    "font.family": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "legend.edgecolor": "none",
    "legend.facecolor": _PAPER,
    "legend.fontsize": 9,
    "legend.framealpha": 0.85,
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",
    "svg.hashsalt": "mindface",
    "text.color": _INK,
    "text.parse_math": False,
    "xtick.color": _INK,
    "xtick.minor.bottom": False,
    "ytick.color": _INK,
    "ytick.minor.left": False,
}


class Plot(NamedTuple):
    """A plot.

    Attributes:
        title: a short heading.
        reading: how to read it.
        svgs: an `svg` element for each panel, with ids that no other has.
        png: all panels, one below the other, as a PNG file on white.
    """

    title: str
    reading: str
    svgs: list[str]
    png: bytes


def roc(runs: Sequence[Run]) -> Plot | None:
    """TAR over FMR; None where no run has a curve."""
    drawn = _with(runs, "curve")

    def draw(axes: Axes) -> None:
        lowest = 1.0
        for run, label, index in drawn:
            fmr, tar = _column(run["curve"], "fmr"), _column(run["curve"], "tar")
            seen = fmr >= _FLOOR
            _line(axes, index, fmr[seen], tar[seen], label)
            _band(axes, index, run, lambda tar: tar)
            lowest = min(lowest, float(tar[seen].min(initial=1)))
        _rate_axis(axes)
        axes.set_ylim(max(0, np.floor((lowest - 0.02) * 10) / 10), 1.002)
        axes.set_ylabel("True accept rate (TAR)")
        axes.legend(loc="lower right")

    reading = (
        "The share of genuine pairs that match, over the share of impostor pairs that match: "
        "higher is better." + _shade(drawn)
    )
    return _plot("roc", "ROC", reading, [draw]) if drawn else None


def det(runs: Sequence[Run]) -> Plot | None:
    """FNMR over FMR, both logarithmic; None where no run has a curve."""
    drawn = _with(runs, "curve")

    def draw(axes: Axes) -> None:
        least = 0.1
        for run, label, index in drawn:
            fmr, fnmr = _column(run["curve"], "fmr"), 1 - _column(run["curve"], "tar")
            seen = (fmr >= _FLOOR) & (fnmr > _FLOOR)
            _line(axes, index, fmr[seen], fnmr[seen], label)
            _band(axes, index, run, lambda tar: np.maximum(1 - tar, _FLOOR))
            least = min(least, float(fnmr[seen].min(initial=1)))
        _rate_axis(axes)
        axes.set_yscale("log")
        axes.set_ylim(10 ** np.floor(np.log10(least)), 1)
        axes.yaxis.set_major_formatter(lambda rate, _: power(rate))
        axes.yaxis.set_minor_formatter("")
        axes.set_ylabel("False non-match rate (FNMR)")
        axes.legend(loc="lower left")

    reading = (
        "The two errors against each other: the share of genuine pairs that do not match, over "
        "the share of impostor pairs that do. Lower is better." + _shade(drawn)
    )
    return _plot("det", "DET", reading, [draw]) if drawn else None


def histogram(runs: Sequence[Run]) -> Plot | None:
    """Densities of genuine and impostor scores, a panel a run, with the thresholds."""
    drawn = _with(runs, "histogram")

    def panel(run: Run, label: str, index: int) -> Draw:
        def draw(axes: Axes) -> None:
            edges = _column(run["histogram"], "edges")
            color = SERIES[index % len(SERIES)]
            seen = np.zeros(len(edges), bool)
            for name, shade, dash in (("impostor", _IMPOSTOR, "--"), ("genuine", color, "-")):
                counts = _column(run["histogram"], name)
                seen[:-1] |= counts > 0
                density = counts / max(counts.sum(), 1) / np.diff(edges)
                axes.stairs(density, edges, fill=True, color=shade, alpha=0.3, linewidth=0)
                axes.stairs(density, edges, color=shade, label=name, linestyle=dash, baseline=None)
            seen[1:] |= seen[:-1]
            if seen.any():
                axes.set_xlim(edges[seen][0], edges[seen][-1])
            axes.set_ylim(bottom=0)
            _thresholds(axes, run)
            axes.set_xlabel("Score (cosine)")
            axes.set_ylabel("Density")
            axes.set_title(_short(label), pad=30)
            axes.legend(loc="best")

        return draw

    reading = (
        "How the scores of genuine and of impostor pairs are spread, each with an area of 1. "
        "Upright lines are thresholds, with the false match rate that each was set for."
    )
    panels = [panel(*each) for each in drawn]
    return _plot("histogram", "Scores", reading, panels) if panels else None


def cmc(runs: Sequence[Run]) -> Plot | None:
    """The share of searches that find the person, over rank; None where no run has it."""
    drawn = _with(runs, "cmc")

    def draw(axes: Axes) -> None:
        for run, label, index in drawn:
            _line(axes, index, _column(run["cmc"], "rank"), _column(run["cmc"], "share"), label)
        axes.locator_params(axis="x", integer=True)
        axes.set_ylim(top=1.002)
        axes.set_xlabel("Rank")
        axes.set_ylabel("Share found")
        axes.legend(loc="lower right")

    reading = "The share of searches in which the right person is among the first so many."
    return _plot("cmc", "CMC", reading, [draw]) if drawn else None


def discard(runs: Sequence[Run]) -> Plot | None:
    """FNMR over the share of photos left out, worst first; a panel a run, a line a score."""
    drawn = _with(runs, "discard")

    def panel(run: Run, label: str) -> Draw:
        def draw(axes: Axes) -> None:
            for index, curve in enumerate(run["discard"]):
                shares, fnmr = _column(curve, "share"), _column(curve, "fnmr")
                _line(axes, index, shares, fnmr, str(curve["score"]))
            axes.set_ylim(bottom=0)
            axes.set_xlabel("Share of photos discarded")
            axes.set_ylabel("FNMR")
            axes.set_title(_short(label))
            axes.legend(loc="best")

        return draw

    reading = (
        "The false non-match rate as the photos of the lowest quality are left out. A measure of "
        "quality that tells which photos fail makes it fall."
    )
    panels = [panel(run, label) for run, label, _ in drawn]
    return _plot("discard", "Error over discarded photos", reading, panels) if panels else None


def precision_recall(runs: Sequence[Run]) -> Plot | None:
    """Precision over recall of detectors; a panel a run, a line a subset of the faces."""
    drawn = _with(runs, "precision_recall")

    def panel(run: Run, label: str) -> Draw:
        def draw(axes: Axes) -> None:
            for index, (subset, curve) in enumerate(run["precision_recall"].items()):
                recall, precision = _column(curve, "recall"), _column(curve, "precision")
                name = f"{subset} {percent(curve['average_precision'])}"
                _line(axes, index, recall, precision, name)
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.01)
            axes.set_xlabel("Recall")
            axes.set_ylabel("Precision")
            axes.set_title(_short(label))
            axes.legend(loc="lower left")

        return draw

    reading = (
        "The share of boxes that are faces, over the share of faces that are found, with the "
        "average precision: higher is better."
    )
    panels = [panel(run, label) for run, label, _ in drawn]
    return _plot("precision_recall", "Precision and recall", reading, panels) if panels else None


def _with(runs: Sequence[Run], key: str) -> list[tuple[Run, str, int]]:
    """The runs that have a curve, each with its label and its place among all."""
    named = zip(runs, labels(runs), range(len(runs)), strict=True)
    return [each for each in named if each[0].get(key)]


def _column(curve: Run, name: str) -> NDArray[np.float64]:
    return np.asarray(curve[name], np.float64)


def _line(
    axes: Axes, index: int, x: NDArray[np.float64], y: NDArray[np.float64], label: str
) -> None:
    color, dash = SERIES[index % len(SERIES)], _DASHES[index % len(_DASHES)]
    axes.plot(x, y, color=color, linestyle=dash, linewidth=1.6, label=_short(label))


def _short(label: str) -> str:
    """A label that fits into a legend, where one that begins with `_` would be left out."""
    label = printable(label)
    label = f"\u200b{label}" if label.startswith("_") else label
    return label if len(label) <= 34 else f"{label[:16]}…{label[-17:]}"


def _band(
    axes: Axes,
    index: int,
    run: Run,
    error: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    if band := run.get("band"):
        low, high = error(_column(band, "low")), error(_column(band, "high"))
        color = SERIES[index % len(SERIES)]
        axes.fill_between(_column(band, "fmr"), low, high, color=color, alpha=0.2, linewidth=0)


def _shade(drawn: Sequence[tuple[Run, str, int]]) -> str:
    banded = any(run.get("band") for run, _, _ in drawn)
    return " The shade is the 95% interval." if banded else ""


def _rate_axis(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_xlim(_FLOOR, 1)
    axes.set_xticks(10.0 ** np.arange(-6, 1))
    axes.xaxis.set_major_formatter(lambda rate, _: power(rate))
    axes.set_xlabel("False match rate (FMR)")


def _thresholds(axes: Axes, run: Run) -> None:
    """An upright line a threshold; those too near to the one before stay without a name."""
    left, right = axes.get_xlim()
    named = -np.inf
    for rate, point in (run.get("tar_at_far") or {}).items():
        if not point or not left <= point["threshold"] <= right:
            continue
        place = (point["threshold"] - left) / (right - left)
        axes.axvline(point["threshold"], color=_INK, linewidth=0.8, linestyle=(0, (4, 2)))
        if abs(place - named) >= 0.035:
            named = place
            axes.text(
                place,
                1.02,
                power(float(rate)),
                transform=axes.transAxes,
                rotation=90,
                rotation_mode="anchor",
                va="center",
                fontsize=8.5,
            )


def _plot(name: str, title: str, reading: str, draws: Sequence[Draw]) -> Plot:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the report of an evaluation", "evaluate") from error

    def figure(draws: Sequence[Draw]) -> Figure:
        figure = Figure(figsize=(_WIDTH, _HEIGHT * len(draws)), layout="constrained")
        panels = figure.subplots(len(draws), squeeze=False)[:, 0]
        for axes, draw in zip(panels, draws, strict=True):
            draw(axes)
        return figure

    svgs, png = [], io.BytesIO()
    with rc_context(_STYLE), warnings.catch_warnings():
        # A letter that the font of the PNG lacks is a box there, and right on the page.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure(draws).savefig(png, format="png", dpi=200)
        for i, each in enumerate(draws, 1):
            svg = io.StringIO()
            figure([each]).savefig(svg, format="svg", transparent=True, metadata=_NO_METADATA)
            svgs.append(_inline(svg.getvalue(), f"{name}-{i}", f"{title}. {reading}"))
    return Plot(title, reading, svgs, png.getvalue())


_NO_METADATA: Any = dict.fromkeys(["Creator", "Date", "Format", "Type"])


def _inline(svg: str, name: str, text: str) -> str:
    """An SVG file as an element of the page: named, colours from the page, ids of its own."""

    def adapted(tag: re.Match[str]) -> str:
        changed = tag[0]
        for color, variable in _VARIABLES.items():
            changed = changed.replace(color, variable)
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", changed)

    svg = re.sub("<[^>]+>", adapted, svg[svg.index("<svg") :])
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    return svg.replace("<svg", f'<svg role="img" aria-label="{text}"', 1)
