"""`mindface cluster`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.gallery.shared import Calibrated, KeyFile, open_gallery
from mindface.cli.inputs import photos, stop_if_all_failed
from mindface.cli.options import Json, ModelOptions, Paths, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import CalibrationError, SkippedInputsError

if TYPE_CHECKING:
    from mindface.album import Album, Faces, FaceStore, Said, SortedFace
    from mindface.analyzer import FaceAnalyzer
    from mindface.clustering import Strictness

SHOWN = 20  # doubtful joins that are printed; --json and --report have more


@runs_models()
def cluster(
    paths: Paths,
    output: Annotated[
        Path, typer.Option(metavar="PEOPLE.jsonl", help="Whose each face is; joined if there.")
    ],
    gallery: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Names people, and its corrections are obeyed."),
    ] = None,
    key_file: KeyFile = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page with a sheet a person.")
    ] = None,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Sort all faces anew, not only new ones.")
    ] = False,
    chance: Annotated[
        float,
        typer.Option(help="That a face is like some stranger; lower: purer people, in more parts."),
    ] = 0.1,
    calibration: Calibrated = None,
    strict: Strict = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Sort the faces of photos into people, known or not.

    Writes a line a face: path, face, box, person, name, decision, confidence, doubtful, clear;
    doubtful faces first. Where the file is there, its faces stay where they are and new ones join
    them; --rebuild sorts all at once, and then the outcome does not depend on what was sorted when.
    Faces are kept in PEOPLE.jsonl-faces, so that stopped work goes on where it was.

    Example: mindface cluster photos/ --output people.jsonl --report sheets/
    """
    from mindface.album import FaceStore, load, sort_faces, write_people
    from mindface.album.report import write_report
    from mindface.analyzer import FaceAnalyzer
    from mindface.clustering import strictness

    if not 0 < chance < 1:
        raise typer.BadParameter(
            f"a chance lies between 0 and 1, not {chance:g}", param_hint="--chance"
        )
    files = [Path(os.path.abspath(path)) for path in photos(paths)]
    old = _old(output)
    elsewhere = _elsewhere(old, paths, files)
    analyzer = FaceAnalyzer(models.open_detector(), models.open_recognizer(calibration))
    calibrated = analyzer.recognizer.calibration
    if calibrated is None:
        raise CalibrationError(
            f"{analyzer.recognizer.record.name} has no calibration, so nobody knows how alike "
            "strangers are: run  mindface calibrate, then say --calibration CAL.json"
        )
    with closing(FaceStore(_beside(output), analyzer, anew=rebuild)) as store:
        unseen = [path for path in elsewhere if store.photo(path) is None]
        skipped = _look(store, [*dict.fromkeys(files), *unseen], strict)
        stop_if_all_failed(skipped, len(files))
        known = sorted({*files, *elsewhere} - {Path(path) for path, _ in skipped})
        faces = load(store, known)
        limit = strictness(calibrated, max(int(faces.clear.sum()), 1), chance)
        said = _said(gallery, key_file, analyzer, faces)
        album = sort_faces(faces, limit.threshold, old=() if rebuild else old, said=said)
        write_people(output, album.faces)
        store.prune(known)
        if report:
            write_report(album, store, report, output.name, lambda x, n: track(x, n, "thumbnails"))
    report_skipped(skipped, len(files) + len(unseen))
    run = _run(output, len(known), album, limit, skipped)
    print(json.dumps(run, ensure_ascii=False) if as_json else "\n".join(_lines(run, report)))


def _old(output: Path) -> list[SortedFace]:
    from mindface.album import read_people

    return read_people(output) if output.exists() else []


def _elsewhere(
    old: Sequence[SortedFace], paths: Sequence[Path], files: Sequence[Path]
) -> set[Path]:
    """Photos that were sorted before and lie in none of the folders that are given now."""
    here = {Path(os.path.abspath(path)) for path in paths}
    photos = {face.path for face in old}.difference(files)
    return {photo for photo in photos if here.isdisjoint((photo, *photo.parents))}


def _beside(output: Path) -> Path:
    return output.with_name(f"{output.name}-faces")


def _look(store: FaceStore, files: Sequence[Path], strict: bool) -> list[tuple[str, str]]:
    """Finds the faces of photos; returns those that cannot be read, and why."""
    skipped = []
    for path, reason in track(store.look(files), len(files), "cluster"):
        if reason and strict:
            raise SkippedInputsError(f"{path}: {reason}")
        if reason:
            skipped.append((str(path), reason))
    return skipped


def _said(
    url: str | None, key_file: Path | None, analyzer: FaceAnalyzer, faces: Faces
) -> list[Said] | None:
    """What the gallery says of each face; None: no gallery was named."""
    from mindface.album import ask

    if url is None:
        return None
    with open_gallery(url, analyzer.recognizer, key_file=key_file) as gallery:
        asked = ask(gallery, faces.contents, faces.embeddings)
        return list(track(asked, len(faces), "gallery"))


def _run(
    output: Path, photos: int, album: Album, limit: Strictness, skipped: list[tuple[str, str]]
) -> dict[str, Any]:
    folder = Path(os.path.abspath(output.parent))
    people = {face.person for face in album.faces} - {None}

    def place(number: int) -> dict[str, Any]:
        values = album.faces[number].to_dict(folder)
        return {key: values[key] for key in ("path", "face", "box")}

    return {
        "output": str(output),
        "photos": photos,
        "faces": len(album.faces),
        "people": len(people),
        "named": len({face.name for face in album.faces} - {None}),
        "alone": sum(face.person is None for face in album.faces),
        "unclear": sum(face.person is None and not face.clear for face in album.faces),
        "doubtful_faces": sum(face.doubtful for face in album.faces),
        "threshold": limit.threshold,
        "extrapolated": limit.extrapolated,
        "doubtful_joins": [
            {
                "person": join.person,
                "name": album.faces[join.faces[0]].name,
                "similarity": round(join.similarity, 4),
                "a": place(join.faces[0]),
                "b": place(join.faces[1]),
            }
            for join in album.joins
        ],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
    }


def _lines(run: dict[str, Any], report: Path | None) -> Iterator[str]:
    joins = run["doubtful_joins"]
    if joins:
        yield f"doubtful joins: {len(joins):,}, the most doubtful first"
    for join in joins[:SHOWN]:
        who = join["name"] or f"person {join['person']}"
        yield f"  {join['similarity']:.3f}  {who}: {_place(join['a'])}  and  {_place(join['b'])}"
    if len(joins) > SHOWN:
        yield f"  ... {len(joins) - SHOWN:,} more: see --report or --json"
    beyond = ", extrapolated" if run["extrapolated"] else ""
    named = f", {run['named']:,} of them named" if run["named"] else ""
    yield (
        f"{run['output']}: {run['faces']:,} faces of {run['photos']:,} photos are "
        f"{run['people']:,} people{named}; {run['alone']:,} faces are nobody's "
        f"({run['unclear']:,} of them unclear); doubtful faces: {run['doubtful_faces']:,}; "
        f"alike from {run['threshold']:.3f} on{beyond}"
    )
    if report:
        yield f"{report / 'index.html'}: contact sheets"


def _place(face: dict[str, Any]) -> str:
    box = " ".join(f"{value:.0f}" for value in face["box"])
    return f"{face['path']} [{box}]"
