"""Whose embeddings a gallery holds: noted when it is made, compared whenever it is opened."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mindface.errors import ContractError, GalleryError
from mindface.gallery.codec import damaged
from mindface.gallery.rows import checksum

FACTS = ("contract", "size", "created")


def founded(where: str, contract: str | None, size: int | None) -> dict[str, str]:
    """What a new gallery notes of itself.

    Raises:
        GalleryError: it was not said whose embeddings it will hold.
    """
    if contract is None or size is None or size < 1:
        raise GalleryError(
            f"{where}: no such gallery: to make one, give the contract and the size of the "
            "embeddings, as the recogniser's record has them"
        )
    facts = {"contract": contract, "size": str(size), "created": str(time.time())}
    return facts | {"checksum": str(checksum(facts.values()))}


def agreed(
    where: str, facts: Mapping[str, str | None], contract: str | None, size: int | None
) -> tuple[str, int]:
    """The contract and the size of a gallery, when they are those that are expected.

    Args:
        where: of the gallery.
        facts: what it noted.
        contract: that is expected; None: any.
        size: likewise.

    Raises:
        ContractError: it holds embeddings of another model.
        IntegrityError: what it noted is damaged.
    """
    noted = [facts.get(name) for name in FACTS]
    if facts.get("checksum") != str(checksum(noted)):
        raise damaged(where, "what the gallery is")
    found, values = str(noted[0]), int(str(noted[1]))
    if contract not in (None, found) or size not in (None, values):
        raise ContractError(
            f"{where}: holds embeddings of another model (contract {found:.12}, "
            f"{values} values, not {contract or 'any':.12}, {size or 'any'}): they cannot be "
            "compared: open it with that model, or reindex it with this one"
        )
    return found, values
