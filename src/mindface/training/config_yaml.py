"""Presets: YAML in which `1e-3` is a number, `no` a word and no key comes twice.

Plain values are those of YAML 1.2's core schema (https://yaml.org/spec/1.2.2, section 10.3.2) but
for octal and hexadecimal numbers, infinity and NaN; PyYAML by itself follows YAML 1.1.

A preset with `base: NAME` changes the preset NAME.yaml beside it, section by section; whatever is
no section, such as a list or a mapping of free keys, it replaces.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from typing import Any

import yaml

from mindface.errors import ConfigError
from mindface.files import open_regular

Tree = dict[str, Any]

PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?",
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in names[:index]:
                problem = f"the key {key.value!r:.80} comes twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers = {}  # noqa: RUF012


for _name, _pattern in PLAIN.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(
            f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), None
        )


def read_preset(path: Path, sections: Set[str], above: tuple[Path, ...] = ()) -> Tree:
    """Reads a preset and merges it into its base.

    Args:
        path: the file.
        sections: their dotted names.
        above: the presets that are based on it, so that none is its own base.

    Raises:
        ConfigError: one of them cannot be read or is no YAML mapping, or there is a circle.
    """
    chain = (*above, path.resolve())
    if chain[-1] in above:
        circle = " -> ".join(each.name for each in chain)
        raise ConfigError(f"{path}: a preset cannot be based on itself: {circle}")
    tree = mapping(_read(path, above), str(path))
    base = tree.pop("base", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base={base!r:.80}: must be the name of a preset beside it")
    parent = path.parent / (base if base.endswith(".yaml") else f"{base}.yaml")
    return merged(read_preset(parent, sections, chain), tree, sections)


def mapping(text: str, source: str) -> Tree:
    """Parses what must be a mapping, or nothing at all.

    Raises:
        ConfigError: it is neither.
    """
    tree = value(text, source)
    if not isinstance(tree, dict | None):
        raise ConfigError(f"{source}: must be a mapping of keys to values, not {tree!r:.80}")
    return tree or {}


def value(text: str, source: str) -> Any:
    """Parses a value.

    Raises:
        ConfigError: it is no YAML; the message begins with `source`.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{source}: line {line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: {error}") from error


def written(tree: Tree) -> str:
    """Writes what `mapping` reads."""
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def merged(base: Tree, changes: Tree, sections: Set[str], before: str = "") -> Tree:
    """Puts changes over a mapping, section by section.

    Args:
        base: what is changed, in a copy.
        changes: whatever is no section in it replaces what was there.
        sections: their dotted names.
        before: the dotted name of these mappings and a dot, or nothing.
    """
    result = dict(base)
    for key, new in changes.items():
        old, name = base.get(key), f"{before}{key}"
        if name in sections and isinstance(old, dict) and isinstance(new, dict):
            new = merged(old, new, sections, f"{name}.")
        result[key] = new
    return result


def _read(path: Path, above: tuple[Path, ...]) -> str:
    wanted = f", the base of {above[-1].name}," if above else ""
    try:
        with open_regular(path) as file:
            return file.read().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"{path}{wanted} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}{wanted} is no text in UTF-8") from error
