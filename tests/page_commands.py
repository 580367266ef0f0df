"""Runs the commands of a page as a reader would."""

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
            yield f"python - <<'END_OF_BLOCK'\n{block}END_OF_BLOCK\n", None
        elif language == "bash":
            yield block, None
        else:
            yield from re.findall(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def carried_out(page, folder, **variables):
    """What the commands of a page say, run in their order in a folder; none may fail."""
    done = run(["-e"], [command for command, _ in steps(page)], folder, variables)
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout
    return done.stdout


def compared(page, folder, failing, **variables):
    """As `carried_out`, where each command must print what stands below it.

    Args:
        page: the page.
        folder: where it is run.
        failing: the exit codes of those commands that must not end with 0.
        variables: of the environment.
    """
    commands = list(steps(page))
    lines = [f'{command}echo "END_OF_STEP $?"\n' for command, _ in commands]
    said = run([], lines, folder, variables).stdout.replace(f"{folder}{os.sep}", "")
    *ends, rest = re.split(r"(?<=END_OF_STEP)( \d+)\n", said)
    assert (len(ends), rest) == (2 * len(commands), ""), said
    assert "Warning" not in said
    for (command, expected), printed, status in zip(commands, ends[::2], ends[1::2], strict=True):
        assert int(status) == failing.get(command.strip(), 0), said
        if expected is not None:
            found, right = told(printed.removesuffix("END_OF_STEP")), told(expected)
            difference = unified_diff(right, found, "page", "printed", n=99, lineterm="")
            assert agrees(found, right), "\n".join([f"$ {command}", *difference])
    return said


def run(options, commands, folder, variables):
    """Runs lines of bash, with both streams in one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", *options, "-c", "".join(commands)],
        cwd=folder,
        env=os.environ | variables | {"PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def told(text):
    """Lines without numbers, which differ by processor and day, and reminders of licences."""
    text = re.sub(r".*: for non-commercial use only.*\n", "", text)
    return re.sub(r"-?\d[\d.:T+-]*", "N", text).splitlines()


def agrees(printed, expected):
    """Whether lines are those expected, in which `...` stands for any number of them."""
    pattern = "".join(r"(.*\n)*" if line == "..." else rf"{re.escape(line)}\n" for line in expected)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in printed))
