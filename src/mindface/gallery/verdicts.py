"""What was said about single faces: not this person, or certainly this person."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mindface.gallery.rows import Entry


class Journalled(Protocol):
    """Where verdicts are kept."""

    def verdicts(self, contents: Collection[str]) -> list[Entry]:
        """Standing rejections and confirmations of these faces, by number."""

    def roots(self) -> dict[int, int]:
        """For each alias, the id of the person it stands for."""


@dataclass(frozen=True)
class Verdicts:
    """What stands.

    Attributes:
        rejected: by face, the people whom it does not show.
        confirmed: by face, the person whom it shows.
    """

    rejected: Mapping[str, Collection[int]] = field(default_factory=dict)
    confirmed: Mapping[str, int] = field(default_factory=dict)

    def against(self, content: str, person: int) -> bool:
        """Whether a face does not show a person."""
        return person in self.rejected.get(content, ())


def standing(where: Journalled, contents: Collection[str]) -> Verdicts:
    """The last standing verdicts on faces; those on an alias are on the person it stands for."""
    entries = where.verdicts(contents)
    if not entries:
        return Verdicts()
    roots = where.roots()
    rejected: dict[str, set[int]] = defaultdict(set)
    confirmed: dict[str, int] = {}
    for entry in entries:
        content, said = str(entry.content), entry.person or 0
        person = roots.get(said, said)
        if entry.kind == "confirm":
            rejected[content].discard(person)
            confirmed[content] = person
        else:
            rejected[content].add(person)
            if confirmed.get(content) == person:
                del confirmed[content]
    return Verdicts(rejected, confirmed)
