"""`mindface align`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.inputs import output_path, photos, stop_if_all_failed
from mindface.cli.options import Largest, ModelOptions, Paths, Score, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import ImageError, SkippedInputsError


@runs_models()
def align(
    paths: Paths,
    output: Annotated[Path, typer.Option(metavar="DIR", help="Where the crops go.")],
    size: Annotated[int, typer.Option(min=16, max=2048, help="Height of a crop, pixels.")] = 112,
    template: Annotated[
        str, typer.Option(help="arcface_112x112, or arcface_112x96: narrower.")
    ] = "arcface_112x112",
    largest: Largest = False,
    score: Score = 0.5,
    strict: Strict = False,
    *,
    models: ModelOptions,
) -> None:
    """Cut faces out of photos, upright and of one size, with an index (index.jsonl).

    Example: mindface align photos/ --output faces/ --size 112 --largest
    """
    from PIL import Image

    from mindface.crops import cut_faces, in_detail, plausible
    from mindface.geometry import TEMPLATES

    if template not in TEMPLATES:
        raise typer.BadParameter(f"choose one of {', '.join(TEMPLATES)}", param_hint="--template")
    (rows, columns), _ = TEMPLATES[template]
    crop_size = (size, round(columns * size / rows))
    detector = models.open_detector(score_threshold=score)
    files = photos(paths)
    output.mkdir(parents=True, exist_ok=True)
    unreadable: list[tuple[str, str]] = []
    without_face: list[tuple[str, str]] = []
    stream = track(detector.stream_opened(files), len(files), "align")
    with (output / "index.jsonl").open("w", encoding="utf-8") as index:
        for path, found in zip(files, stream, strict=True):
            if isinstance(found, ImageError):
                if strict:
                    raise SkippedInputsError(str(found))
                unreadable.append((str(path), found.reason))
                continue
            opened, faces = found
            faces, rejected = plausible(faces)
            if largest and len(faces):
                faces = faces.select([faces.largest_index()])
            if not len(faces):
                without_face.append((str(path), "; ".join(rejected) or "no face found"))
                continue
            try:
                detailed = in_detail(opened, faces.landmarks, template, crop_size)
            except ImageError as error:
                unreadable.append((str(path), error.reason))
                continue
            crops = cut_faces(detailed, faces.landmarks, template, crop_size)
            for number, (face, crop) in enumerate(zip(faces, crops, strict=True)):
                target = output_path(output, path, f"_{number}.png")
                Image.fromarray(crop).save(target)
                row = {"crop": target.name, "path": str(path), "face": number}
                print(json.dumps(row | face.to_dict(), ensure_ascii=False), file=index)
    report_skipped(unreadable + without_face, len(files))
    stop_if_all_failed(unreadable, len(files))
