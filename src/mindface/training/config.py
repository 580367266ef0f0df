"""Typed configuration: a preset in YAML, dotted overrides, and all faults in one message.

```
class Optimizer(Config):
    lr: float = Field(default=0.1, gt=0, description="Peak learning rate.")

class Training(Config):
    optimizer: Optimizer = Optimizer()

config = load_config(Training, "presets/casia_r50.yaml", ["optimizer.lr=0.05"])
```
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from mindface.errors import ConfigError
from mindface.training.config_table import keys, sections
from mindface.training.config_yaml import Tree, mapping, merged, read_preset, value, written


class Config(BaseModel):
    """A section of a configuration: no other keys than its own, no other types, no changes.

    A whole number does for a float; infinity and NaN do not. Made in Python, a path must be a
    `Path` and a list a tuple.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


MISSING = "???"  # in a preset: its user must say

C = TypeVar("C", bound=Config)


def load_config(
    model: type[C], preset: Path | Traversable | str, overrides: Sequence[str] = ()
) -> C:
    """Reads a preset and what it is based on, and applies overrides in their order.

    Args:
        model: what the configuration must be.
        preset: the file; see `config_yaml` for its language and for `base`.
        overrides: such as `optimizer.lr=0.05`, `data.sets=[a.rec, b.rec]`, `data.0.weight=2` or
            `freeze=null`: the value is YAML and replaces what is there, a whole section too.

    Raises:
        ConfigError: a preset cannot be read, or the configuration has faults; all are named.
    """
    path = Path(str(preset))
    tree, faults = read_preset(path, sections(model)), []
    for override in overrides:
        try:
            tree = _overridden(tree, override)
        except ConfigError as error:
            faults.append(str(error))
    return _validated(model, tree, str(path), faults)


def parse_config(model: type[C], text: str, source: str) -> C:
    """Reads what `dump_config` wrote, or any other YAML or JSON without a base.

    Args:
        model: what the configuration must be.
        text: the content.
        source: what messages call it.

    Raises:
        ConfigError: as `load_config`.
    """
    return _validated(model, mapping(text, source), source, [])


def dump_config(config: Config) -> str:
    """All keys and values as YAML, of which `parse_config` makes an equal configuration."""
    return written(config.model_dump(mode="json"))


def _overridden(tree: Tree, override: str) -> Tree:
    key, equals, text = override.partition("=")
    path = key.split(".")
    if not equals or "" in path:
        raise ConfigError(f"{override!r:.80}: write KEY=VALUE, such as optimizer.lr=0.05")
    changed: Tree = _replaced(tree, path, value(text, key), key)
    return changed


def _replaced(place: Any, path: list[str], new: Any, key: str) -> Any:
    """A copy with another value at the end of a path; missing and null sections are made."""
    if not path:
        return new
    part, *rest = path
    if place is None or isinstance(place, dict):
        place = place or {}
        return {**place, part: _replaced(place.get(part), rest, new, key)}
    if not isinstance(place, list):
        raise ConfigError(f"{key}: nothing can be inside of {place!r:.80}")
    if not (part.isdecimal() and int(part) < len(place)):
        raise ConfigError(f"{key}: the list has the items 0 to {len(place) - 1}, no {part}")
    index = int(part)
    return [*place[:index], _replaced(place[index], rest, new, key), *place[index + 1 :]]


def _validated(model: type[C], tree: Tree, source: str, faults: list[str]) -> C:
    """Makes the configuration; JSON lets lists be tuples and text be paths, and no more."""
    faults = [*faults, *(f"{key} must be given" for key in _missing(tree))]
    text = json.dumps(merged(_defaults(model), tree, sections(model)), default=str)
    try:
        config = model.model_validate_json(text, strict=True)
    except ValidationError as error:
        faults = [*faults, *_faults(error, model, json.loads(text))]
    if faults:
        raise ConfigError("\n  ".join([f"{source}: the configuration cannot be used:", *faults]))
    return config


def _missing(tree: Any, key: str = "") -> list[str]:
    """The keys whose values a preset leaves to its user."""
    if isinstance(tree, dict):
        return [found for part in tree for found in _missing(tree[part], f"{key}.{part}")]
    return [key.removeprefix(".")] if tree == MISSING else []


def _defaults(model: type[Config]) -> Tree:
    """The sections as the model has them by default, so that naming one key keeps the others."""
    found = {}
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and type(default) is field.annotation:
            found[name] = default.model_dump(mode="json")
    return found


def _faults(error: ValidationError, model: type[Config], tree: Tree) -> list[str]:
    """What is wrong, a line a key; for a union there is a fault for each of its types."""
    lines: dict[str, list[str]] = {}
    for fault in error.errors():
        key = _dotted(fault["loc"], tree)
        match fault["type"]:
            case "extra_forbidden":
                text = f"no such key{_hint(key, model)}"
            case "missing":
                key, text = f"{key}.{fault['loc'][-1]}".removeprefix("."), "must be given"
            case "value_error":
                text = str(fault["ctx"]["error"])
            case _:
                key = f"{key}={json.dumps(fault['input'], default=str):.80}"
                text = fault["msg"].removeprefix("Input ")
        lines.setdefault(key, []).append(text)
    return [f"{key}: {' or '.join(texts)}".removeprefix(": ") for key, texts in lines.items()]


def _dotted(location: tuple[int | str, ...], tree: Any) -> str:
    """The key of a fault, whose location has the types of unions too."""
    parts = []
    for part in location:
        if part in tree if isinstance(tree, dict) else isinstance(part, int):
            parts.append(str(part))
            tree = tree[part]
    return ".".join(parts)


def _hint(key: str, model: type[Config]) -> str:
    """What may have been meant: a key of the same section, or one of another."""
    *path, last = key.split(".")
    pattern = ["0" if part.isdecimal() else part for part in path]
    names = [known.name.split(".") for known in keys(model)]
    here = sorted({name[len(path)] for name in names if name[: len(path)] == pattern})
    elsewhere = {name[-1]: ".".join(name) for name in names}
    if close := get_close_matches(last, here, n=1):
        return f", did you mean {'.'.join([*path, *close])}?"
    if close := get_close_matches(last, elsewhere, n=1, cutoff=0.8):
        return f", did you mean {elsewhere[close[0]]}?"
    return f"; there are {', '.join(here)}"
