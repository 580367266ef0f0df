"""`mindface data check` of labels for detectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from mindface.cli.data.shared import Row, listed
from mindface.cli.progress import track
from mindface.errors import IntegrityError


def check_scenes(paths: Sequence[str], images: Path | None, *, strict: bool, as_json: bool) -> None:
    """Checks files of labels, prints what was found, and raises where there are faults."""
    from mindface.datasets.scene_check import check_scenes as check_set
    from mindface.datasets.scenes import open_scenes

    found = [check_set(open_scenes(path, images), track) for path in paths]
    reports = [each.report() for each in found]
    print(json.dumps({"sets": reports}) if as_json else "\n".join(_lines(reports)))
    if damaged := [each.scenes.source for each in found if each.damaged]:
        raise IntegrityError(
            f"{', '.join(damaged)}: pictures or faces cannot be as they are labelled: mend the "
            "labels, or fetch the pictures again"
        )
    if strict and any(each.suspicious for each in found):
        raise IntegrityError(f"{', '.join(paths)}: not above suspicion, as --strict demands")


def _lines(reports: Sequence[Row]) -> Iterator[str]:
    for report in reports:
        yield f"{report['labels']}: {report['faces']} faces in {report['pictures']} pictures"
        sides = ", ".join(f"{count} of {band}" for band, count in report["sides"].items() if count)
        yield f"  shorter side in pixels: {sides}"
        yield (
            f"  with landmarks {report['with_landmarks']}; ignored {report['ignored']}; "
            f"reaching out of the picture {report['reaching_out']}"
        )
        for title in ("no_area", "outside", "landmarks_outside", "mirrored", "twice"):
            yield from listed(title.replace("_", " "), [*map(_face, report[title])])
        unreadable = [f"{row['picture']}: {row['reason']}" for row in report["unreadable"]]
        yield from listed("unreadable", unreadable)
        duplicates = [f"{row['picture']} is {row['earlier']}" for row in report["duplicates"]]
        yield from listed("duplicates", duplicates)
        yield from listed("without faces", report["without_faces"])
        yield from listed("in the folder, but not labelled", report["unlisted"])


def _face(row: Row) -> str:
    return f"{row['picture']}: face {row['face']}, {' '.join(f'{v:g}' for v in row['box'])}"
