"""`mindface identify`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.gallery.shared import Calibrated, KeyFile, Rate, Url, gallery_url, open_gallery
from mindface.cli.inputs import photos, stop_if_all_failed
from mindface.cli.options import Json, ModelOptions, Paths, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import ImageError, SkippedInputsError

if TYPE_CHECKING:
    from mindface.gallery import Gallery
    from mindface.results import Analysis


@runs_models()
def identify(
    paths: Paths,
    gallery: Url = None,
    key_file: KeyFile = None,
    fpir: Rate = 0.01,
    margin: Annotated[
        float, typer.Option(min=0, max=2, help="Least lead over the second person.")
    ] = 0.05,
    tag: Annotated[
        list[str] | None, typer.Option(help="Only people who have it; may be repeated.")
    ] = None,
    search: Annotated[
        str, typer.Option(help="What is scanned: float32, float16, int8; or hnsw, not exact.")
    ] = "float32",
    calibration: Calibrated = None,
    strict: Strict = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Say who is in photos: for each face a match, uncertain or unknown.

    A match needs a similarity that a share --fpir of strangers reaches at this size of gallery,
    and a lead over the second person. Without a calibration nobody is a match. No check against
    printed or replayed faces is made. With --json a line a photo.

    Example: mindface identify door.jpg --gallery people.db --json
    """
    from mindface.analyzer import FaceAnalyzer

    url = gallery_url(gallery)
    files = photos(paths)
    recognizer = models.open_recognizer(calibration)
    policy: dict[str, Any] = {"fpir": fpir, "doubtful": max(fpir, 0.1), "margin": margin}
    policy["search"] = search
    if not 0 < fpir < 1:
        raise typer.BadParameter(f"a rate lies between 0 and 1, not {fpir:g}", param_hint="--fpir")
    skipped: list[tuple[str, str]] = []
    with open_gallery(url, recognizer, **policy, key_file=key_file) as people:
        analyzer = FaceAnalyzer(models.open_detector(), recognizer)
        print(_basis(people, tag or []), file=sys.stderr)
        for path, analysis in zip(
            files, track(analyzer.stream(files), len(files), "identify"), strict=True
        ):
            try:
                faces = _identified(people, path, analysis, tag or [])
            except ImageError as error:
                if strict:
                    raise SkippedInputsError(f"{path}: {error.reason}") from error
                skipped.append((str(path), error.reason))
                if as_json:
                    line = {"path": str(path), "error": error.reason}
                    print(json.dumps(line, ensure_ascii=False))
                continue
            if as_json:
                print(json.dumps({"path": str(path), "faces": faces}, ensure_ascii=False))
            else:
                print(f"{path}: {_count(faces)}", *starmap(_line, enumerate(faces, 1)), sep="\n")
    if len(files) > 1:
        report_skipped(skipped, len(files))
    stop_if_all_failed(skipped, len(files))


def _identified(
    people: Gallery, path: Path, analysis: Analysis, tags: list[str]
) -> list[dict[str, Any]]:
    from mindface.enrolment import photo_hash
    from mindface.gallery.rows import face_content

    if analysis.error:
        raise ImageError(analysis.error, str(path))
    photo = photo_hash(path)
    contents = [face_content(photo, number) for number in range(len(analysis.faces))]
    if not contents:
        return []
    matches = people.identify(analysis.embeddings, contents=contents, tags=tags)
    return [
        {"box": face.to_dict()["box"], **match.to_dict()}
        for face, match in zip(analysis.faces, matches, strict=True)
    ]


def _basis(people: Gallery, tags: list[str]) -> str:
    """What the decisions rest on."""
    now, policy = datetime.now(UTC), people.policy
    count = sum(
        bool(each.embeddings)
        and {*tags} <= {*each.tags}
        and (each.valid_from is None or each.valid_from <= now)
        and (each.valid_until is None or now < each.valid_until)
        for each in people.people()
    )
    if policy.calibration is None:
        return f"{count} people; no calibration, so nobody is a match: run  mindface calibrate"
    limits = policy.thresholds(count)
    if limits.match is None:
        return (
            f"{count} people; {policy.calibration.name} does not reach a gallery of this size at "
            f"fpir {policy.fpir:g}, so nobody is a match"
        )
    return (
        f"{count} people: a match from similarity {limits.match:.3f} on, at which "
        f"{policy.fpir:g} of strangers are taken for somebody, with a lead of {policy.margin:g} "
        f"over the second person ({policy.calibration.name}"
        f"{', extrapolated' if limits.extrapolated else ''}); uncertain from "
        f"{limits.uncertain:.3f} on; no presentation-attack check is made"
    )


def _count(faces: list[dict[str, Any]]) -> str:
    return f"{len(faces)} face{'' if len(faces) == 1 else 's'}"


def _line(number: int, face: dict[str, Any]) -> str:
    box = " ".join(f"{value:.0f}" for value in face["box"])
    said = f"  {number}  {face['decision']}"
    if face["person"] is not None:
        said += f"  {face['person']}"
    if face["confirmed"]:
        said += " (confirmed)"
    if face["similarity"] is not None:
        said += f"  similarity {face['similarity']:.3f}"
    if face["runner_up"] is not None and not face["confirmed"]:
        said += f", {face['margin']:.3f} before {face['runner_up']}"
    return f"{said}  box {box}"
