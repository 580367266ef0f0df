"""Forgetting people in PostgreSQL, as far as a client can bring a server to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from mindface.errors import GalleryError
from mindface.gallery.forgetting import remove
from mindface.gallery.postgres.connection import WAIT
from mindface.gallery.receipt import Receipt
from mindface.gallery.rows import Entry

if TYPE_CHECKING:
    from mindface.gallery.postgres.backend import Postgres

PATIENCE = "5s"  # that writing the tables anew waits for others
TABLES = ("people", "faces", "crops", "journal", "templates")
UNPROMISED = (
    "the write-ahead log, and archives of it, hold the rows until the server removes them",
    "replicas, backups and dumps of the database keep what they have",
    "the file system and its snapshots may keep blocks of files that the server has deleted",
)


def erase(store: Postgres, people: Sequence[int], entry: Entry) -> Receipt:
    """Removes people with all their aliases, and has the tables written anew without them.

    Args:
        store: where they are.
        people: ids, no aliases.
        entry: to be put into the journal, under the number that it gets there.

    Raises:
        GalleryError: it cannot be written.
    """
    with store.writing():
        traces, _, entries = remove(store, people, entry)
    store.rows(f"SET lock_timeout = '{PATIENCE}'")
    try:
        compacted = {table: _compacted(store, table) for table in TABLES}
        checkpointed = _run(store, "CHECKPOINT")
    finally:
        store.rows(f"SET lock_timeout = '{WAIT}s'")
    unpromised = [
        f"files of the table {table}: not written anew"
        for table, done in compacted.items()
        if not done
    ]
    if not checkpointed:
        unpromised.append("files that were written anew: the old ones go at the next checkpoint")
    return Receipt(
        people=len(people),
        names=len(traces.names),
        faces=len(traces.faces),
        crops=len(traces.crops),
        entries=entries,
        files={},
        windows=0,
        residue=(),
        rewritten=all(compacted.values()),
        checkpointed=all(compacted.values()),
        compacted=(
            *(f"VACUUM{' FULL' * done} {table}" for table, done in compacted.items()),
            *(["CHECKPOINT"] if checkpointed else []),
        ),
        unpromised=(*unpromised, *UNPROMISED),
    )


def _compacted(store: Postgres, table: str) -> bool:
    """Writes a table anew, or else frees its rows; returns whether it was written anew."""
    file = "SELECT pg_relation_filenode(?::regclass)"
    before = store.rows(file, table)
    _run(store, f"VACUUM (FULL, ANALYZE) {table}")
    done = store.rows(file, table) != before  # of a table of another role there is but a warning
    if not done:
        _run(store, f"VACUUM (ANALYZE) {table}")
    return done


def _run(store: Postgres, statement: str) -> bool:
    """Whether the server did it; others may use the table, or the role may not."""
    with suppress(GalleryError):
        store.rows(statement)
        return True
    return False
