"""The commands of the tutorials, run one after the other as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"


@pytest.mark.shared
def test_the_evaluation_tutorial(exported, shared, tmp_path):
    people = tmp_path / "people"
    for source in sorted((shared / "data" / "celeba200" / "photos").iterdir())[:40]:
        (people / source.name).mkdir(parents=True)
        for photo in sorted(source.iterdir())[:2]:
            (people / source.name / photo.name).symlink_to(photo)
    text = (TUTORIALS / "evaluation.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    environment = os.environ | {
        "PHOTOS": str(people),
        "DETECTOR": str(exported.detector),
        "MODEL": str(exported.recognizer),
        "MINDFACE_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-ec", "\n".join(blocks)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "index.html").is_file()
    for sentence in ("AUC", "accuracy", "is better", "people enrolled", "of strangers match"):
        assert sentence in done.stdout.replace("may be chance", "is better")
