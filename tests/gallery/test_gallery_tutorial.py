"""The tutorial on galleries, run command by command on the photos that it speaks of."""

import os
import re
import shutil
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "gallery.md"
FRIENDS = ["Ada", "Bea", "Cleo", "Dora", "Emil", "Finn", "Gus", "Hana", "Ivo", "Jana"]
STAFF = """path,name,tags,valid_until
door/kim_1.jpg,Kim,staff,
door/kim_2.jpg,Kim,staff,
door/lou_1.jpg,Lou,staff;night,
door/lou_2.jpg,Lou,staff;night,
door/max_1.jpg,Max,guest,2026-11-01T00:00Z
"""


@pytest.fixture
def folder(shared, tmp_path):
    """The first people of celeba200: three photos each in `album`, one in `new`; some at a door."""
    photos = shared / "data" / "celeba200" / "photos"
    people = [sorted(person.iterdir()) for person in sorted(photos.iterdir())[:15]]
    for name in ("album", "new", "door"):
        (tmp_path / name).mkdir()
    for name, photos in zip(FRIENDS, people, strict=False):
        (tmp_path / "album" / name).mkdir()
        for photo in photos[:3]:
            shutil.copy(photo, tmp_path / "album" / name)
        for photo in photos[3:4]:
            shutil.copy(photo, tmp_path / "new" / f"{name}.jpg")
    shutil.copy(people[0][0], tmp_path / "album" / "Bea" / "copy.jpg")
    (tmp_path / "album" / "Cleo" / "broken.jpg").write_bytes(b"no photo")
    shutil.copy(people[10][0], tmp_path / "new" / "stranger_07213.jpg")
    for name, photos in zip(("kim", "lou", "max"), people[11:], strict=False):
        for suffix, photo in zip(("1", "2", "today"), photos, strict=False):
            shutil.copy(photo, tmp_path / "door" / f"{name}_{suffix}.jpg")
    shutil.copy(people[14][0], tmp_path / "door" / "stranger.jpg")
    (tmp_path / "staff.csv").write_text(STAFF)
    return tmp_path


def steps():
    """The commands of the page, each with what it is to print; None: anything."""
    text = PAGE.read_text(encoding="utf-8")
    for language, block in re.findall(r"```(bash|console|python)\n(.*?)```", text, re.DOTALL):
        if language == "python":
            yield f"python - <<'END_OF_BLOCK'\n{block}END_OF_BLOCK", None
        elif language == "bash":
            yield block, None
        else:
            yield from re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE)


def blurred(text):
    """Lines without what other processors and other days give otherwise."""
    text = re.sub(r".*: for non-commercial use only.*\n", "", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "TIME", text)
    text = re.sub(r"box [\d ]+\d", "box", text)
    text = re.sub(r"\d+( bytes| stretches|%)", r"N\1", text)
    return re.sub(r"\d+\.\d+", "0.0", text).splitlines()


def agrees(printed, expected):
    """Whether lines are those expected, in which `...` stands for any number of them."""
    pattern = "\n".join(".*" if line == "..." else re.escape(line) for line in expected)
    return re.fullmatch(pattern, "\n".join(printed), re.DOTALL)


@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_gallery_tutorial(folder):
    commands = list(steps())
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
    for (_, expected), found in zip(commands, printed, strict=False):
        if expected is None:
            assert "Traceback" not in found, found
            continue
        lines, right = blurred(found), blurred(expected)
        assert agrees(lines, right), "\n".join(unified_diff(right, lines, "page", "now", n=99))
