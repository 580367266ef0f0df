"""`mindface forget`, `mindface gallery purge`: people removed without a trace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mindface.cli.gallery.shared import KeyFile, Name, Url, Yes, agreed, open_gallery
from mindface.cli.options import Json
from mindface.errors import GalleryError, IntegrityError

if TYPE_CHECKING:
    from mindface.gallery import Gallery, Receipt
    from mindface.gallery.rows import FaceRow


def forget(
    person: Name,
    gallery: Url = None,
    key_file: KeyFile = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Remove a person with all aliases without a trace, look for one, and print a receipt.

    It cannot be undone. The original photos stay where they are. Exit code 15: something is left.

    Example: mindface forget "Ada Lovelace" --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        faces = _faces(people, person)
        agreed(f"Forget {person} ({len(faces)} faces) for good?", yes)
        cached = _discarded(faces)
        receipt = people.forget(person)
    _print(receipt, cached, as_json)


def purge(
    expired: Annotated[
        bool, typer.Option("--expired", help="Everybody whose time of validity is over.")
    ] = False,
    gallery: Url = None,
    key_file: KeyFile = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Forget everybody whose time is over, as mindface forget does for one.

    Example: mindface gallery purge --expired --yes --gallery people.db
    """
    if not expired:
        raise typer.BadParameter("say whom: --expired")
    now = datetime.now(UTC)
    with open_gallery(gallery, key_file=key_file) as people:
        over = [
            each.name for each in people.people() if each.valid_until and each.valid_until <= now
        ]
        if not over:
            print("null" if as_json else "nobody's time is over")
            return
        agreed(f"Forget {', '.join(over)}, whose time is over, for good?", yes)
        faces = [face for name in over for face in _faces(people, name)]
        cached = _discarded(faces)
        receipt = people.purge_expired(now)
    if receipt is not None:  # else they were forgotten meanwhile
        _print(receipt, cached, as_json)


def _faces(people: Gallery, name: str) -> list[FaceRow]:
    """A person's faces; none where one is damaged, which must not keep it from being forgotten."""
    try:
        return people.faces(name)
    except IntegrityError as error:
        print(f"{error}; the cache of evaluations may keep something of {name}", file=sys.stderr)
        return []


def _discarded(faces: Iterable[FaceRow]) -> int:
    """Takes faces' photos out of the cache of evaluations; how many were in it."""
    from mindface.features import discard
    from mindface.gallery.rows import photo_of

    return discard({photo_of(face.content) for face in faces})


def _print(receipt: Receipt, cached: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps(receipt.to_dict() | {"cached": cached}, ensure_ascii=False))
    else:
        print(_sentences(receipt))
        if cached:
            print(f"removed from the cache of evaluations: what was computed of {cached} photos")
    if receipt.residue or not receipt.checkpointed:
        raise GalleryError(
            "something may be left: close what else uses the gallery, and forget anybody again"
        )


def _sentences(receipt: Receipt) -> str:
    lines = [
        f"forgotten: people {receipt.people}, names {receipt.names}, embeddings {receipt.faces}, "
        f"crops {receipt.crops}; entries of the journal emptied: {receipt.entries}",
    ]
    if receipt.files:
        lines += _search(receipt)
    elif receipt.rewritten:
        lines.append("the database was written anew (VACUUM)")
    lines += [f"run on the server: {each}" for each in receipt.compacted]
    lines += [f"cannot be promised: {each}" for each in receipt.unpromised]
    return "\n".join([*lines, *receipt.elsewhere])


def _search(receipt: Receipt) -> list[str]:
    lines = [
        f"searched for {receipt.windows} stretches of 32 bytes and the names in:",
        *(f"  {name}: {size} bytes" for name, size in receipt.files.items()),
    ]
    lines += [
        f"still there: {each.what} in {each.file} at {each.offset}" for each in receipt.residue
    ]
    if not receipt.residue:
        lines.append("nothing was found")
    if not receipt.checkpointed:
        lines.append("the write-ahead log could not be emptied: another process reads it")
    return lines
