"""What a forgetting did, and what it found afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Residue:
    """Something forgotten that still stands in a file.

    Attributes:
        file: its name.
        offset: in bytes.
        what: "vector", "crop" or "name".
    """

    file: str
    offset: int
    what: str


@dataclass(frozen=True)
class Receipt:
    """What was removed, and where it was looked for.

    Attributes:
        people: how many, aliases not counted.
        names: how many names and aliases.
        faces: how many embeddings.
        crops: how many.
        entries: of the journal whose contents were removed.
        checkpointed: whether the write-ahead log could be emptied, or a server's tables written
            anew; not while another process reads an older state.
        files: that were searched from the first byte to the last, with their sizes.
        windows: how many stretches of 32 bytes of vectors (float32 and float16), templates and
            crops were searched for.
        residue: what is still there.
        rewritten: whether the database was written anew (VACUUM).
        elsewhere: what cannot be told from other people's data, each in a sentence.
        compacted: what was run on a server so that its storage gives up what was removed.
        unpromised: where on a server, or with a key, it may still be, each in a sentence.
    """

    people: int
    names: int
    faces: int
    crops: int
    entries: int
    checkpointed: bool
    files: dict[str, int] = field(default_factory=dict)
    windows: int = 0
    residue: tuple[Residue, ...] = ()
    rewritten: bool = False
    elsewhere: tuple[str, ...] = ()
    compacted: tuple[str, ...] = ()
    unpromised: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether nothing was found and everything could be looked at."""
        return not self.residue and self.checkpointed and not self.unpromised

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"clean": self.clean}
