"""Whom an alias stands for, through other aliases."""

from __future__ import annotations

from collections.abc import Mapping

from mindface.errors import IntegrityError


def roots_of(into: Mapping[int, int]) -> dict[int, int]:
    """For each alias, the id of the person it stands for.

    Args:
        into: for each alias, the person or alias it was merged into.

    Raises:
        IntegrityError: one stands for itself.
    """
    return {alias: _root(into, alias) for alias in into}


def _root(into: Mapping[int, int], person: int) -> int:
    seen = {person}
    while person in into:
        person = into[person]
        if person in seen:
            raise IntegrityError(f"person {person} stands for itself: recover what is left")
        seen.add(person)
    return person
