"""Error rates by group of people, at one threshold for all.

Grother, Ngan, Hanaoka, "Face recognition vendor test, part 3: demographic effects", NIST IR 8280,
2019: false matches within and across groups, false non-matches within. Their worst ratios: Grother,
"Face recognition vendor test, part 8: summarizing demographic differentials", NIST IR 8429, 2022.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface.errors import MindFaceError
from mindface.files import open_regular
from mindface.recognition.bootstrap import draws
from mindface.recognition.metrics import REPLICATES, Doubles, Ints, ScoreTable

MAX_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Intervals:
    """Figures and their 95% intervals: arrays of one shape, NaN where nothing was compared."""

    values: Doubles
    low: Doubles
    high: Doubles


@dataclass(frozen=True, eq=False)
class Fairness:
    """Error rates by group.

    Attributes:
        threshold: the score from which on faces match.
        groups: the names of the `G` groups, sorted.
        people: `(G,)` how many people each has.
        people_pairs: `(G, G)` how many pairs of different people were compared.
        fmr: `(G, G)` the false match rate of one group with another, symmetric.
        fnmr: `(G,)` the false non-match rate.
        fmr_ratio: the greatest FMR within a group by the least; infinite where the least is 0,
            None with fewer than two groups. Groups with too few pairs are left out.
        fnmr_ratio: likewise of the FNMR.
        warnings: what too few pairs forbid to conclude, a sentence each.
    """

    threshold: float
    groups: tuple[str, ...]
    people: Ints
    people_pairs: Ints
    fmr: Intervals
    fnmr: Intervals
    fmr_ratio: float | None
    fnmr_ratio: float | None
    warnings: tuple[str, ...]


def read_groups(path: Path) -> dict[str, str]:
    """Reads the group of each person from a CSV file with the columns `person` and `group`.

    Other columns are passed over; an empty group leaves the person out.

    Raises:
        MindFaceError: the file cannot be read, lacks a column or a person, or puts a person into
            two groups.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MindFaceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise MindFaceError(f"{path}: larger than {MAX_BYTES} bytes: no list of groups")
    groups: dict[str, str] = {}
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        missing = {"person", "group"} - set(rows.fieldnames or ())
        if missing:
            raise MindFaceError(f"{path}: no column {' and '.join(sorted(missing))} in its header")
        for row in rows:
            person, group = ((row[column] or "").strip() for column in ("person", "group"))
            if not person:
                raise MindFaceError(f"{path}: line {rows.line_num}: no person")
            if groups.get(person, group) != group:
                raise MindFaceError(
                    f"{path}: line {rows.line_num}: {person!r} is in the group {group!r}, and "
                    f"before in {groups[person]!r}: leave one"
                )
            groups[person] = group
    except (UnicodeDecodeError, csv.Error) as error:
        raise MindFaceError(f"{path}: not a CSV file in UTF-8: {error}") from error
    return {person: group for person, group in groups.items() if group}


def group_rates(
    table: ScoreTable,
    groups: Mapping[int, str],
    threshold: float,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Fairness:
    """FMR and FNMR of each group at one threshold, with 95% intervals.

    People are drawn anew within each group. A figure needs enough pairs of people that the rate of
    all groups together would be noticed among them (the rule of three, see `ScoreTable.supports`).

    Args:
        table: the scores.
        groups: the group of each person by number; who has none is left out.
        threshold: above the least impostor score that the table kept.
        replicates: how often people are drawn anew.
        seed: of the drawing.

    Raises:
        ValueError: nobody has a group, or the table kept no impostor scores so low.
    """
    names, code = _codes(table, groups)
    reached = int(np.searchsorted(-table.impostor, -np.float32(threshold), side="right"))
    if reached == len(table.impostor) < table.impostor_count:
        raise ValueError(f"impostor scores were not kept down to {threshold:g}: raise it")

    def count(weights: Doubles) -> _Counts:
        return _counts(table, code, len(names), reached, threshold, weights)

    everybody = (code >= 0).astype(np.float64)
    counts = count(everybody)
    strata = [np.flatnonzero(code == group) for group in range(len(names))]
    drawn = [count(weights) for weights in draws(len(code), strata, replicates, seed)]
    fmr = _intervals(counts.fmr, np.array([each.fmr for each in drawn]))
    fnmr = _intervals(counts.fnmr, np.array([each.fnmr for each in drawn]))
    pairs = _compared(_one_photo_each(table), code, len(names), everybody)
    owners = code[np.unique(table.genuine_people)]
    mated = np.bincount(owners[owners >= 0], minlength=len(names))
    overall_fmr, overall_fnmr = counts.overall()
    return Fairness(
        threshold=threshold,
        groups=tuple(names),
        people=np.bincount(code[code >= 0], minlength=len(names)),
        people_pairs=pairs.astype(np.int64),
        fmr=fmr,
        fnmr=fnmr,
        fmr_ratio=_ratio(np.diag(fmr.values)[np.diag(pairs) * overall_fmr >= 3]),
        fnmr_ratio=_ratio(fnmr.values[mated * overall_fnmr >= 3]),
        warnings=(
            *_warnings(names, np.diag(pairs), "pairs of people", "FMR", overall_fmr),
            *_warnings(names, mated, "people with genuine pairs", "FNMR", overall_fnmr),
        ),
    )


def group_thresholds(
    table: ScoreTable, groups: Mapping[int, str], rate: float
) -> dict[str, float | None]:
    """The threshold at which each group, compared within itself, has a false match rate.

    Args:
        table: the scores.
        groups: the group of each person by number.
        rate: the FMR wanted.

    Returns:
        By group, the least score at which at most `rate` of its impostor pairs match; None where
        it has too few pairs of people for the rate, or the table kept too few of its scores.

    Raises:
        ValueError: nobody has a group.
    """
    names, code = _codes(table, groups)
    everybody = (code >= 0).astype(np.float64)
    compared = np.diag(_compared(table, code, len(names), everybody))
    people_pairs = np.diag(_compared(_one_photo_each(table), code, len(names), everybody))
    first, second = code[table.impostor_people.T]
    found: dict[str, float | None] = {}
    for group, name in enumerate(names):
        scores = table.impostor[(first == group) & (second == group)]
        allowed = int(rate * compared[group] * (1 + 1e-12))
        able = people_pairs[group] * rate >= 3 * (1 - 1e-9) and allowed < len(scores)
        found[name] = float(np.nextafter(scores[allowed], np.float32(np.inf))) if able else None
    return found


def _codes(table: ScoreTable, groups: Mapping[int, str]) -> tuple[list[str], Ints]:
    """The groups' names, and the group's number of each person, -1 for none."""
    present = {person: name for person, name in groups.items() if table.faces[person]}
    names = sorted(set(present.values()))
    if not names:
        raise ValueError("nobody in the scores has a group")
    code = np.full(len(table.faces), -1, np.int64)
    for person, name in present.items():
        code[person] = names.index(name)
    return names, code


class _Counts(NamedTuple):
    """Errors and comparisons: of strangers `(G, G)`, of one person `(G,)`."""

    matches: Doubles
    strangers: Doubles
    misses: Doubles
    mated: Doubles

    @property
    def fmr(self) -> Doubles:
        return _share(self.matches, self.strangers)

    @property
    def fnmr(self) -> Doubles:
        return _share(self.misses, self.mated)

    def overall(self) -> tuple[float, float]:
        """FMR and FNMR of all groups together."""
        once = np.triu_indices(len(self.mated))
        return (
            float(self.matches[once].sum() / max(self.strangers[once].sum(), 1)),
            float(self.misses.sum() / max(self.mated.sum(), 1)),
        )


def _counts(
    table: ScoreTable, code: Ints, count: int, reached: int, threshold: float, weights: Doubles
) -> _Counts:
    """What happens at a threshold where each person counts as often as their weight says."""
    first, second = table.impostor_people[:reached].T
    matches = _cells(code[first], code[second], weights[first] * weights[second], count)
    mine, missed = code[table.genuine_people], table.genuine < np.float32(threshold)
    often, here = weights[table.genuine_people], mine >= 0
    return _Counts(
        matches,
        _compared(table, code, count, weights),
        _sums(mine[here & missed], often[here & missed], count),
        _sums(mine[here], often[here], count),
    )


def _compared(table: ScoreTable, code: Ints, count: int, weights: Doubles) -> Doubles:
    """How many pairs of strangers were compared, by the groups on either side."""
    if table.pairings is not None:
        first, second, often = table.pairings.T
        return _cells(code[first], code[second], weights[first] * weights[second] * often, count)
    here = code >= 0
    photos = (weights * table.faces)[here]
    sums = _sums(code[here], photos, count)
    cells = np.outer(sums, sums)
    own = _sums(code[here], photos**2, count)
    np.fill_diagonal(cells, (sums**2 - own) / 2)
    return cells


def _cells(first: Ints, second: Ints, weights: Doubles, count: int) -> Doubles:
    here = (first >= 0) & (second >= 0)
    places = first[here] * count + second[here]
    cells = _sums(places, weights[here], count * count).reshape(count, count)
    return np.asarray(cells + cells.T - np.diag(np.diag(cells)))


def _sums(places: Ints, weights: Doubles, count: int) -> Doubles:
    return np.bincount(places, weights, count).astype(np.float64)


def _one_photo_each(table: ScoreTable) -> ScoreTable:
    once = table.pairings
    if once is not None:
        once = np.column_stack([once[:, :2], np.ones(len(once), np.int64)])
    return replace(table, pairings=once, faces=(table.faces > 0).astype(np.int64))


def _share(part: Doubles, whole: Doubles) -> Doubles:
    return np.asarray(np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0))


def _intervals(values: Doubles, drawn: NDArray[Any]) -> Intervals:
    """Percentiles over the replicates in which a figure could be had."""
    low, high = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    had = np.isfinite(drawn).any(axis=0) & np.isfinite(values)
    if had.any():
        low[had], high[had] = np.nanpercentile(drawn[:, had], [2.5, 97.5], axis=0)
    return Intervals(values, low, high)


def _ratio(values: Doubles) -> float | None:
    if len(values) < 2:
        return None
    return float(values.max() / values.min()) if values.min() > 0 else float("inf")


def _warnings(
    names: Sequence[str], counts: NDArray[Any], what: str, figure: str, overall: float
) -> list[str]:
    if not overall:
        return [f"The {figure} of all groups together is 0: it says nothing about any of them."]
    return [
        f"The group {name!r} has {count:.0f} {what}, too few to tell its {figure} from the "
        f"{overall:.2g} of all groups together: it takes {np.ceil(3 / overall):.0f}."
        for name, count in zip(names, counts, strict=True)
        if count * overall < 3
    ]
