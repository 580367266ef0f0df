"""Changes of several rows, done wholly or not at all in the end, though Milvus has no transactions.

What is to be changed is written down first, as one text of the kind "log"; then it is done; then
the text is removed. A text of which a piece is missing was never complete, and is dropped. One
that is complete is done again: rows are written by id, so twice is as good as once. In between
others may see a part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

from mindface.gallery.milvus.records import Id, Record, Records, among
from mindface.gallery.milvus.texts import joined, text_rows

PATIENCE = 10.0  # seconds that a complete log is left to whoever wrote it

Changes = Mapping[str, Sequence[tuple[Id, Record | None]]]
"""By the name of the collection: rows as they will be, None: removed."""


def commit(collections: Mapping[str, Records], log: Records, number: int) -> None:
    """Writes all that is pending.

    Args:
        collections: by name, in the order in which they are written.
        log: the collection of texts.
        number: of the log, higher than of any before.
    """
    changes = {name: [*each.pending.items()] for name, each in collections.items() if each.pending}
    if not changes:
        return
    rows = text_rows("log", number, json.dumps(changes))
    log.write((row["id"], row) for row in reversed(rows))
    _apply(collections, changes)
    log.write((row["id"], None) for row in rows)


def finish(
    collections: Mapping[str, Records], log: Records, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Does what was written down and perhaps not done, once nobody else does it any more."""
    rows = log.find(among("kind", ["log"]))
    if not rows:
        return
    sleep(PATIENCE)
    left = {row["id"] for row in log.find(among("kind", ["log"]), fields=("id",))}
    rows = [row for row in rows if row["id"] in left]
    for text in joined(rows).values():
        _apply(collections, json.loads(text))
    log.write((row["id"], None) for row in rows)


def _apply(collections: Mapping[str, Records], changes: Changes) -> None:
    for name, some in changes.items():
        collections[name].write(some)
