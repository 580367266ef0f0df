"""Embeddings of many photos on disk: written shard by shard, so that stopped work resumes."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindface.recognition.recognizer import Recognizer
from mindface.results import Analysis

ROWS = ("embeddings", "paths", "boxes", "scores", "landmarks")
SKIPPED = ("skipped_paths", "skipped_reasons")


class EmbeddingShards:
    """The unfinished `X.npz`, as a folder `X.npz.parts` of shards.

    Args:
        output: the file to write in the end.
        photos: all photos of the job, in order.
        recognizer: whose embeddings they are.
        settings: whatever else changes the result; shards of other settings are thrown away.
    """

    def __init__(
        self, output: Path, photos: Sequence[str], recognizer: Recognizer, settings: str
    ) -> None:
        self.output = output
        self.recognizer = recognizer
        self.folder = output.with_name(output.name + ".parts")
        facts = json.dumps([list(photos), recognizer.record.contract, settings])
        job = hashlib.sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()
        mark = self.folder / "job"
        if self.folder.exists() and (not mark.exists() or mark.read_text() != job):
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        mark.write_text(job)

    @property
    def done(self) -> int:
        """How many photos, from the first on, stand in shards."""
        done = 0
        for shard in self._shards():
            start, stop = map(int, shard.stem.split("-"))
            if start != done:
                break
            done = stop
        return done

    def append(self, analyses: Sequence[Analysis]) -> None:
        """Writes the results of the next photos as one shard, whole or not at all."""
        start = self.done
        rows = self.recognizer.collect(analyses)
        partial = self.folder / "shard.tmp"
        with partial.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                embeddings=rows.embeddings,
                paths=np.array(rows.paths, np.str_),
                boxes=rows.boxes,
                scores=rows.scores,
                landmarks=rows.landmarks,
                skipped_paths=np.array([skip.path for skip in rows.skipped], np.str_),
                skipped_reasons=np.array([skip.reason for skip in rows.skipped], np.str_),
            )
        partial.replace(self.folder / f"{start:09d}-{start + len(analyses):09d}.npz")

    def finish(self) -> tuple[int, list[tuple[str, str]]]:
        """Joins the shards into the output, array by array, and removes them.

        Returns:
            The number of rows, and the skipped photos with their reasons.
        """
        partial = self.output.with_name(self.output.name + ".tmp")
        with zipfile.ZipFile(partial, "w") as archive:
            rows = self._join(archive, ROWS[0])
            for name in (*ROWS[1:], *SKIPPED):
                self._join(archive, name)
            record = self.recognizer.record
            facts = {"contract": record.contract, "model": record.name, "licence": record.licence}
            for name, value in facts.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.array(value), allow_pickle=False)
        partial.replace(self.output)
        shutil.rmtree(self.folder)
        with np.load(self.output, allow_pickle=False) as written:
            skipped = list(zip(*(written[name].tolist() for name in SKIPPED), strict=True))
        return rows, skipped

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("*-*.npz"))

    def _join(self, archive: zipfile.ZipFile, name: str) -> int:
        heads = [self._head(shard, name) for shard in self._shards()]
        rows = sum(shape[0] for shape, _ in heads)
        kind = np.result_type(*[dtype for _, dtype in heads]) if heads else np.dtype("<U1")
        shape = (rows, *heads[0][0][1:]) if heads else (0,)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            header = {"descr": kind.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            for shard in self._shards():
                with np.load(shard, allow_pickle=False) as part:
                    file.write(part[name].astype(kind).tobytes())
        return int(rows)

    @staticmethod
    def _head(shard: Path, name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
        with np.load(shard, allow_pickle=False) as part:
            return part[name].shape, part[name].dtype
