"""Long work seen from outside: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 10


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Yields `items` and shows how many of `total` are done."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as bar

        yield from bar(items, what, total, console=Console(stderr=True), transient=True)
        return
    started = shown = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - shown >= SECONDS_BETWEEN_LINES:
            rate = done / (now - started)
            print(f"{what}: {done} of {total}, {rate:.1f}/s", file=sys.stderr, flush=True)
            shown = now


def report_skipped(skipped: list[tuple[str, str]], total: int) -> None:
    """Counts and lists on stderr the photos that were skipped, each with its reason."""
    if skipped:
        print(f"{len(skipped)} of {total} photos skipped:", file=sys.stderr)
        for path, reason in skipped:
            print(f"  {path}: {reason}", file=sys.stderr)
