"""The tutorial on galleries, run command by command on the photos that it speaks of."""

import shutil
from pathlib import Path

import pytest
from page_commands import compared

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


@pytest.mark.shared
@pytest.mark.timeout(600)
def test_the_gallery_tutorial(folder):
    failing = {"mindface gallery check --count 3 --gallery people.db": 15}
    said = compared(PAGE, folder, failing, MINDFACE_CACHE=str(folder / "cache"))
    for sentence in (
        "28 of 32 photos enrolled, 4 refused (conflict 2, others 1, unreadable 1)",
        "1 of 3 photos enrolled, 2 were there",
        "5 of 5 photos enrolled",
        "1 of the pairs shown reach the threshold",
        "forgotten: people 1, names 1, embeddings 1, crops 1",
    ):
        assert sentence in said, said
