"""Runs the commands of a page as a reader would, and holds what they print against the page."""

import os
import re
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path


def steps(page):
    """The commands of a page, each with what it is to print; None: anything."""
    text = page.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(bash|console|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            yield f"python - <<'END_OF_BLOCK'\n{block}END_OF_BLOCK", None
        elif language == "bash":
            yield block, None
        else:
            yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def told(text):
    """Lines without numbers, which differ by processor and day, and reminders of licences."""
    text = re.sub(r".*: for non-commercial use only.*\n", "", text)
    return re.sub(r"-?\d[\d.:T+-]*", "N", text).splitlines()


def agrees(printed, expected):
    """Whether lines are those expected, in which `...` stands for any number of them."""
    pattern = "".join(r"(.*\n)*" if line == "..." else rf"{re.escape(line)}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed))


def run_page(page, folder):
    """Runs the commands of a page in a folder; an `AssertionError` where one prints otherwise."""
    commands = list(steps(page))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", "\n".join(f"{command}\necho END_OF_STEP" for command, _ in commands)],
        cwd=folder,
        env=os.environ | {"PATH": path, "XDG_CACHE_HOME": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    printed = done.stdout.replace(f"{folder}{os.sep}", "").split("END_OF_STEP\n")
    assert len(printed) == len(commands) + 1, done.stdout
    for (command, expected), found in zip(commands, printed, strict=False):
        assert "Traceback" not in found, found
        if expected is not None:
            lines, right = told(found), told(expected)
            difference = unified_diff(right, lines, "page", "printed", n=99, lineterm="")
            assert agrees(lines, right), "\n".join([f"$ {command}", *difference])
