"""`mindface gallery faces-to-xmp`, `names-from-xmp`: names for other programs, and theirs."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mindface.cli.gallery.shared import Calibrated, KeyFile, Rate, Url, gallery_url, open_gallery
from mindface.cli.inputs import photos, stop_if_all_failed
from mindface.cli.options import Json, ModelOptions, Paths, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import ImageError

if TYPE_CHECKING:
    from mindface.enrolment.regions import Written
    from mindface.gallery import Gallery
    from mindface.results import Analysis


@runs_models()
def faces_to_xmp(
    paths: Paths,
    gallery: Url = None,
    key_file: KeyFile = None,
    fpir: Rate = 0.01,
    calibration: Calibrated = None,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Write who is in photos into their XMP sidecars, as face regions of the MWG.

    Only matches are written, as mindface identify finds them. Photos are never changed; whatever
    else a sidecar holds stays, names that a face has there included.

    Example: mindface gallery faces-to-xmp photos/ --gallery people.db
    """
    from mindface.analyzer import FaceAnalyzer

    url = gallery_url(gallery)
    files = photos(paths)
    recognizer = models.open_recognizer(calibration)
    policy: dict[str, Any] = {"fpir": fpir, "doubtful": max(fpir, 0.1)}
    skipped: list[tuple[str, str]] = []
    with open_gallery(url, recognizer, **policy, key_file=key_file) as people:
        stream = FaceAnalyzer(models.open_detector(), recognizer).stream(files)
        for path, analysis in zip(files, track(stream, len(files), "faces-to-xmp"), strict=True):
            try:
                done = _written(people, path, analysis)
            except ImageError as error:
                skipped.append((str(path), error.reason))
                continue
            _say(path, done, as_json)
    report_skipped(skipped, len(files))
    stop_if_all_failed(skipped, len(files))


def names_from_xmp(paths: Paths, as_json: Json = False) -> None:
    """List photos whose only face region has a name, as CSV for mindface enroll --csv.

    Regions are read from sidecars, or else as the photo embeds them. Photos with several face
    regions are counted and left out: enrolment takes the largest face of a photo.

    Example: mindface gallery names-from-xmp photos/ > people.csv
    """
    from mindface.enrolment.regions import named_faces

    files = photos(paths)
    skipped: list[tuple[str, str]] = []
    table = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        table.writerow(["path", "name"])
    for path in files:
        try:
            faces = named_faces(path)
        except ImageError as error:
            skipped.append((str(path), error.reason))
            continue
        names = [face.name for face in faces]
        if as_json:
            facts = [{"name": face.name, "box": face.box.tolist()} for face in faces]
            print(json.dumps({"path": str(path), "faces": facts}, ensure_ascii=False))
        elif len(names) == 1 and names[0]:
            table.writerow([path.resolve(), names[0]])
        elif any(names):
            skipped.append((str(path), f"has {len(names)} face regions"))
    report_skipped(skipped, len(files))


def _written(people: Gallery, path: Path, analysis: Analysis) -> Written:
    from mindface.enrolment import photo_hash
    from mindface.enrolment.regions import NamedFace, write_names
    from mindface.gallery.rows import face_content

    if analysis.error:
        raise ImageError(analysis.error, str(path))
    photo = photo_hash(path)
    contents = [face_content(photo, number) for number in range(len(analysis.faces))]
    matches = people.identify(analysis.embeddings, contents=contents) if contents else []
    named = [
        NamedFace(match.person, face.box)
        for match, face in zip(matches, analysis.faces, strict=True)
        if match.decision == "match"
    ]
    return write_names(path, named)


def _say(path: Path, done: Written, as_json: bool) -> None:
    if as_json:
        facts = {
            "path": str(path),
            "sidecar": str(done.sidecar),
            "added": list(done.added),
            "kept": list(done.kept),
        }
        print(json.dumps(facts, ensure_ascii=False))
    elif done.added:
        print(f"{done.sidecar}: {', '.join(done.added)}")
