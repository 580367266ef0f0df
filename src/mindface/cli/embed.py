"""`mindface embed`."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from mindface.cli.inputs import photos, stop_if_all_failed
from mindface.cli.options import Json, Largest, ModelOptions, Paths, Score, Strict, runs_models
from mindface.cli.progress import report_skipped, track
from mindface.errors import SkippedInputsError


@runs_models()
def embed(
    paths: Paths,
    output: Annotated[Path, typer.Option(metavar="X.npz", help="The file to write.")],
    largest: Largest = False,
    aligned: Annotated[
        bool, typer.Option("--aligned", help="The photos are aligned faces: detect nothing.")
    ] = False,
    score: Score = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos worked on together.")] = 32,
    shard_size: Annotated[int, typer.Option(min=1, help="Photos between two saves.")] = 1024,
    strict: Strict = False,
    as_json: Json = False,
    *,
    models: ModelOptions,
) -> None:
    """Turn the faces in photos into embeddings, one row a face.

    Writes the arrays embeddings (N, D), paths, boxes, scores, landmarks, contract, model, licence,
    skipped_paths and skipped_reasons. Stopped work goes on where it was when the same command is
    given again.

    Example: mindface embed photos/ --output people.npz --largest
    """
    import json

    from mindface.shards import EmbeddingShards

    analyzer = models.open_analyzer(aligned=aligned, score_threshold=score)
    files = photos(paths)
    record = analyzer.recognizer.record
    shards = EmbeddingShards(
        output,
        [str(path) for path in files],
        analyzer.recognizer,
        "aligned" if aligned else f"{analyzer.detector.record.sha256} {largest} {score}",
    )
    done = shards.done
    stream = track(
        analyzer.stream(files[done:], batch_size=batch_size, largest=largest, aligned=aligned),
        len(files) - done,
        "embed",
    )
    unreadable = []
    while shard := list(islice(stream, shard_size)):
        unreadable += [(item.name, item.error) for item in shard if item.error]
        if strict and unreadable:
            raise SkippedInputsError(f"{unreadable[0][0]}: {unreadable[0][1]}")
        shards.append(shard)
    stop_if_all_failed(unreadable, len(files))
    rows, skipped = shards.finish()
    report_skipped(skipped, len(files))
    summary = {
        "output": str(output),
        "photos": len(files),
        "embeddings": rows,
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "model": record.name,
        "licence": record.licence,
        "contract": record.contract,
    }
    print(
        json.dumps(summary, ensure_ascii=False)
        if as_json
        else f"{output}: {rows} embeddings of {len(files)} photos ({record.name})"
    )
