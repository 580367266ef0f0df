"""Mutated model files, read and run in processes of their own; figures in docs/reliability.md."""

import json
import subprocess
import sys
from pathlib import Path

import hostile_models
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

MEGABYTES = 100
COUNT = 20_000

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")


def child(*arguments: str) -> dict:
    """Runs hostile_models.py with warnings as errors; a crash or a hang fails the test."""
    command = [sys.executable, "-W", "error", hostile_models.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert done.returncode == 0, f"{done.returncode}: {done.stderr[-2000:]}"
    return json.loads(done.stdout)


@linux
@pytest.mark.parametrize("kind", hostile_models.KINDS)
def test_mutated_model_files_are_read_or_refused(kind: str, long: bool) -> None:
    count = COUNT if long else COUNT // 5
    facts = child("read", kind, str(count), "2026")
    sys.stdout.write(f"{kind} {json.dumps(facts)}\n")
    assert sum(facts["outcomes"].values()) == count
    assert facts["outcomes"]["read"] > count // 20
    assert facts["mb"] < MEGABYTES


@linux
@pytest.mark.parametrize("engine", hostile_models.ENGINES)
def test_engines_run_or_refuse_what_the_check_lets_through(engine: str, long: bool) -> None:
    """Crashes inside an engine are written down in docs/reliability.md, not held against us."""
    pytest.importorskip(engine)
    facts = child("engine", engine, str(COUNT if long else COUNT // 20), "2026")
    sys.stdout.write(f"{engine} {json.dumps(facts)}\n")
    assert sum(facts["outcomes"].values()) + len(facts["ended"]) == facts["started"]
    assert facts["outcomes"]["ran"] > facts["started"] // 2


@linux
def test_the_memory_measure_sees_a_leak_and_not_its_parents_pages() -> None:
    """`ru_maxrss` would not: a child begins with what its parent held."""
    heavy = bytearray(b"x") * 200_000_000
    code = (
        "import hostile_models as h; start = h.reset_peak(); held = bytearray(b'x') * 60_000_000; "
        "print(start, h.peak_bytes() - start)"
    )
    folder = Path(hostile_models.__file__).parent
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, check=True)
    start, growth = map(int, done.stdout.split())
    assert start < len(heavy)
    assert 55_000_000 < growth < 70_000_000
