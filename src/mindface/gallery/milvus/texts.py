"""Texts of any length in Milvus, whose strings end at 64 KiB: in pieces, by kind and number.

Milvus wants a vector in each collection; the one here means nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Literal

from mindface.gallery.codec import damaged
from mindface.gallery.milvus.records import Condition, Record, Records, among

PIECE = 16_000  # characters, of at most 4 bytes
VECTOR = [1.0, 0.0]

Kind = Literal["facts", "entry", "crop", "log"]


def text_rows(
    kind: Kind, number: int, text: str, people: Collection[int] = (), keys: Collection[str] = ()
) -> list[Record]:
    """A text as rows.

    Args:
        kind: what it is.
        number: which of that kind.
        text: of any length.
        people: whom it is about, at most two.
        keys: at most two hashes by which it is found.
    """
    first, second, *_ = (*people, 0, 0)
    one, other, *_ = (*keys, "", "")
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)] or [""]
    return [
        {
            "id": f"{kind}/{number:016d}/{part:08d}",
            "kind": kind,
            "number": number,
            "part": part,
            "parts": len(pieces),
            "person": first,
            "other": second,
            "key": one,
            "content": other,
            "body": piece,
            "vector": VECTOR,
        }
        for part, piece in enumerate(pieces)
    ]


def texts_of(records: Records, kind: Kind, *conditions: Condition) -> dict[int, str]:
    """Texts by number.

    Raises:
        IntegrityError: a piece is missing.
    """
    rows = records.find(among("kind", [kind]), *conditions)
    texts = joined(rows)
    for number in {row["number"] for row in rows} - {*texts}:
        raise damaged(records.server.where, f"the {kind} {number}")
    return texts


def joined(rows: Iterable[Record]) -> dict[int, str]:
    """Texts by number from their pieces; those of which all are there."""
    pieces: dict[int, list[Record]] = defaultdict(list)
    for row in rows:
        pieces[row["number"]].append(row)
    return {
        number: "".join(row["body"] for row in sorted(pieces[number], key=lambda row: row["part"]))
        for number in sorted(pieces)
        if len(pieces[number]) == pieces[number][0]["parts"]
    }


def remove_texts(records: Records, kind: Kind, numbers: Collection[int]) -> None:
    """Removes texts."""
    rows = records.find(among("kind", [kind]), among("number", numbers), fields=("id",))
    records.remove(row["id"] for row in rows)
