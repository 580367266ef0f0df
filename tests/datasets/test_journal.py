"""What a stopped build knows when it goes on."""

import pytest

from mindface.datasets.journal import NAME, Entry, Journal
from mindface.errors import ConfigError, IntegrityError

SETTINGS = {"size": 112, "format": "jpg"}
ENTRY = Entry("ada/1.jpg", [1, 2], [{"box": [0, 1, 2, 3]}], crop="ada/1.jpg")
BLANK = Entry("ada/é\n.jpg", [3, 4], reason="no face found")


@pytest.fixture
def folder(tmp_path):
    journal = Journal(tmp_path / "faces", SETTINGS)
    journal.add(Entry("ada/1.jpg", [1, 1], error="broken"))
    journal.add(ENTRY)
    journal.add(BLANK)
    return tmp_path / "faces"


def test_the_last_entry_of_a_photo_counts(folder):
    (folder / "ada").mkdir()
    assert Journal(folder, SETTINGS).entries == {"ada/1.jpg": ENTRY, BLANK.photo: BLANK}


@pytest.mark.parametrize("torn", [1, 20])
def test_a_line_that_was_not_finished_is_forgotten(folder, torn):
    path = folder / NAME
    content = path.read_bytes()
    path.write_bytes(content[:-torn])
    journal = Journal(folder, SETTINGS)
    assert journal.entries == {"ada/1.jpg": ENTRY}
    journal.add(BLANK)
    assert path.read_bytes() == content


def test_a_first_line_that_was_not_finished_begins_anew(folder):
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:10])
    assert Journal(folder, SETTINGS).entries == {}
    assert Journal(folder, SETTINGS).entries == {}


def test_other_settings_are_refused(folder):
    with pytest.raises(ConfigError, match="another format: name another folder"):
        Journal(folder, SETTINGS | {"format": "png"})


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="something in it that was not built"):
        Journal(tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_line_is_refused(folder):
    path = folder / NAME
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{\n", *lines[1:]]))
    with pytest.raises(IntegrityError, match=r"build\.jsonl: damaged"):
        Journal(folder, SETTINGS)
