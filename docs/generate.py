"""Writes the pages that are made from the code: docs/cli.md.

    python docs/generate.py

A test fails where a page and the code have drifted apart.
"""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from mindface import errors
from mindface.cli.main import app


def cli_page() -> str:
    """The help of every command, and the exit codes."""
    parts = [
        "# Command line",
        "Made by `python docs/generate.py` from the code; not edited by hand.",
        "Results go to standard output, everything else to standard error; with `--json` standard "
        "output is JSON only. An error is one line on standard error, beginning `mindface: `.",
        "## Exit codes",
        "| code | meaning |\n|---|---|\n| 0 | done |",
        exit_codes(),
    ]
    for verb in [None, *(command.callback.__name__ for command in app.registered_commands)]:
        arguments = [verb, "--help"] if verb else ["--help"]
        result = CliRunner().invoke(app, arguments, prog_name="mindface", env={"COLUMNS": "100"})
        text = "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())
        title = f"mindface {verb}" if verb else "mindface"
        parts.append(f"## {title}\n\n```\n{text}\n```")
    page = "\n\n".join(parts) + "\n"
    return page.replace("| 0 | done |\n\n", "| 0 | done |\n")


def exit_codes() -> str:
    """A table row for each exit code and the errors behind it."""
    codes: dict[int, list[type[Exception]]] = {2: []}
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.MindFaceError) and name[0] != "_":
            codes.setdefault(value.exit_code, []).append(value)
    rows = []
    for code, kinds in sorted(codes.items()):
        first = kinds[0].__doc__.splitlines()[0].rstrip(".") if kinds else "a wrong command line"
        names = f" ({', '.join(f'`{kind.__name__}`' for kind in kinds)})" if kinds else ""
        rows.append(f"| {code} | {first}{names} |")
    return "\n".join([*rows, "| 130 | interrupted |", "| 141 | nobody reads the output any more |"])


PAGES = {Path(__file__).with_name("cli.md"): cli_page}


if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page(), encoding="utf-8")
