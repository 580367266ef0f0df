"""Work on one batch while the next is fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def batches_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], size: int, threads: int
) -> Iterator[list[Result]]:
    """Applies `function` in threads, always one batch ahead of the consumer.

    Args:
        function: what to do with each item.
        items: taken as they are needed; may be endless.
        size: items in a batch; no more than two batches exist at a time.
        threads: how many items are worked on side by side.

    Yields:
        The results of `size` items (fewer in the last batch), in the order of the items.
    """
    if size < 1:
        raise ValueError(f"batch size must be at least 1, not {size}")
    remaining = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        pending = [pool.submit(function, item) for item in islice(remaining, size)]
        try:
            while pending:
                done = [future.result() for future in pending]
                pending = [pool.submit(function, item) for item in islice(remaining, size)]
                yield done
        finally:
            pool.shutdown(cancel_futures=True)
