import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.album import SortedFace, read_people, write_people
from mindface.errors import ConfigError

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1)
FACES = st.builds(
    SortedFace,
    path=NAMES.filter(lambda name: name not in (".", "..")).map(lambda name: Path("/album", name)),
    face=st.from_regex(r"[0-9a-f]{8}:\d", fullmatch=True),
    box=st.tuples(*[st.integers(-500, 5000).map(float)] * 4),
    person=st.none() | st.integers(0, 9),
    name=st.none() | NAMES,
    decision=st.sampled_from([None, "confirmed", "enrolled", "match"]),
    confidence=st.none() | st.integers(-9999, 9999).map(lambda value: value / 10_000),
    doubtful=st.booleans(),
)


@given(st.lists(FACES, max_size=8))
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_read(tmp_path_factory, faces):
    path = tmp_path_factory.mktemp("people") / "people.jsonl"
    write_people(path, faces)
    assert read_people(path) == sorted(faces, key=lambda face: face.place)
    assert [each.name for each in path.parent.iterdir()] == ["people.jsonl"]


def line(**values):
    facts = {"path": "a.jpg", "face": "a:0", "box": [0, 0, 1, 1], "person": 1}
    return json.dumps(facts | values).encode()


def face(path, person, confidence=None, doubtful=False):
    return SortedFace(Path(path), "a:0", (0, 0, 1, 1), person, None, None, confidence, doubtful)


def test_the_doubtful_come_first_and_nobody_last(tmp_path):
    faces = [
        face("/a", None),
        face("/b", 1, 0.5),
        face("/c", 0, 0.6),
        face("/d", 0, 0.4),
        face("/e", 1, -0.1, True),
        face("/f", 0, -0.2, True),
    ]
    write_people(tmp_path / "people.jsonl", faces)
    found = [str(each.path) for each in read_people(tmp_path / "people.jsonl")]
    assert found == ["/f", "/e", "/d", "/c", "/b", "/a"]


def test_paths_below_the_folder_of_the_file_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faces = [face(tmp_path / "photos" / "a.jpg", 0), face("/elsewhere/b.jpg", 0)]
    write_people(Path("people.jsonl"), faces)
    written = [json.loads(each)["path"] for each in Path("people.jsonl").read_text().splitlines()]
    assert sorted(written) == ["/elsewhere/b.jpg", "photos/a.jpg"]
    monkeypatch.chdir("/")
    assert {each.path for each in read_people(tmp_path / "people.jsonl")} == {
        each.path for each in faces
    }


def test_a_path_that_is_no_utf8_comes_back(tmp_path):
    path = Path(os.fsdecode(b"/album/\xff.jpg"))
    write_people(tmp_path / "people.jsonl", [face(path, 0)])
    (found,) = read_people(tmp_path / "people.jsonl")
    assert found.path == path


@pytest.mark.parametrize(
    "bad",
    [
        b"[]",
        b"no json",
        line(person="1"),
        line(person=-1),
        line(person=True),
        line(box=[1, 2, 3]),
        line(box=None),
        line(name=3),
        line(decision="perhaps"),
        line(path=3),
        b'{"path": "a.jpg"}',
    ],
)
def test_other_lines_are_refused_by_their_number(tmp_path, bad):
    path = tmp_path / "people.jsonl"
    path.write_bytes(line() + b"\n" + bad + b"\n")
    with pytest.raises(ConfigError, match="line 2: is no line"):
        read_people(path)


def test_an_old_file_stays_where_the_new_one_cannot_be_written(tmp_path):
    path = tmp_path / "people.jsonl"
    write_people(path, [face("/a", 0)])
    before = path.read_bytes()

    def broken():
        yield face("/b", 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_people(path, broken())
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["people.jsonl"]
