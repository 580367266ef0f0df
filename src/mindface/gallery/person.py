"""A person as the gallery's users see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mindface.gallery.rows import PersonRow


@dataclass(frozen=True)
class Person:
    """An enrolled person.

    Attributes:
        id: never given to anybody else.
        name: by which it is known.
        aliases: other names, of people who were merged into it.
        tags: in order.
        embeddings: how many faces.
        valid_from: None: always was valid.
        valid_until: the first moment at which it is no longer valid; None: it stays so.
        created: when it was enrolled first.
    """

    id: int
    name: str
    aliases: tuple[str, ...]
    tags: tuple[str, ...]
    embeddings: int
    valid_from: datetime | None
    valid_until: datetime | None
    created: datetime

    def to_dict(self) -> dict[str, Any]:
        """Plain values; times as ISO 8601."""
        return {
            "name": self.name,
            "embeddings": self.embeddings,
            "created": self.created.isoformat(),
            "aliases": list(self.aliases),
            "tags": list(self.tags),
            "valid_from": self.valid_from and self.valid_from.isoformat(),
            "valid_until": self.valid_until and self.valid_until.isoformat(),
        }


def person_of(group: Sequence[PersonRow], counts: Mapping[int, int]) -> Person:
    """A person from its row and those of its aliases, and how many faces each has."""
    person = next(row for row in group if row.merged_into is None)
    return Person(
        id=person.id,
        name=person.name,
        aliases=tuple(row.name for row in group if row is not person),
        tags=person.tags,
        embeddings=sum(counts.get(row.id, 0) for row in group),
        valid_from=_moment(person.valid_from),
        valid_until=_moment(person.valid_until),
        created=datetime.fromtimestamp(person.created, UTC),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
