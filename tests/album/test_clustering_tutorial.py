"""The tutorial on clustering, run command by command on the photos that it speaks of."""

import shutil
from pathlib import Path

import pytest
from page_commands import compared

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "clustering.md"
HELD_OUT = ROOT / "recipes" / "arcface_mobilefacenet" / "people" / "celeba200_held_out.txt"


@pytest.fixture
def library(shared, tmp_path):
    """The 40 people: their last two photos in `later`, others in `photos`; two have names."""
    people = [
        shared / "data" / "celeba200" / "photos" / name for name in HELD_OUT.read_text().split()
    ]
    for person in people:
        *photos, second, last = sorted(person.iterdir())
        for place, some in (("photos", photos), ("later", [second, last])):
            (tmp_path / place / person.name).mkdir(parents=True)
            for photo in some:
                shutil.copy(photo, tmp_path / place / person.name)
    for name, person in zip(("Ada", "Bea"), people[1:], strict=False):
        (tmp_path / "album" / name).mkdir(parents=True)
        for photo in sorted(person.iterdir())[:3]:
            shutil.copy(photo, tmp_path / "album" / name)
    (tmp_path / "photos" / people[0].name / "broken.jpg").write_bytes(b"no photo")
    return tmp_path


@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_clustering_tutorial(library):
    said = compared(PAGE, library, {}, MINDFACE_CACHE=str(library / "cache"))
    for sentence in ("2 of them named", "people.jsonl on photos: 675 faces of 37 people"):
        assert sentence in said, said
    assert (library / "sheets" / "index.html").is_file()
