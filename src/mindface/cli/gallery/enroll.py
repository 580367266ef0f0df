"""`mindface enroll`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.gallery.shared import (
    Calibrated,
    KeyFile,
    Url,
    gallery_url,
    given_moment,
    open_gallery,
)
from mindface.cli.inputs import photos
from mindface.cli.options import Json, ModelOptions, Strict, runs_models
from mindface.cli.progress import track
from mindface.errors import (
    ConfigError,
    GalleryError,
    ImageError,
    MindFaceError,
    SkippedInputsError,
)

if TYPE_CHECKING:
    from mindface.enrolment import Outcome, Portrait


@runs_models()
def enroll(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME PATH...", help="A person and photos of it; NAME - is --folders PATH."
        ),
    ] = None,
    folders: Annotated[
        list[Path] | None, typer.Option(metavar="DIR", help="Has a folder for each person.")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Columns path,name[,tags,valid_until]."),
    ] = None,
    gallery: Url = None,
    key_file: KeyFile = None,
    tag: Annotated[list[str] | None, typer.Option(help="Of new people; may be repeated.")] = None,
    valid_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Of new people, as 2027-01-01T00:00Z.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overrule refusals; the journal keeps which.")
    ] = False,
    min_side: Annotated[float, typer.Option(min=0, help="Least side of a face, pixels.")] = 50,
    min_sharpness: Annotated[float, typer.Option(min=0, help="Least sharpness.")] = 40,
    max_yaw: Annotated[float, typer.Option(min=0, help="Greatest turn sideways, degrees.")] = 45,
    max_pitch: Annotated[float, typer.Option(min=0, help="Greatest turn up or down.")] = 35,
    max_truncation: Annotated[
        float, typer.Option(min=0, max=1, help="Greatest share outside the photo.")
    ] = 0.1,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Least confidence.")] = 0.7,
    max_others: Annotated[
        float, typer.Option(min=0, help="Greatest size of another face, as a share.")
    ] = 0.5,
    calibration: Calibrated = None,
    strict: Strict = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Enroll people from photos: the largest face of each, unless the picture will not do.

    Each refusal is explained with the figure and the limit. A face that the gallery takes for
    another person's is refused too. Stopped work goes on where it was when the same command is
    given again. With --json a line a photo.

    Example: mindface enroll "Ada Lovelace" ada/ --gallery people.db
    """
    from mindface.analyzer import FaceAnalyzer
    from mindface.enrolment import Limits, enroll_photos

    url = gallery_url(gallery)
    portraits = [
        _with(portrait, tag, valid_until) for portrait in _portraits(words or [], folders, table)
    ]
    if not portraits:
        raise ConfigError("no photo was named")
    limits = Limits(
        side=min_side,
        sharpness=min_sharpness,
        yaw=max_yaw,
        pitch=max_pitch,
        truncation=max_truncation,
        score=min_score,
        others=max_others,
    )
    analyzer = FaceAnalyzer(models.open_detector(), models.open_recognizer(calibration))
    if analyzer.recognizer.calibration is None:
        print("no calibration: whether two people look alike is not checked", file=sys.stderr)
    statuses: Counter[str] = Counter()
    checks: Counter[str] = Counter()
    with open_gallery(url, analyzer.recognizer, create=True, key_file=key_file) as people:
        outcomes = enroll_photos(people, analyzer, portraits, limits=limits, force=force)
        for outcome in track(outcomes, len(portraits), "enroll"):
            statuses[outcome.status] += 1
            if outcome.status == "refused":
                checks.update(refusal.check for refusal in outcome.refusals)
            _tell(outcome, as_json, strict)
    _summarise(url, statuses, checks, len(portraits), as_json)
    if statuses["refused"] == len(portraits):
        raise _nothing(outcome, len(portraits), checks["unreadable"] == len(portraits))


def _portraits(words: list[str], folders: list[Path] | None, table: Path | None) -> list[Portrait]:
    from mindface.enrolment import Portrait, in_folders, in_list

    if words[:1] == ["-"]:
        words, folders = [], [*(folders or []), *map(Path, words[1:])]
    if bool(words) + bool(folders) + (table is not None) != 1:
        raise ConfigError("say whom: NAME PATH..., or --folders DIR, or --csv FILE")
    if folders:
        return list(in_folders(folders))
    if table is not None:
        return list(in_list(table))
    name, *paths = words
    if not paths:
        raise ConfigError(f"no photo of {name!r} was named: say  mindface enroll NAME PATH...")
    return [Portrait(name, path) for path in photos([Path(path) for path in paths])]


def _with(portrait: Portrait, tags: list[str] | None, until: str | None) -> Portrait:
    """What the options say of people of whom the list says nothing."""
    moment = None if until is None else given_moment(until)
    return replace(
        portrait,
        tags=portrait.tags or (tuple(tags) if tags else None),
        valid_until=portrait.valid_until or moment,
    )


def _tell(outcome: Outcome, as_json: bool, strict: bool) -> None:
    if strict and any(refusal.check == "unreadable" for refusal in outcome.refusals):
        raise SkippedInputsError(f"{outcome.portrait.path}: {outcome.reason}")
    if as_json:
        print(json.dumps(outcome.to_dict(), ensure_ascii=False), flush=True)
    if outcome.refusals:
        what = "refused" if outcome.status == "refused" else "forced"
        print(f"{what} {outcome.portrait.path}: {outcome.reason}", file=sys.stderr)


def _nothing(last: Outcome, total: int, unreadable: bool) -> MindFaceError:
    """The error where no photo was enrolled."""
    if total > 1:
        none = f"none of {total} photos "
        return ImageError(f"{none}could be read") if unreadable else GalleryError(f"{none}will do")
    if unreadable:
        return ImageError(last.reason, str(last.portrait.path))
    return GalleryError(f"{last.portrait.path}: not enrolled: {last.reason}")


def _summarise(
    url: str, statuses: Counter[str], checks: Counter[str], total: int, as_json: bool
) -> None:
    done = f"{url}: {statuses['enrolled']} of {total} photos enrolled"
    if statuses["present"]:
        done += f", {statuses['present']} were there"
    if statuses["refused"]:
        why = ", ".join(f"{check} {count}" for check, count in checks.most_common())
        done += f", {statuses['refused']} refused ({why})"
    print(done, file=sys.stderr if as_json else sys.stdout)
