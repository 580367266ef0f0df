"""`mindface detect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.inputs import photos, stop_if_all_failed
from mindface.cli.options import Json, ModelOptions, Paths, Score, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import ImageError, SkippedInputsError
from mindface.results import Detections


@runs_models()
def detect(
    paths: Paths,
    as_json: Json = False,
    draw: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write pictures with the faces marked.")
    ] = None,
    score: Score = 0.5,
    input_size: Annotated[
        int, typer.Option(min=32, help="Long side of the network's input.")
    ] = 640,
    min_face: Annotated[float, typer.Option(min=0, help="Least side of a face, in pixels.")] = 0,
    strict: Strict = False,
    *,
    models: ModelOptions,
) -> None:
    """Find the faces in photos.

    Example: mindface detect photos/ group.jpg --json --draw marked/
    """
    detector = models.open_detector(score_threshold=score, input_size=input_size, min_face=min_face)
    files = photos(paths)
    skipped: list[tuple[str, str]] = []
    for path, found in zip(files, track(detector.stream(files), len(files), "detect"), strict=True):
        if isinstance(found, ImageError):
            if strict:
                raise SkippedInputsError(str(found))
            skipped.append((str(path), found.reason))
            if as_json:
                print(json.dumps({"path": str(path), "error": found.reason}, ensure_ascii=False))
            continue
        print(json.dumps(found.to_dict(), ensure_ascii=False) if as_json else _line(found))
        if draw:
            try:
                _draw(found, path, draw)
            except ImageError as error:  # it changed since its faces were found
                skipped.append((str(path), error.reason))
    if len(files) > 1:
        report_skipped(skipped, len(files))
    stop_if_all_failed(skipped, len(files))


def _line(found: Detections) -> str:
    faces = "".join(
        f"\n  score {face.score:.3f}  box {' '.join(f'{value:.0f}' for value in face.box)}"
        for face in found
    )
    count = f"{len(found)} face{'' if len(found) == 1 else 's'}"
    return f"{found.path}: {count} in {found.width}x{found.height}{faces}"


def _draw(found: Detections, path: Path, directory: Path) -> None:
    from PIL import Image

    from mindface.cli.inputs import output_path
    from mindface.drawing import draw_faces
    from mindface.imaging import read

    target = output_path(directory, path, ".jpg")
    Image.fromarray(draw_faces(read(path), found)).save(target, quality=92)
