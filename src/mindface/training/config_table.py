"""All keys of a configuration, and the table of them that the documentation shows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

Schema = dict[str, Any]
MISSING = object()
BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


class Key(NamedTuple):
    """A key of a configuration.

    Attributes:
        name: dotted, as an override has it; the sections of a list have the index 0.
        kind: what its value may be, in words.
        default: as it would be written; None where a value must be given.
        description: of its `Field`.
    """

    name: str
    kind: str
    default: str | None
    description: str


def keys(model: type[BaseModel]) -> list[Key]:
    """All keys, in their order; sections are not listed where they are but their keys."""
    schema = model.model_json_schema()
    return list(_walk(schema, schema.get("$defs", {}), "", {}))


def sections(model: type[BaseModel]) -> set[str]:
    """The dotted names of all sections."""
    names = [key.name.split(".") for key in keys(model)]
    return {".".join(name[:length]) for name in names for length in range(1, len(name))}


def config_table(model: type[BaseModel]) -> str:
    """A table of all keys in Markdown: key, type, default, description."""
    rows = ["| key | type | default | what |", "|---|---|---|---|"]
    for key in keys(model):
        default = "required" if key.default is None else f"`{key.default}`"
        rows.append(f"| `{key.name}` | {key.kind} | {default} | {key.description} |")
    return "\n".join(rows) + "\n"


def _walk(section: Schema, definitions: Schema, before: str, defaults: Schema) -> Iterator[Key]:
    for name, field in section["properties"].items():
        default = defaults.get(name, field.get("default", MISSING))
        kind = _kind(field, definitions)
        if kind != "section":
            shown = None if default is MISSING else _shown(default)
            yield Key(before + name, kind, shown, field.get("description", ""))
        inherited = default if isinstance(default, dict) else {}
        for path, inner in _sections(field, definitions):
            yield from _walk(inner, definitions, f"{before}{name}.{path}", inherited)


def _sections(field: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    """The sections that a value may be or hold, each with the way to its keys."""
    target = _target(field, definitions)
    if "properties" in target:
        yield "", target
    for choice in field.get("anyOf", []) + field.get("oneOf", []):
        yield from _sections(choice, definitions)
    for path, inner in _sections(field["items"], definitions) if "items" in field else ():
        yield f"0.{path}", inner


def _kind(field: Schema, definitions: Schema) -> str:
    match _target(field, definitions):
        case {"properties": _}:
            return "section"
        case {"enum": values}:
            return " or ".join(f"`{value}`" for value in values)
        case {"const": value}:
            return f"`{value}`"
        case {"anyOf": choices} | {"oneOf": choices}:
            return " or ".join(dict.fromkeys(_kind(choice, definitions) for choice in choices))
        case {"prefixItems": items}:
            return f"[{', '.join(_kind(item, definitions) for item in items)}]"
        case {"items": item}:
            return f"list of {_kind(item, definitions)}"
        case {"additionalProperties": dict() as item}:
            return f"mapping to {_kind(item, definitions)}"
        case {"format": name} | {"type": name}:
            return f"{name} {_bounds(field)}".rstrip()
    return "anything"


def _target(field: Schema, definitions: Schema) -> Schema:
    """The field, or what it refers to."""
    if "$ref" not in field:
        return field
    found: Schema = definitions[field["$ref"].rpartition("/")[2]]
    return found


def _bounds(field: Schema) -> str:
    return ", ".join(f"{sign} {field[word]:g}" for word, sign in BOUNDS.items() if word in field)


def _shown(default: Any) -> str:
    return default if isinstance(default, str) and default else json.dumps(default)
