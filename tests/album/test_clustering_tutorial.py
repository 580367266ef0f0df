"""The tutorial on clustering, run block by block as a reader would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "clustering.md"
HELD_OUT = ROOT / "recipes" / "arcface_mobilefacenet" / "people" / "celeba200_held_out.txt"


@pytest.fixture
def library(shared, tmp_path):
    """Six people with five photos each: three in `photos`, two in `later`; two have names."""
    names = HELD_OUT.read_text().split()[1:7]
    for number, name in enumerate(names):
        paths = sorted((shared / "data" / "celeba200" / "photos" / name).iterdir())[:5]
        places = ["photos"] * 3 + ["later"] * 2
        for path, place in zip(paths, places, strict=True):
            (tmp_path / place / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / place / name)
        if number < 2:
            shutil.copytree(tmp_path / "photos" / name, tmp_path / "album" / ("Ada", "Bea")[number])
    (tmp_path / "photos" / names[0] / "broken.jpg").write_bytes(b"no photo")
    return tmp_path


@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_clustering_tutorial(library):
    blocks = re.findall(r"```(bash|python)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [
        code if language == "bash" else f"python - <<'END_OF_BLOCK'\n{code}END_OF_BLOCK\n"
        for language, code in blocks
    ]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", "".join(commands)],
        cwd=library,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    for sentence in (
        *("broken.jpg: not an image", "contact sheets", "purity   completeness", "2 of them named"),
        *("photos are", "people.jsonl on photos: 18 faces of 6 people"),
    ):
        assert sentence in done.stdout, done.stdout
    assert (library / "sheets" / "index.html").is_file()
