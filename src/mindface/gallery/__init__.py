"""Enrolled people: kept durably, found exactly, told from strangers, corrected and forgotten.

`Gallery` is what is used. Below it: `journal` (what is done, each thing once), `identify` and
`decisions` (who is this), `audit`; and the `Backend` they stand on, which `opening` finds by URL:
`embedded` (`store`: SQLite, the truth; `matrix` and `search`: templates; `forgetting`, `recovery`;
`encryption`, and `memory` for its templates),
`postgres` and `milvus`.
"""

from __future__ import annotations

from mindface.gallery.decisions import Match, Policy
from mindface.gallery.encryption import Key
from mindface.gallery.gallery import Gallery
from mindface.gallery.person import Person
from mindface.gallery.receipt import Receipt
from mindface.gallery.recovery import Recovery, recover
from mindface.gallery.rows import Entry, Sample

__all__ = [
    "Entry",
    "Gallery",
    "Key",
    "Match",
    "Person",
    "Policy",
    "Receipt",
    "Recovery",
    "Sample",
    "recover",
]
