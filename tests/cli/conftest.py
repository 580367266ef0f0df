"""The command line as a user calls it, without the price of a new process."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from mindface import golden
from mindface.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def mindface(monkeypatch, capfd) -> Callable[..., Outcome]:
    """Runs `mindface ARGUMENTS...` and returns its exit code and what it printed."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["mindface", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def models(exported) -> tuple[str, ...]:
    """The options that name the exported models."""
    return ("--detector", str(exported.detector), "--recognizer", str(exported.recognizer))


@pytest.fixture
def portraits(tmp_path):
    """A folder with two portraits, a photo without a face and a broken file."""
    from PIL import Image

    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    collins, hopper = golden.portraits()
    Image.fromarray(collins.image).save(folder / "Zoë 张.jpg", quality=95)
    Image.fromarray(hopper.image).save(folder / "more" / "hopper.png")
    Image.new("RGB", (300, 200), "gray").save(folder / "nobody.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    return folder
