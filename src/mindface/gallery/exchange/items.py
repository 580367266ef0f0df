"""Long rows of items: seen going by, and taken some at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Watch = Callable[[Iterable[Any], int], Iterable[Any]]
"""Lets items go by, being told how many there will be: a progress bar."""


def unwatched(items: Iterable[Item], total: int) -> Iterable[Item]:
    """Lets items go by."""
    return items


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items some at a time, in their order."""
    remaining = iter(items)
    while some := list(islice(remaining, size)):
        yield some
