"""The faces of many photos on disk, kept by what the photos hold, so that stopped work goes on.

A photo whose path, size and time of change are as they were is not read again; one that was moved
or copied is known by the hash of its file. Only photos that could be read are kept.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mindface import golden
from mindface.analyzer import FaceAnalyzer
from mindface.enrolment import photo_hash
from mindface.errors import ContractError, ImageError, IntegrityError
from mindface.results import Analysis

Rows = NDArray[np.void]

BATCH = 32  # photos that are looked at together, and kept in one transaction
CHUNK = 1024  # photos that are looked up before the next batches
VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS photo (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, changed INTEGER NOT NULL, content TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (content TEXT PRIMARY KEY, faces BLOB NOT NULL);
"""


class Photo(NamedTuple):
    """A photo that was looked at.

    Attributes:
        content: the sha256 of its file.
        faces: `(N,)` of `row_type`, best score first.
    """

    content: str
    faces: Rows


def row_type(size: int) -> np.dtype[np.void]:
    """How a face is stored; `norm` is the length of the embedding before it was scaled."""
    return np.dtype(
        [
            ("box", "<f4", 4),
            ("landmarks", "<f4", (5, 2)),
            ("score", "<f4"),
            ("norm", "<f4"),
            ("embedding", "<f4", size),
        ]
    )


class FaceStore:
    """A file of SQLite with the faces of photos; made if absent, readable by its owner alone.

    Args:
        path: the file.
        analyzer: who finds the faces; in which precision its models run does not matter.
        anew: whether faces that were found otherwise are thrown away.

    Attributes:
        clear_norm: the length that the embedding of a clear face has before it is scaled.

    Raises:
        ContractError: it holds faces that were found with other models, and not `anew`.
        IntegrityError: it is no such file, of a newer version, or damaged.
    """

    def __init__(self, path: Path, analyzer: FaceAnalyzer, *, anew: bool = False) -> None:
        self.path = path
        self.analyzer = analyzer
        self.row_type = row_type(analyzer.recognizer.embedding_size)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self.database = sqlite3.connect(path, timeout=60)
        try:
            self._open(_facts(analyzer), anew)
        except sqlite3.DatabaseError as error:
            self.close()
            raise self._damaged(str(error)) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Closes the file."""
        self.database.close()

    def look(self, paths: Iterable[Path]) -> Iterator[tuple[Path, str | None]]:
        """Finds and embeds the faces of the photos that are not known yet.

        Memory does not grow with the number of photos. Faces are kept every 32 photos.

        Args:
            paths: of photos, absolute; taken as they are needed.

        Yields:
            Each photo once it is done, and why it cannot be read, or None.
        """
        remaining = iter(paths)
        while chunk := list(islice(remaining, CHUNK)):
            done: list[tuple[Path, str | None]] = []
            unknown = []
            with self.database:
                for path in chunk:
                    try:
                        found = self._unknown(path)
                    except ImageError as error:
                        done.append((path, error.reason))
                        continue
                    if found is None:
                        done.append((path, None))
                    else:
                        unknown.append(found)
            yield from done
            results = self.analyzer.stream((path for path, *_ in unknown), batch_size=BATCH)
            pairs = zip(unknown, results, strict=True)
            while batch := list(islice(pairs, BATCH)):
                with self.database:
                    done = [(found[0], self._keep(*found, result)) for found, result in batch]
                yield from done

    def prune(self, paths: Iterable[Path]) -> None:
        """Forgets all photos but these."""
        with self.database:
            self.database.execute("CREATE TEMP TABLE kept (path BLOB PRIMARY KEY) WITHOUT ROWID")
            rows = ((os.fsencode(path),) for path in paths)
            self.database.executemany("INSERT OR IGNORE INTO kept VALUES (?)", rows)
            self.database.execute("DELETE FROM photo WHERE path NOT IN (SELECT path FROM kept)")
            self.database.execute(
                "DELETE FROM seen WHERE content NOT IN (SELECT content FROM photo)"
            )
            self.database.execute("DROP TABLE kept")

    def photo(self, path: Path) -> Photo | None:
        """What is known of a photo, whether it is still there or not; None: nothing.

        Raises:
            IntegrityError: what was stored is damaged.
        """
        try:
            row = self.database.execute(
                "SELECT content, faces FROM photo JOIN seen USING (content) WHERE path = ?",
                (os.fsencode(path),),
            ).fetchone()
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error
        if row is None:
            return None
        content, data = row
        if len(data) % self.row_type.itemsize:
            raise self._damaged(f"{path} has {len(data)} bytes of faces")
        faces = np.frombuffer(data, self.row_type)
        lengths = np.linalg.norm(faces["embedding"], axis=1)
        if not (np.abs(lengths - 1) < 1e-3).all():
            raise self._damaged(f"{path} has an embedding that is not of unit length")
        return Photo(content, faces)

    def _open(self, facts: str, anew: bool) -> None:
        (version,) = self.database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise IntegrityError(
                f"{self.path}: is of a newer version of MindFace ({version}, not {VERSION}): "
                "use that one, or another --output"
            )
        self.database.execute("PRAGMA secure_delete = ON")
        self.database.executescript(SCHEMA)
        with self.database:
            self.database.execute(f"PRAGMA user_version = {VERSION}")
            known = self.database.execute("SELECT value FROM fact WHERE name = 'made by'")
            row = known.fetchone()
            if row is not None and row[0] != facts:
                if not anew:
                    raise ContractError(
                        f"{self.path}: holds faces that other models or options found, which "
                        "cannot be compared with these: say --rebuild to look at all photos "
                        "again, or name another --output"
                    )
                self.database.execute("DELETE FROM photo")
                self.database.execute("DELETE FROM seen")
                self.database.execute("DELETE FROM fact")
            self.database.execute("INSERT OR REPLACE INTO fact VALUES ('made by', ?)", (facts,))
            known = self.database.execute("SELECT value FROM fact WHERE name = 'clear norm'")
            row = known.fetchone()
            self.clear_norm = float(row[0]) if row else clear_norm(self.analyzer)
            self.database.execute(
                "INSERT OR REPLACE INTO fact VALUES ('clear norm', ?)", (repr(self.clear_norm),)
            )

    def _unknown(self, path: Path) -> tuple[Path, os.stat_result, str] | None:
        """A photo that must be looked at, with the state and the hash of its file."""
        status = _status(path)
        row = self.database.execute(
            "SELECT size, changed FROM photo WHERE path = ?", (os.fsencode(path),)
        ).fetchone()
        if row == (status.st_size, status.st_mtime_ns):
            return None
        content = photo_hash(path)
        if self.database.execute("SELECT 1 FROM seen WHERE content = ?", (content,)).fetchone():
            self._note(path, status, content)
            return None
        return path, status, content

    def _keep(
        self, path: Path, before: os.stat_result, content: str, analysis: Analysis
    ) -> str | None:
        """Keeps what was found in a photo, or says why not."""
        if analysis.error:
            return analysis.error
        try:
            after = _status(path)
        except ImageError as error:
            return error.reason
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            return "it changed while it was read"
        rows = np.zeros(len(analysis.faces), self.row_type)
        if len(rows):
            rows["box"], rows["landmarks"] = analysis.faces.boxes, analysis.faces.landmarks
            rows["score"], rows["norm"] = analysis.faces.scores, analysis.norms
            rows["embedding"] = analysis.embeddings
        self.database.execute(
            "INSERT OR REPLACE INTO seen VALUES (?, ?)", (content, rows.tobytes())
        )
        self._note(path, before, content)
        return None

    def _note(self, path: Path, status: os.stat_result, content: str) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO photo VALUES (?, ?, ?, ?)",
            (os.fsencode(path), status.st_size, status.st_mtime_ns, content),
        )

    def _damaged(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self.path}: is damaged, or no file of faces ({why}): remove it, and all photos are "
            "looked at again"
        )


def clear_norm(analyzer: FaceAnalyzer) -> float:
    """The length of an unscaled embedding of a clear face: the mean of the golden portraits'."""
    portraits = [portrait.image for portrait in golden.portraits()]
    norms = [found.norms.max() for found in analyzer.stream(portraits) if len(found.norms)]
    return float(np.mean(norms)) if norms else 0.0


def _facts(analyzer: FaceAnalyzer) -> str:
    """What decides which faces are found, and whether their embeddings can be compared."""
    detector = analyzer.detector
    facts = {
        "contract": analyzer.recognizer.record.contract,
        "detector": detector.record.sha256,
        "scales": detector.scales,
        "closer": detector.closer,
        "input_size": detector.input_size,
        "thresholds": asdict(detector.thresholds),
    }
    return json.dumps(facts, sort_keys=True)


def _status(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"cannot be read: {getattr(error, 'strerror', None) or error}", str(path)
        ) from error
