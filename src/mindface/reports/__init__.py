"""The report of an evaluation: one page of HTML that opens from the disk, and its plots and tables.

A run is the result of one evaluation as plain values, such as JSON gives. All its fields may be
absent or None, and the page leaves out what is not there:

    task, protocol, model, licence      text
    people, people_pairs                counts; people_pairs: of different people compared
    photos                              a count
    pairs, genuine, impostor            counts of pairs of photos
    accuracy_mean, accuracy_std         over folds
    tar_at_far                          {"1e-3": {tar, low, high, threshold, fmr_low, fmr_high}};
                                        None for a rate that could not be measured
    auc, eer
    failure_to_acquire                  {photos, failed, rate}
    without_failures                    {tar_at_far, accuracy_mean, accuracy_std, auc, eer}
    curve                               {fmr, tar, threshold}: lists, thresholds falling
    band                                {fmr, low, high}: lists, the interval of TAR
    histogram                           {edges, genuine, impostor}: lists, counts between edges
    cmc                                 {rank, share}: lists, from rank 1 on
    discard                             [{score, share, fnmr}]: lists by share of photos discarded
    precision_recall                    of a detector, {"easy": {average_precision, recall,
                                        precision}}: lists, thresholds falling
    groups                              {threshold, rows: [{group, pairs, warning, fmr, fmr_low,
                                        fmr_high, fnmr, fnmr_low, fnmr_high}]}
    worst                               {false_matches, false_non_matches}: [{a, b, score}], and
                                        of a detector {misses, false_alarms}: [{a, score}]; a and
                                        b the names of photos or of places in them
    skipped                             [{path, reason}]
    manifest                            nested plain values

Shares and rates are 0 to 1, intervals at 95%.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mindface.reports import plots
from mindface.reports.figures import Figure, Run, figures, labels
from mindface.reports.page import page


def write_report(
    runs: Sequence[Mapping[str, Any]],
    directory: Path,
    *,
    crop: Callable[[str], NDArray[np.uint8] | None],
) -> Path:
    """Writes the report of one or more runs, compared in one page.

    The page, `index.html`, holds everything that it shows. Beside it stand `roc.png`, `det.png`,
    `histogram.png`, `precision_recall.png`, `curve.csv` (where the runs have what they show) and
    `figures.csv`. Each file is written whole or not at all, the page last.

    Args:
        runs: at least one; their fields stand above, in the docstring of this module.
        directory: made where it does not exist; files of an earlier report are replaced.
        crop: the face, `(H, W, 3)` RGB uint8, by its name in `worst`; None where it cannot be
            had.

    Returns:
        The path of the page.

    Raises:
        ValueError: no runs.
        MissingExtraError: there is something to plot, and matplotlib is not installed.
        OSError: the directory cannot be written.
    """
    if not runs:
        raise ValueError("no runs: a report needs the result of at least one evaluation")
    drawn = {name: draw(runs) for name, draw in _PLOTS.items()}
    shown = {name: plot for name, plot in drawn.items() if plot}
    content = {f"{name}.png": plot.png for name, plot in shown.items() if name in _FILES}
    if any(run.get("curve") for run in runs):
        content["curve.csv"] = _csv(_CURVE, _curve_rows(runs))
    content["figures.csv"] = _csv(("run", *Figure._fields), _figure_rows(runs))
    content["index.html"] = page(runs, shown, crop).encode("utf-8", errors="replace")
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        _write(directory / name, data)
    return directory / "index.html"


_PLOTS: dict[str, Callable[[Sequence[Run]], plots.Plot | None]] = {
    "roc": plots.roc,
    "det": plots.det,
    "histogram": plots.histogram,
    "precision_recall": plots.precision_recall,
    "cmc": plots.cmc,
    "discard": plots.discard,
}
_FILES = ("roc", "det", "histogram", "precision_recall")
_CURVE = ("run", "threshold", "fmr", "tar")


def _curve_rows(runs: Sequence[Run]) -> Iterable[Sequence[object]]:
    for run, label in zip(runs, labels(runs), strict=True):
        if curve := run.get("curve"):
            for point in zip(*(curve[name] for name in _CURVE[1:]), strict=True):
                yield label, *point


def _figure_rows(runs: Sequence[Run]) -> Iterable[Sequence[object]]:
    for run, label in zip(runs, labels(runs), strict=True):
        for figure in figures(run):
            yield label, *figure


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue().encode()


def _write(path: Path, data: bytes) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
