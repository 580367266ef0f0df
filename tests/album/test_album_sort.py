from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.album import Faces, Said, sort_faces

NOTHING = Said(None, None, frozenset())


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def faces_of(rows, photos=None):
    rows = unit(rows)
    photos = list(range(len(rows))) if photos is None else photos
    return Faces(
        rows,
        np.tile(np.float32([0, 0, 9, 9]), (len(rows), 1)),
        np.ones(len(rows), bool),
        [Path(f"/album/{photo}.jpg") for photo in photos],
        [f"{photo}:{face}" for face, photo in enumerate(photos)],
    )


def sets(album):
    groups = {}
    for face, each in enumerate(album.faces):
        groups.setdefault((each.person, each.person is None and face), set()).add(face)
    return {frozenset(group) for group in groups.values()}


@st.composite
def albums(draw):
    """Few faces in few dimensions, some of one photo, some known, some rejected."""
    count, seed = draw(st.integers(2, 20)), draw(st.integers(0, 1000))
    rows = np.random.default_rng(seed).normal(size=(count, draw(st.integers(2, 5))))
    photos = draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))
    name = st.sampled_from([None, None, "Ada", "Zoë"])
    said = []
    for _ in range(count):
        who, not_who = draw(name), draw(name)
        rejected = frozenset({not_who} - {None, who})
        said.append(Said(who, "match" if who else None, rejected))
    return faces_of(rows, photos), said, draw(st.sampled_from([0.3, 0.6, 0.9]))


@given(albums())
@settings(deadline=None, max_examples=40)
def test_what_a_gallery_says_is_obeyed_and_holds(album):
    faces, said, threshold = album
    found = sort_faces(faces, threshold, said=said)
    for each, known in zip(found.faces, said, strict=True):
        assert known.name in (None, each.name)
        assert each.name not in known.rejected
    people = {(each.person, each.name) for each in found.faces if each.name}
    assert len({name for _, name in people}) == len(people)
    assert sort_faces(faces, threshold, old=found.faces, said=said).faces == found.faces
    without = sort_faces(faces, threshold, old=found.faces)
    assert [face.person for face in without.faces] == [face.person for face in found.faces]


@given(albums(), st.data())
@settings(deadline=None, max_examples=40)
def test_old_faces_stay_where_they_are(album, data):
    faces, _, threshold = album
    old = sort_faces(faces, threshold).faces
    kept = data.draw(st.sets(st.integers(0, len(faces) - 1)))
    found = sort_faces(faces, threshold, old=[old[face] for face in sorted(kept)])
    for face in kept:
        assert old[face].person in (None, found.faces[face].person)


def test_two_faces_of_one_photo_are_doubtful_where_they_are_one_person():
    rows = [[1, 0], [1, 0.01], [1, 0.02]]
    found = sort_faces(faces_of(rows, [1, 1, 2]), 0.5)
    assert len({each.person for each in found.faces}) == 1
    assert [each.doubtful for each in found.faces] == [True, True, False]
    said = [Said("Ada", "confirmed", frozenset()), NOTHING, NOTHING]
    assert not sort_faces(faces_of(rows, [1, 1, 2]), 0.5, said=said).faces[0].doubtful


def test_doubtful_joins_come_first_and_sure_ones_not_at_all():
    rows = [[1, 0, 0], [1, 0.01, 0], [0, 1, 0], [0, 1, 1.7]]  # the last two: cosine 0.507
    found = sort_faces(faces_of(rows), 0.5)
    assert sets(found) == {frozenset([0, 1]), frozenset([2, 3])}
    (join,) = found.joins
    assert sorted(join.faces) == [2, 3]
    assert join.person == found.faces[2].person
    assert 0.5 < join.similarity < 0.55


def test_a_photo_that_was_moved_is_known_by_its_content():
    old = sort_faces(faces_of([[1, 0], [1, 0.1], [0, 1]]), 0.5).faces
    moved = faces_of([[1, 0], [1, 0.1], [0, 1]])
    moved = replace(moved, paths=[Path("/other.jpg")] * 3)
    assert [face.person for face in sort_faces(moved, 0.5, old=old).faces] == [0, 0, None]


def test_an_empty_album_is_sorted():
    assert sort_faces(faces_of(np.zeros((0, 4))), 0.5).faces == []


def test_an_unclear_face_is_nobody_unless_it_is_known():
    faces = faces_of([[1, 0], [1, 0.1], [1, 0.2]])
    unclear = replace(faces, clear=np.array([True, True, False]))
    assert [each.person for each in sort_faces(unclear, 0.5).faces] == [0, 0, None]
    assert not sort_faces(unclear, 0.5).faces[2].clear
    said = [NOTHING, NOTHING, Said("Ada", "confirmed", frozenset())]
    assert {each.person for each in sort_faces(unclear, 0.5, said=said).faces} == {0}
    old = sort_faces(faces, 0.5).faces
    assert [each.person for each in sort_faces(unclear, 0.5, old=old).faces] == [0, 0, 0]
