"""What encryption costs a gallery: enrolling N people of 512 values, opening, the first search.

    python benchmarks/gallery_encryption.py 100000

Seconds of wall time, and of processor time, which other work on the machine changes less.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from mindface.gallery import Gallery, Key

SIZE = 512


def timed(what, work):
    """Does work, and says how long it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    print(
        f"  {what:<13} {time.perf_counter() - wall:8.3f} s  "
        f"processor {time.process_time() - cpu:8.3f} s",
        flush=True,
    )


def main(count):
    """Measures a plain and an encrypted gallery."""
    rows = np.random.default_rng(0).standard_normal((count, SIZE)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for kind, key in (("plain", None), ("encrypted", Key(bytes(32)))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "people.db"
            print(f"{kind}, {count} people", flush=True)
            with Gallery(path, "a" * 64, SIZE, key=key) as gallery:
                people = ((f"person {each}", row[None]) for each, row in enumerate(rows))
                timed("enrol", lambda: gallery.add_many(people))  # noqa: B023
            gallery = Gallery(path, key=key)
            timed("first search", lambda: gallery.identify(rows[:1]))  # noqa: B023
            timed("next search", lambda: gallery.identify(rows[:1]))  # noqa: B023
            gallery.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
