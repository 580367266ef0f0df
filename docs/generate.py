"""Writes docs/cli.md from the commands and the errors.

    python docs/generate.py

A test fails where the page and the code have drifted apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from mindface import errors
from mindface.cli.main import app

PAGE = Path(__file__).with_name("cli.md")

HEAD = """# Command line

Made by `python docs/generate.py` from the code; not edited by hand.

Results go to standard output, everything else to standard error; with `--json` standard output is
JSON only. An error is one line on standard error, beginning `mindface: `.

## Exit codes

| code | meaning |
|---|---|
| 0 | done |"""


def page() -> str:
    """The whole page: exit codes, then every command."""
    parts = ["\n".join([HEAD, *_exit_codes()])]
    for name, command in _commands("", typer.main.get_command(app)):
        parts.append("\n".join(_command(name, command)))
    return "\n\n".join(parts) + "\n"


def _commands(before: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(f"{before}{name} ", command)
        else:
            yield before + name, command


def _exit_codes() -> Iterator[str]:
    codes: dict[int, list[type[errors.MindFaceError]]] = {}
    for kind in vars(errors).values():
        if inspect.isclass(kind) and issubclass(kind, errors.MindFaceError):
            codes.setdefault(kind.exit_code, []).append(kind)
    rows = {
        code: f"{inspect.getdoc(kinds[0]).splitlines()[0].rstrip('.')} "  # type: ignore[union-attr]
        f"({', '.join(f'`{kind.__name__}`' for kind in kinds)})"
        for code, kinds in codes.items()
    }
    rows |= {1: "An error of another kind (`MindFaceError`)", 2: "A wrong command line"}
    rows |= {12: "A file cannot be read or written"}
    rows |= {130: "Interrupted", 141: "Nobody reads the output any more"}
    yield from (f"| {code} | {meaning} |" for code, meaning in sorted(rows.items()))


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    yield f"## mindface {name}\n"
    yield inspect.cleandoc(command.help).replace("\b", "")
    yield "\n| argument or option | what | default |\n|---|---|---|"
    for argument in arguments:
        yield f"| `{argument.metavar or argument.name.upper()}` | {argument.help} | |"
    for option in options:
        name = "/".join([option.opts[0], *option.secondary_opts])
        value = "" if option.is_flag else f" {option.metavar or option.name.upper()}"
        plain = not (option.is_flag or option.default is None or option.required)
        default = f"`{option.default}`" if plain else "required" if option.required else ""
        yield f"| `{name}{value}` | {option.help} | {default} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
