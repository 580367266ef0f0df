"""`mindface gallery check`, `audit`: what to look at before anybody relies on a gallery."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.gallery.shared import Calibrated, KeyFile, Rate, Url, gallery_url, open_gallery
from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.errors import GalleryError

if TYPE_CHECKING:
    from mindface.gallery.audit import Audit, Check

runs_nothing = runs_models("detector", "engine", "device", "precision", "threads")
"""The recogniser is named for its calibration alone."""


@runs_nothing
def check(
    gallery: Url = None,
    key_file: KeyFile = None,
    fpir: Rate = 0.01,
    count: Annotated[int, typer.Option(min=1, help="How many pairs are shown.")] = 10,
    calibration: Calibrated = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Show the people who are most like each other: a stranger may come as close.

    Exit code 15: a pair reaches the threshold of a match, or there is no threshold.

    Example: mindface gallery check --gallery people.db
    """
    url = gallery_url(gallery)
    policy: dict[str, Any] = {"fpir": fpir, "doubtful": max(fpir, 0.1)}
    with open_gallery(
        url, models.open_recognizer(calibration), **policy, key_file=key_file
    ) as people:
        found = people.check(count)
    print(json.dumps(_facts(found), ensure_ascii=False) if as_json else _pairs(found))
    if not found.passed:
        raise GalleryError(f"{url}: {_fault(found)}")


@runs_nothing
def audit(
    gallery: Url = None,
    key_file: KeyFile = None,
    outlier: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Similarity below which a face is one.")
    ] = None,
    duplicate: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Similarity from which two may be one.")
    ] = None,
    calibration: Calibrated = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Show faces unlike their person's others, people who may be one, people with one photo.

    Without --outlier and --duplicate the calibration's threshold for two photos counts.

    Example: mindface gallery audit --gallery people.db
    """
    url = gallery_url(gallery)
    with open_gallery(url, models.open_recognizer(calibration), key_file=key_file) as people:
        found = people.audit(outlier, duplicate)
    print(json.dumps(asdict(found), ensure_ascii=False) if as_json else _faults(found))


def _facts(found: Check) -> dict[str, Any]:
    return asdict(found) | {"passed": found.passed}


def _fault(found: Check) -> str:
    if found.threshold is None:
        return "there is no threshold for a gallery of this size: run  mindface calibrate"
    pairs = sum(each.similarity >= found.threshold for each in found.strangers)
    return f"{pairs} of the pairs shown reach the threshold: look at them, then merge or remove"


def _pairs(found: Check) -> str:
    lines = [
        f"{each.similarity:.3f}  {each.person} (face {each.face}, {each.path or 'no path'})  "
        f"is like  {each.other}"
        for each in found.strangers
    ]
    if found.threshold is not None:
        beyond = ", extrapolated" if found.extrapolated else ""
        lines.append(f"a match is from {found.threshold:.3f} on{beyond}")
    return "\n".join(lines)


def _faults(found: Audit) -> str:
    lines = [
        f"outlier    {each.person}  face {each.face} ({each.path or 'no path'})  similarity to the "
        f"others {each.similarity:.3f}"
        for each in found.outliers
    ]
    lines += [
        f"duplicate  {a}  and  {b}  similarity {score:.3f}" for a, b, score in found.duplicates
    ]
    lines += [f"one photo  {name}" for name in found.single]
    lines += [f"no photo   {name}" for name in found.empty]
    return "\n".join(lines) or "nothing found"
