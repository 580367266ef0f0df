from pathlib import Path

import pytest

from mindface.album import Said, SortedFace
from mindface.album.labels import begin

NOTHING = Said(None, None, frozenset())


def was(person, name=None):
    return SortedFace(Path("/a.jpg"), "a:0", (0, 0, 1, 1), person, name)


def is_(name, *rejected):
    return Said(name, "match" if name else None, frozenset(rejected))


@pytest.mark.parametrize(
    ("old", "said", "labels", "names"),
    [
        pytest.param([None, was(None), was(4)], None, [-1, -1, 4], {}, id="no gallery"),
        pytest.param([was(4, "Ada")], None, [4], {4: "Ada"}, id="old names stay without one"),
        pytest.param(
            [None, None, None],
            [is_("Zoë"), is_("Ada"), NOTHING],
            [1, 0, -1],
            {0: "Ada", 1: "Zoë"},
            id="names in their order",
        ),
        pytest.param(
            [was(2), was(2), was(2), was(1)],
            [is_("Ada"), is_("Ada"), NOTHING, NOTHING],
            [2, 2, 2, 1],
            {2: "Ada"},
            id="more than half name the rest",
        ),
        pytest.param(
            [was(2), was(2), None],
            [is_("Ada"), NOTHING, NOTHING],
            [3, 2, -1],
            {3: "Ada"},
            id="half do not",
        ),
        pytest.param(
            [was(2, "Ada"), was(2, "Ada"), was(2, "Ada")],
            [is_("Ada King"), NOTHING, NOTHING],
            [2, 2, 2],
            {2: "Ada King"},
            id="who had a name is renamed by one",
        ),
        pytest.param(
            [was(2, "Ada"), was(2, "Ada")], [NOTHING, NOTHING], [2, 2], {}, id="a name is forgotten"
        ),
        pytest.param(
            [was(2), was(3), was(3)],
            [is_("Ada"), is_("Ada"), is_("Ada")],
            [2, 2, 2],
            {2: "Ada", 3: "Ada"},
            id="two of one name are one",
        ),
        pytest.param(
            [was(2, "Ada"), was(2, "Ada")],
            [is_("Ada"), is_(None, "Ada")],
            [2, -1],
            {2: "Ada"},
            id="a rejected face leaves",
        ),
    ],
)
def test_what_is_settled(old, said, labels, names):
    found = begin(old, said)
    assert found.labels.tolist() == labels
    assert found.names == names


def test_a_rejected_face_is_kept_apart_from_the_person():
    found = begin([None, None, None], [is_("Ada"), is_("Ada"), is_(None, "Ada", "nobody here")])
    ((face, other),) = found.apart.tolist()
    assert face == 2
    assert other in (0, 1)


def test_faces_of_nobody_are_compared_again_where_anything_moved():
    old = [was(None), was(3), None]
    assert begin(old, None).settled.tolist() == [True, True, False]
    assert begin(old, [NOTHING, NOTHING, NOTHING]).settled.tolist() == [True, True, False]
    assert begin(old, [NOTHING, NOTHING, is_("Ada")]).settled.tolist() == [False, True, True]
