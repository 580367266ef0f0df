"""The figures of a run, one by one, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Run = Mapping[str, Any]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Figure(NamedTuple):
    """One figure of a run.

    Attributes:
        name: `accuracy`, `tar`, `auc`, `eer`, `rank_1` or `failure_to_acquire`; of a detector
            `average_precision_easy` and the like.
        photos: `all`; `without failures`, only pairs in which both faces were found; or `labelled`,
            the faces of a benchmark of detectors.
        at_fmr: the false match rate that was asked for.
        value: None where it could not be measured.
        low, high: the 95% interval.
        std: the standard deviation over the folds.
        threshold: the least score that matches.
        fmr_low, fmr_high: the 95% interval of the false match rate at that threshold.
    """

    name: str
    photos: str = "all"
    at_fmr: str | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    std: float | None = None
    threshold: float | None = None
    fmr_low: float | None = None
    fmr_high: float | None = None

    @property
    def title(self) -> str:
        """What it is called on the page."""
        if self.at_fmr:
            return f"TAR at FMR {power(float(self.at_fmr))}"
        if self.photos == "labelled":
            return f"Average precision, {self.name.removeprefix(_AVERAGE_PRECISION)}"
        return _TITLES[self.name]


_TITLES = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "eer": "Equal error rate",
    "rank_1": "Found at rank 1",
    "failure_to_acquire": "Photos without a face found",
}


_AVERAGE_PRECISION = "average_precision_"


def figures(run: Run) -> list[Figure]:
    """The figures that a run has, those without failures last."""
    found = [
        Figure(f"{_AVERAGE_PRECISION}{subset}", "labelled", value=curve["average_precision"])
        for subset, curve in (run.get("precision_recall") or {}).items()
    ]
    found += _measured(run, "all")
    if run.get("cmc"):
        found.append(Figure("rank_1", value=run["cmc"]["share"][0]))
    if failures := run.get("failure_to_acquire"):
        found.append(Figure("failure_to_acquire", value=failures["rate"]))
    return [*found, *_measured(run.get("without_failures") or {}, "without failures")]


def _measured(run: Run, photos: str) -> Iterator[Figure]:
    if run.get("accuracy_mean") is not None:
        yield Figure("accuracy", photos, value=run["accuracy_mean"], std=run.get("accuracy_std"))
    for rate, point in (run.get("tar_at_far") or {}).items():
        point = point or {}
        more = ("low", "high", "threshold", "fmr_low", "fmr_high")
        yield Figure("tar", photos, rate, point.get("tar"), **{key: point.get(key) for key in more})
    for name in ("auc", "eer"):
        if run.get(name) is not None:
            yield Figure(name, photos, value=run[name])


def leading(run: Run) -> list[Figure]:
    """The three figures that say most about a run, if it has as many.

    They are the average precisions of a detector; else the accuracy, or the rank-1 share; TAR at
    the two lowest false match rates that could be measured; and where there are fewer, the equal
    error rate.
    """
    labelled = [figure for figure in figures(run) if figure.photos == "labelled"]
    every = [figure for figure in figures(run) if figure.photos == "all"]
    whole = [figure for figure in every if figure.name in ("accuracy", "rank_1")]
    rates = [figure for figure in every if figure.at_fmr and figure.value is not None]
    rates.sort(key=lambda figure: float(figure.at_fmr or 1), reverse=True)
    rest = [figure for figure in every if figure.name == "eer"]
    return [*labelled, *whole[:1], *rates[-2:], *rest][:3]


def labels(runs: Sequence[Run]) -> list[str]:
    """A name for each run: its model, with the protocol or a number where that is not enough."""
    names = [printable(str(run.get("model") or f"run {i}")) for i, run in enumerate(runs, 1)]
    if len(set(names)) < len(names):
        protocols = [printable(str(run.get("protocol") or "")) for run in runs]
        pairs = zip(names, protocols, strict=True)
        names = [", ".join(filter(None, pair)) for pair in pairs]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, 1)]
    return names


def printable(text: str) -> str:
    """A text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def percent(share: float) -> str:
    """A share as a percentage: two decimals, or two significant digits where it is tiny."""
    return f"{100 * share:.2f}%" if share >= 0.001 or share <= 0 else f"{100 * share:.2g}%"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares, or nothing."""
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def power(rate: float) -> str:
    """A rate as a power of ten, if it is one."""
    mantissa, exponent = f"{rate:e}".split("e")
    if float(mantissa) != 1:
        return f"{rate:g}"
    return "1" if int(exponent) == 0 else "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
