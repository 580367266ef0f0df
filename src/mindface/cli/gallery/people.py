"""`mindface gallery list`, `show`, `edit`: who is enrolled, with which tags, and until when."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mindface.cli.gallery.shared import KeyFile, Name, Url, given_moment, open_gallery, say
from mindface.cli.options import Json
from mindface.errors import GalleryError

if TYPE_CHECKING:
    from mindface.gallery import Gallery, Person


def list_people(gallery: Url = None, key_file: KeyFile = None, as_json: Json = False) -> None:
    """List everybody: name, embeddings, when enrolled.

    Example: mindface gallery list --gallery people.db --json
    """
    with open_gallery(gallery, key_file=key_file) as people:
        everybody = people.people()
    if as_json:
        keys = ("name", "embeddings", "created")
        print(json.dumps([_part(person, keys) for person in everybody], ensure_ascii=False))
    else:
        for person in everybody:
            print(f"{person.name}\t{person.embeddings}\t{person.created:%Y-%m-%d %H:%M}")


def show(
    person: Name, gallery: Url = None, key_file: KeyFile = None, as_json: Json = False
) -> None:
    """Show a person: aliases, tags, validity and faces, with what was overruled at enrolment.

    Example: mindface gallery show "Ada Lovelace" --gallery people.db
    """
    with open_gallery(gallery, key_file=key_file) as people:
        found = _named(people, person)
        forced = _forced(people)
        faces = [
            {
                "id": face.id,
                "path": face.path,
                "quality": round(face.quality, 4),
                "forced": forced.get(face.id, []),
            }
            for face in people.faces(found.name)
        ]
    facts = {**found.to_dict(), "faces": faces}
    print(json.dumps(facts, ensure_ascii=False) if as_json else _sentences(facts))


def edit(
    person: Name,
    tag: Annotated[
        list[str] | None, typer.Option(help="Instead of those it has; may be repeated.")
    ] = None,
    no_tags: Annotated[bool, typer.Option("--no-tags", help="Take all tags away.")] = False,
    valid_from: Annotated[
        str | None, typer.Option(metavar="TIME", help="As 2027-01-01T00:00Z; none: always.")
    ] = None,
    valid_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Likewise; none: no end.")
    ] = None,
    gallery: Url = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give a person other tags, or another time of validity; what is not named stays.

    Example: mindface gallery edit Max --valid-until 2027-02-01T00:00Z --gallery people.db
    """
    if tag and no_tags:
        raise typer.BadParameter("--tag and --no-tags say opposite things")
    if not (tag or no_tags or valid_from or valid_until):
        raise typer.BadParameter("say what: --tag, --no-tags, --valid-from or --valid-until")
    with open_gallery(gallery, key_file=key_file) as people:
        found = _named(people, person)
        entry = people.edit(
            found.name,
            tags=tag or (() if no_tags else found.tags),
            valid_from=_moment(valid_from, found.valid_from),
            valid_until=_moment(valid_until, found.valid_until),
        )
    say(entry, f"{found.name} has other tags, or another time", as_json)


def _moment(given: str | None, there: datetime | None) -> datetime | None:
    if given is None:
        return there
    return None if given == "none" else given_moment(given)


def _part(person: Person, keys: tuple[str, ...]) -> dict[str, Any]:
    facts = person.to_dict()
    return {key: facts[key] for key in keys}


def _named(people: Gallery, name: str) -> Person:
    for person in people.people():
        if name in (person.name, *person.aliases):
            return person
    raise GalleryError(f"{people.backend.where}: there is nobody named {name!r:.80}")


def _forced(people: Gallery) -> dict[int, list[str]]:
    """What was overruled, by face."""
    found = {}
    for entry in people.entries():
        if note := entry.payload.get("note"):
            first, _ = entry.payload["faces"]
            found[first] = [_figure(*each) for each in note["forced"]]
    return found


def _figure(check: str, figure: float | None, limit: float | None) -> str:
    return check if figure is None else f"{check} {figure:.3g} (limit {limit:.3g})"


def _sentences(facts: dict[str, Any]) -> str:
    lines = [f"{facts['name']}: enrolled {facts['created']}"]
    if facts["aliases"]:
        lines.append(f"also: {', '.join(facts['aliases'])}")
    if facts["tags"]:
        lines.append(f"tags: {', '.join(facts['tags'])}")
    if facts["valid_from"] or facts["valid_until"]:
        lines.append(f"valid: {facts['valid_from'] or ''} to {facts['valid_until'] or ''}")
    for face in facts["faces"]:
        said = f"  face {face['id']}  quality {face['quality']:.1f}  {face['path'] or 'no path'}"
        lines.append(said + (f"  forced: {', '.join(face['forced'])}" if face["forced"] else ""))
    return "\n".join(lines)
