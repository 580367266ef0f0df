"""Forgetting people: their rows, vectors, crops and journal, and a look at what is left.

SQLite overwrites what is deleted with zeros (secure_delete), the write-ahead log is emptied, and
the matrix is written anew. Killed in between, the next that opens the gallery finishes that. Then
every file of the gallery is searched; should something be found, the database is written anew too
(VACUUM) and searched again.

An encrypted gallery shows a search nothing, whatever is left: its database is always written anew,
and the receipt says that nothing was searched.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mindface.errors import GalleryError
from mindface.gallery import hnsw, residue
from mindface.gallery.quantised import Quantisation, encode, shred_copies
from mindface.gallery.receipt import Receipt, Residue
from mindface.gallery.rows import Entry
from mindface.gallery.schema import translated
from mindface.zoo.lock import locked

if TYPE_CHECKING:
    from mindface.gallery.embedded import Embedded
    from mindface.gallery.tables import Tables

UNSEARCHED = (
    "that nothing is left in the files: they are encrypted, so they were not searched",
    "what copies and backups of earlier states hold: the same key opens them",
)
PATIENCE = 5000  # milliseconds that emptying the log waits for readers
SHORT = 6  # bytes; a shorter name stands in any large file by chance
LONG = 64  # bytes; a longer name may be spread over pages, and is looked for in pieces
SCAN = b"\xff\xda"  # a JPEG's pixels follow; what stands before is alike in many

Blob = tuple[str, bytes]  # what it is, and its bytes


@dataclass(frozen=True)
class Traces:
    """What must not be found any more.

    Attributes:
        people: ids of people and aliases.
        names: all that they had.
        faces: ids.
        vectors: float32, of faces and templates.
        crops: JPEG files.
        contents: of the faces.
    """

    people: tuple[int, ...]
    names: tuple[str, ...]
    faces: tuple[int, ...]
    vectors: tuple[bytes, ...]
    crops: tuple[bytes, ...]
    contents: tuple[str, ...]

    @property
    def blobs(self) -> list[Blob]:
        """What is looked for in windows."""
        copies = [copy for each in self.vectors for copy in _copies(each)]
        crops = [each[max(each.find(SCAN), 0) :] for each in self.crops]
        long = [each for name in self.names for each in _spellings(name) if len(each) > LONG]
        return [
            *(("vector", each) for each in (*self.vectors, *copies)),
            *(("crop", each) for each in crops),
            *(("name", each) for each in long),
        ]

    @property
    def tokens(self) -> list[bytes]:
        """What is looked for as a whole."""
        spelled = {each for name in self.names for each in _spellings(name)}
        return sorted(each for each in spelled if SHORT <= len(each) <= LONG)


def erase(store: Embedded, people: Sequence[int], entry: Entry) -> Receipt:
    """Removes people with all their aliases, and looks for what is left.

    Others can search again as soon as everything is removed; looking takes about as long as
    reading all files.

    Args:
        store: where they are.
        people: ids, no aliases.
        entry: to be put into the journal, under the number that it gets there.

    Raises:
        GalleryError: it cannot be written, or the files could not be searched.
    """
    with locked(store.lock_path):
        with store.writing():
            templates = _templates(store, people)
            traces, number, entries = remove(store, people, entry)
            traces = replace(traces, vectors=tuple(sorted({*traces.vectors, *templates})))
            store.put_meta("erasing", str(number))
        checkpointed = _cleaned(store, traces.people)
        if checkpointed:  # else the next opening tries again
            _finished(store)
    removed = Receipt(
        people=len(people),
        names=len(traces.names),
        faces=len(traces.faces),
        crops=len(traces.crops),
        entries=entries,
        checkpointed=checkpointed,
    )
    if store.key is not None:
        done = _vacuumed(store)
        return replace(removed, rewritten=True, checkpointed=done, unpromised=UNSEARCHED)
    blobs, known = traces.blobs, _known(store, traces.tokens)
    elsewhere = [f"a name stands in {len(known)} texts about others"] if known else []
    rewritten = False
    if any(len(name.encode()) < SHORT for name in traces.names):
        elsewhere.append(f"a name of fewer than {SHORT} bytes is in any large file by chance")
        rewritten, checkpointed = True, _vacuumed(store)
    found, files = _searched(store.path, blobs, traces.tokens, known)
    if found:
        blobs, shared = _without_shared(store, blobs)
        elsewhere += shared
        rewritten, checkpointed = True, _vacuumed(store)
        found, files = _searched(store.path, blobs, traces.tokens, known)
    return replace(
        removed,
        files=files,
        windows=sum(max(len(blob) - residue.WINDOW + 1, 1) for _, blob in blobs),
        residue=tuple(found),
        rewritten=rewritten,
        checkpointed=checkpointed,
        elsewhere=tuple(elsewhere),
    )


def finish(store: Embedded) -> None:
    """Does the rest of a forgetting that was killed after its rows were gone; the lock is held."""
    _cleaned(store, [each for (each,) in store.rows("SELECT person FROM gone")])
    if _vacuumed(store):
        _finished(store)


def _finished(store: Embedded) -> None:
    with store.writing():
        store.put_meta("erasing", None)


def remove(store: Tables, people: Sequence[int], entry: Entry) -> tuple[Traces, int, int]:
    """Removes people from the tables and from the journal's entries, inside a transaction.

    Args:
        store: where they are.
        people: ids, no aliases.
        entry: to be put into the journal.

    Returns:
        What was removed, the number of the entry, and how many entries were emptied.

    Raises:
        GalleryError: they are not there.
    """
    traces = _traces(store, people)
    number = store.last_entry() + 1
    store.delete_faces(traces.faces)
    store.delete_people(traces.people, number)
    entries = _scrub(store, traces)
    store.add_entry(replace(entry, id=number))
    return traces, number, entries


def _traces(store: Tables, people: Sequence[int]) -> Traces:
    """Everything about people, unchecked: what is damaged must go too."""
    there = store.chunked("SELECT id FROM people WHERE merged_into IS NULL AND id IN ({})", people)
    if not there:
        raise GalleryError(f"{store.where}: nobody of them is there: forgotten meanwhile")
    aliases = [alias for alias, root in store.roots().items() if root in people]
    ids = tuple(sorted({*(each for (each,) in there), *aliases}))
    rows = store.chunked("SELECT id, embedding, content FROM faces WHERE person IN ({})", ids)
    faces = tuple(row[0] for row in rows)
    crops = store.chunked("SELECT jpeg FROM crops WHERE face IN ({})", faces)
    names = [row[0] for row in store.chunked("SELECT name FROM people WHERE id IN ({})", ids)]
    renamed = store.chunked(
        "SELECT payload FROM journal WHERE kind = 'rename' AND person IN ({})", ids
    )
    for (payload,) in renamed:
        names += former_names(payload)
    return Traces(
        people=ids,
        names=tuple(sorted(set(names))),
        faces=faces,
        vectors=tuple(sorted({row[1] for row in rows})),
        crops=tuple(row[0] for row in crops),
        contents=tuple(sorted({row[2] for row in rows})),
    )


def former_names(payload: str) -> list[str]:
    """The names in the payload of a renaming, where it can be read."""
    with suppress(ValueError):
        return [each for each in json.loads(payload).values() if isinstance(each, str)]
    return []


def _templates(store: Embedded, people: Collection[int]) -> set[bytes]:
    """The rows of the matrix of people and their aliases."""
    if store.matrix.header() is None:
        return set()
    aliases = [alias for alias, root in store.roots().items() if root in people]
    view = store.matrix.view()
    return {view.vectors[row].tobytes() for row in view.rows_of({*people, *aliases})}


def _scrub(store: Tables, traces: Traces) -> int:
    """Empties the journal's entries about people and their faces; returns how many."""
    shared = store.chunked("SELECT content FROM faces WHERE content IN ({})", traces.contents)
    alone = set(traces.contents) - {row[0] for row in shared}
    found = [
        *store.chunked("SELECT id FROM journal WHERE person IN ({})", traces.people),
        *store.chunked("SELECT id FROM journal WHERE other IN ({})", traces.people),
        *store.chunked("SELECT id FROM journal WHERE content IN ({})", alone),
    ]
    ids = {row[0] for row in found}
    for number in ids:
        for entry in store.entries(number, number):
            store.put_entry(replace(entry, payload={}, content=None))
    return len(ids)


def _cleaned(store: Embedded, people: Collection[int]) -> bool:
    """Takes people out of the matrix, removes what is made from it, and empties the log.

    Returns:
        Whether the log is empty.
    """
    store.matrix.forget(people)
    shred_copies(store.path)
    there = store.matrix.header() is not None
    hnsw.forget(store.path, store.size, store.matrix.view() if there else None)
    _unlink_reindexing(store.path)
    return _checkpointed(store)


def _unlink_reindexing(path: Path) -> None:
    """Removes what an unfinished `enrolment.reindex` has beside the database; it begins again."""
    begun = re.compile(f"{re.escape(path.name)}-reindex(ed)?(-.*)?")
    with translated(path):
        for file in [*path.parent.iterdir()]:
            if begun.fullmatch(file.name):
                file.unlink(missing_ok=True)


def _vacuumed(store: Embedded) -> bool:
    store.rows("VACUUM")
    return _checkpointed(store)


def _checkpointed(store: Embedded) -> bool:
    waits = store.rows("PRAGMA busy_timeout")[0][0]
    store.rows(f"PRAGMA busy_timeout = {PATIENCE}")
    busy, *_ = store.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0]
    store.rows(f"PRAGMA busy_timeout = {waits}")
    return not busy


def _known(store: Embedded, tokens: Collection[bytes]) -> list[bytes]:
    """Texts in the database that hold a token and are not of who was forgotten."""
    columns = (
        "name FROM people",
        "tags FROM people",
        "path FROM faces",
        "content FROM faces",
        "payload FROM journal",
        "kind FROM journal",
        "sql FROM sqlite_master",
        "name FROM sqlite_master",
        "name FROM sqlite_sequence",
        "key FROM meta",
        "value FROM meta",
    )
    found: set[bytes] = set()
    for token in tokens:
        for each in columns:
            column = each.split()[0]
            statement = f"SELECT DISTINCT CAST({each.replace(' ', ' AS BLOB) ', 1)}"
            rows = store.rows(f"{statement} WHERE instr(CAST({column} AS BLOB), ?)", token)
            found |= {row[0] for row in rows}
    return sorted(found)


def _without_shared(store: Embedded, blobs: list[Blob]) -> tuple[list[Blob], list[str]]:
    """Leaves out what other people have too, and says so."""
    wanted = {blob for _, blob in blobs}
    shared: set[bytes] = set()
    vectors = crops = 0
    for (vector,) in store.rows("SELECT embedding FROM faces"):
        if vector in wanted:
            shared |= {vector, *_copies(vector)}
            vectors += 1
    for (crop,) in store.rows("SELECT jpeg FROM crops"):
        if (pixels := crop[max(crop.find(SCAN), 0) :]) in wanted:
            shared.add(pixels)
            crops += 1
    said = [
        f"{count} {what} that others were enrolled with too"
        for count, what in ((vectors, "vectors"), (crops, "crops"))
        if count
    ]
    return [(what, blob) for what, blob in blobs if blob not in shared], said


def _searched(
    path: Path, blobs: Sequence[Blob], tokens: Sequence[bytes], known: Sequence[bytes]
) -> tuple[list[Residue], dict[str, int]]:
    """What stands in the files of a gallery, and their sizes."""
    files = [
        each
        for each in sorted(path.parent.iterdir())
        if each.name == path.name or each.name.startswith(f"{path.name}-")
    ]
    request = {
        "files": [str(each) for each in files],
        "blobs": _coded([blob for _, blob in blobs]),
        "tokens": _coded(tokens),
        "known": _coded(known),
    }
    done = subprocess.run(
        [sys.executable, "-P", residue.__file__],
        input=json.dumps(request).encode(),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise GalleryError(
            f"{path}: removed, but the files could not be searched for what is left: {last}"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    found = [
        Residue(name, offset, blobs[number][0] if kind == "blobs" else "name")
        for name, kinds in answer["found"].items()
        for kind, places in kinds.items()
        for number, offset in places
    ]
    return sorted(found, key=lambda each: (each.file, each.offset)), answer["bytes"]


def _copies(vector: bytes) -> list[bytes]:
    """A vector in the other precisions that are stored."""
    row = np.frombuffer(vector, "<f4")[None]
    return [encode(row, precision).codes.tobytes() for precision in get_args(Quantisation)]


def _coded(blobs: Sequence[bytes]) -> list[str]:
    return [base64.b64encode(blob).decode() for blob in blobs]


def _spellings(name: str) -> set[bytes]:
    """A name as text and as JSON has it, with and without escapes of what is not ASCII."""
    return {
        name.encode(),
        json.dumps(name)[1:-1].encode(),
        json.dumps(name, ensure_ascii=False)[1:-1].encode(),
    }
