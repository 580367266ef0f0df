"""Whom to enrol and whom to search for, and what came of it as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mindface.recognition.folder_protocol import folder_pairs
from mindface.recognition.identification import RATES, Identification, split_folder
from mindface.recognition.metrics import Ints
from mindface.recognition.verification import rate_name

DEPTH = 20


@dataclass(frozen=True, eq=False)
class SearchProtocol:
    """A gallery and probes.

    Attributes:
        name: of the protocol.
        photos: M paths.
        people: `(M,)` the number of the person in each photo.
        gallery: indices of the photos that are enrolled.
        probes: indices of the photos that are searched for.
        hashes: what identifies the photos, by name.
    """

    name: str
    photos: tuple[str, ...]
    people: Ints
    gallery: Ints
    probes: Ints
    hashes: dict[str, str]


def search_folder(
    folder: Path, seed: int, gallery_photos: int = 1, non_mated: float = 0.5
) -> SearchProtocol:
    """Draws gallery and probes from a folder per person; see `identification.split_folder`."""
    whole = folder_pairs(folder)
    gallery, probes = split_folder(whole.people, seed, gallery_photos, non_mated)
    return SearchProtocol("folder", whole.names, whole.people, gallery, probes, whole.hashes)


def search_folders(gallery: Path, probes: Path) -> SearchProtocol:
    """Gallery and probes from two folders, each with a folder per person of the same name."""
    parts = {"gallery": folder_pairs(gallery), "probes": folder_pairs(probes)}
    persons: dict[str, int] = {}
    people = [
        persons.setdefault(part.persons[number], len(persons))
        for part in parts.values()
        for number in part.people
    ]
    enrolled = len(parts["gallery"].photos)
    names = tuple(name for part in parts.values() for name in part.names)
    return SearchProtocol(
        "gallery and probes",
        names,
        np.array(people),
        np.arange(enrolled),
        np.arange(enrolled, len(names)),
        {name: part.hashes["paths"] for name, part in parts.items()},
    )


def to_dict(
    protocol: SearchProtocol,
    result: Identification,
    reasons: Sequence[str | None],
    seed: int,
    manifest: Mapping[str, Any],
) -> dict[str, Any]:
    """Plain values, as `mindface evaluate identification --json` prints them."""
    skipped = [
        {"path": path, "reason": reason}
        for path, reason in zip(protocol.photos, reasons, strict=True)
        if reason
    ]
    rates = zip(RATES, result.rates(seed=seed), strict=True)
    return {
        "task": "identification",
        "protocol": protocol.name,
        "enrolled": result.enrolled,
        "mated": len(result.ranks),
        "non_mated": len(result.non_mated),
        "rank1": result.found(1),
        "rank5": result.found(5),
        "cmc": {"rank": list(range(1, DEPTH + 1)), "share": result.cmc(DEPTH).tolist()},
        "fnir_at_fpir": {
            rate_name(rate): found
            and {
                "fnir": found.fnir.value,
                "low": found.fnir.low,
                "high": found.fnir.high,
                "threshold": found.threshold,
                "fpir_low": found.fpir.low,
                "fpir_high": found.fpir.high,
            }
            for rate, found in rates
        },
        "failure_to_acquire": {
            "photos": len(protocol.photos),
            "failed": len(skipped),
            "rate": len(skipped) / len(protocol.photos),
        },
        "skipped": skipped,
        "manifest": {**manifest, "lists": protocol.hashes, "seed": seed},
    }
