"""Lists of pairs: what each kind of list says, and every way in which one can be wrong."""

import hashlib
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mindface.errors import ImageError, IntegrityError
from mindface.recognition.folder_protocol import folder_pairs
from mindface.recognition.protocols import (
    Protocol,
    bin_set,
    cfp,
    csv_pairs,
    lfw_pairs,
    read_pairs,
)
from mindface.recognition.ten_fold import ten_fold

VALID: dict[str, Any] = {
    "name": "pairs.csv",
    "photos": ("a", "b", "c"),
    "names": ("a", "b", "c"),
    "people": np.array([0, 0, 1]),
    "pairs": np.array([[0, 1], [1, 2]]),
    "same": np.array([True, False]),
    "folds": np.array([0, 1]),
    "hashes": {},
}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def shown(protocol: Protocol) -> list[tuple[str, str, bool]]:
    """The pairs by the names of their photos."""
    return [
        (protocol.names[a], protocol.names[b], bool(same))
        for (a, b), same in zip(protocol.pairs, protocol.same, strict=True)
    ]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"folds": None},
        {"pairs": None, "same": None, "folds": None},
        {"people": np.array([5, 5, 2], np.uint8)},
        {"photos": (b"a", b"b", b"c")},
    ],
)
def test_valid_protocols_are_made(change: dict[str, Any]) -> None:
    protocol = Protocol(**VALID | change)
    assert protocol.people.dtype == np.int64


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": ("a",)}, "1 names were given for 3 photos"),
        ({"people": np.array([0, 0])}, r"people must be \(3,\) int64, not \(2,\) int64"),
        ({"people": np.zeros(3)}, r"people must be \(3,\) int64, not \(3,\) float64"),
        ({"people": np.array([-1, -1, 0])}, "people must be numbers from 0 on, not -1"),
        ({"pairs": None}, "both or neither"),
        ({"same": None}, "both or neither"),
        ({"pairs": None, "same": None}, "folds only with them"),
        ({"same": np.array([1, 0])}, r"same must be \(N,\) bool, not \(2,\) int64"),
        ({"same": np.array([[True]])}, r"same must be \(N,\) bool, not \(1, 1\) bool"),
        ({"same": np.zeros(0, bool)}, r"same must be \(N,\) bool, not \(0,\) bool"),
        ({"pairs": np.array([[0, 1]])}, r"pairs must be \(2, 2\) int64, not \(1, 2\)"),
        ({"pairs": np.array([[0, 1], [1, 3]])}, "pairs name photo 3, but there are 3 photos"),
        ({"pairs": np.array([[0, 1], [1, -1]])}, "pairs must be numbers from 0 on, not -1"),
        ({"same": np.array([True, True])}, "same and people contradict each other in pair 1"),
        ({"folds": np.array([0, 2])}, "numbered from 0 on without a gap"),
        ({"folds": np.array([0, 0])}, "folds must be two at least"),
        ({"folds": np.array([0.0, 1.0])}, "folds must be"),
        ({"folds": np.array([0])}, "folds must be"),
    ],
)
def test_impossible_protocols_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Protocol(**VALID | change)


LFW = """2\t1
Ann_Lee\t1\t12
Ann_Lee\t1\tBo\t3
Bo 3 4
Cy 2 Bo 4
"""


def test_lfw_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(LFW)
    images = touch(tmp_path / "lfw", "Ann_Lee/Ann_Lee_0001.jpg", "Bo/Bo_0003.png", "Bo/Bo_0004.jpg")
    touch(images, "Bo/Bo_0004.png")
    protocol = lfw_pairs(path, images)
    assert protocol.name == "LFW pairs.txt"
    assert protocol.hashes == {"pairs.txt": sha256(path)}
    assert [os.path.relpath(photo, images).replace(os.sep, "/") for photo in protocol.photos] == [
        "Ann_Lee/Ann_Lee_0001.jpg",
        "Ann_Lee/Ann_Lee_0012.jpg",
        "Bo/Bo_0003.png",
        "Bo/Bo_0004.jpg",
        "Cy/Cy_0002.jpg",
    ]
    assert protocol.names == protocol.photos
    assert protocol.people.tolist() == [0, 0, 1, 1, 2]
    assert protocol.persons == ("Ann_Lee", "Bo", "Cy")
    assert protocol.pairs.tolist() == [[0, 1], [0, 2], [2, 3], [4, 3]]
    assert protocol.same.tolist() == [True, False, True, False]
    assert protocol.folds.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "text",
    [
        "1\nA 1 2\nA 1 B 1\n",
        "1\t1\nA\t1\t2\nA\t1\tB\t1",
        "\ufeff 1 \r\n\r\nA 1 2 \r\n A\t1\tB\t1\r\n\r\n",
    ],
)
def test_a_count_alone_makes_no_folds(text: str, tmp_path: Path) -> None:
    (tmp_path / "pairsDevTest.txt").write_bytes(text.encode())
    protocol = lfw_pairs(tmp_path / "pairsDevTest.txt", touch(tmp_path, "A/A_0001.jpg"))
    assert protocol.folds is None
    assert protocol.pairs.tolist() == [[0, 1], [0, 2]]


def test_names_with_spaces_are_parted_by_tabs(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1\nAnn Lee\t1\t2\nAnn Lee\t1\tBo\t1\n")
    images = touch(tmp_path, "Ann Lee/Ann Lee_0002.jpg")
    assert lfw_pairs(tmp_path / "pairs.txt", images).people.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "pairs.txt: the list is empty"),
        ("\n \n", "pairs.txt: the list is empty"),
        ("A 1 2\n", "pairs.txt, line 1: 'A' is no whole number"),
        ("1 1 1\nA 1 2\nA 1 B 1\n", "line 1: '1 1 1' must give the number of folds"),
        ("0\n", "line 1: '0' must give the number of folds.* 0 pairs follow"),
        ("0 0\nA 1 2\n", "line 1: '0 0' must give the number of folds.* 1 pairs follow"),
        ("2 1\nA 1 2\nA 1 B 1\n", "line 1: '2 1' must give the number of folds.* 2 pairs follow"),
        ("999999999 999999999\nA 1 2\n", "line 1: .* 1 pairs follow"),
        ("9999999999\nA 1 2\n", "line 1: '9999999999' is no whole number"),
        ("1\nA 1 B 2\nA 1 2\n", "line 2: a name and two numbers must stand here, not 4 fields"),
        ("1\nA 1 2\n\nA 1 2\n", "line 4: two names, each with a number, must stand here, not 3"),
        ("1\nA 1 2\nA 1\n", "line 3: two names, each with a number, must stand here, not 2"),
        ("1\nA 1 x\nA 1 B 1\n", "line 2: 'x' is no whole number"),
        ("1\nA 1 -2\nA 1 B 1\n", "line 2: '-2' is no whole number"),
        ("1\nA 1 ²\nA 1 B 1\n", "line 2: '²' is no whole number"),
        ("1\nA 1 2\nA 1 A 1\n", "line 3: 'A' and 'A' are said to be two people"),
    ],
)
def test_faults_of_lfw_lists_name_their_line(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    with pytest.raises(IntegrityError, match=reason):
        lfw_pairs(tmp_path / "pairs.txt", touch(tmp_path, "A/A_0001.jpg"))


def test_lists_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"absent\.txt: cannot be read: No such file"):
        lfw_pairs(tmp_path / "absent.txt", tmp_path)
    (tmp_path / "pairs.txt").write_bytes(b"1\nA\xff 1 2\nA 1 B 1\n")
    with pytest.raises(IntegrityError, match=r"pairs\.txt: not a text in UTF-8"):
        lfw_pairs(tmp_path / "pairs.txt", tmp_path)
    with pytest.raises(IntegrityError, match="a folder, not a file"):
        csv_pairs(tmp_path, tmp_path)


def test_a_wrong_folder_of_images_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text(LFW)
    with pytest.raises(ImageError, match="wrong: none of the list's 5 photos is there") as caught:
        lfw_pairs(tmp_path / "pairs.txt", tmp_path / "wrong")
    assert str(tmp_path / "wrong" / "Ann_Lee" / "Ann_Lee_0001.jpg") in str(caught.value)
    assert caught.value.path == str(tmp_path / "wrong")


def write_cfp(root: Path) -> Path:
    """Celebrities 001 and 002, two photos of each of either side, one pair a file."""
    folder = root / "Protocol"
    numbered = [(person, photo) for person in ("001", "002") for photo in ("01", "02")]
    for side, name in (("F", "frontal"), ("P", "profile")):
        paths = [f"Data/Images/{person}/{name}/{photo}.jpg" for person, photo in numbered]
        touch(root, *paths)
        lines = [f"{number} ../{path}\n" for number, path in enumerate(paths, 1)]
        touch(folder, f"Pair_list_{side}.txt").joinpath(f"Pair_list_{side}.txt").write_text(
            "".join(lines)
        )
    for fold in range(1, 11):
        for kind, same in (("FF", "1,2\r\n"), ("FP", "4,3\n1,2\n")):
            names = [f"Split/{kind}/{fold:02d}/{name}.txt" for name in ("same", "diff")]
            touch(folder, *names)
            (folder / names[0]).write_text(same)
            (folder / names[1]).write_text("2,3\n")
    return folder


@pytest.mark.parametrize(
    ("kind", "first", "size", "people", "lists"),
    [
        (
            "FF",
            [
                ("001/frontal/01.jpg", "001/frontal/02.jpg", True),
                ("001/frontal/02.jpg", "002/frontal/01.jpg", False),
            ],
            2,
            [0, 0, 1],
            21,
        ),
        (
            "FP",
            [
                ("002/frontal/02.jpg", "002/profile/01.jpg", True),
                ("001/frontal/01.jpg", "001/profile/02.jpg", True),
                ("001/frontal/02.jpg", "002/profile/01.jpg", False),
            ],
            3,
            [0, 0, 1, 1, 1],
            22,
        ),
    ],
)
def test_cfp(
    kind: str, first: list[Any], size: int, people: list[int], lists: int, tmp_path: Path
) -> None:
    folder = write_cfp(tmp_path)
    protocol = cfp(folder, None, kind)
    assert protocol.name == f"CFP-{kind}"
    assert len(protocol.hashes) == lists
    file = f"Split/{kind}/10/diff.txt"
    assert protocol.hashes[file] == sha256(folder / file)
    assert protocol.folds.tolist() == np.repeat(np.arange(10), size).tolist()
    assert protocol.people.tolist() == people
    assert sorted(protocol.persons) == ["001", "002"]
    assert all(map(os.path.exists, protocol.photos))
    images = tmp_path / "Data" / "Images"
    below = cfp(folder, images, kind)
    assert below.pairs.tolist() == protocol.pairs.tolist()
    expected = [(str(images / a), str(images / b), same) for a, b, same in first]
    assert shown(below) == expected * 10


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("Pair_list_P.txt", None, r"Pair_list_P\.txt: cannot be read: No such file"),
        ("Pair_list_F.txt", "1\n", r"Pair_list_F\.txt, line 1: a number and the path"),
        ("Pair_list_F.txt", "x ../Data/Images/001/frontal/01.jpg", "line 1: 'x' is no whole"),
        ("Split/FP/10/diff.txt", None, r"diff\.txt: cannot be read: No such file"),
        ("Split/FP/03/diff.txt", "", r"diff\.txt: the list is empty"),
        ("Split/FP/03/same.txt", "1,2\n1,5\n", r"same\.txt, line 2: the pair lists have no such"),
        ("Split/FP/03/same.txt", "1,2\n1\n", r"same\.txt, line 2: '' is no whole number"),
        ("Split/FP/03/same.txt", "1,2,3\n", r"same\.txt, line 1: '2,3' is no whole number"),
        ("Split/FP/03/same.txt", "1,3\n", r"line 1: '001' and '002' are said to be one person"),
    ],
)
def test_faults_of_cfp_name_their_line(
    file: str, text: str | None, reason: str, tmp_path: Path
) -> None:
    folder = write_cfp(tmp_path)
    (folder / file).unlink() if text is None else (folder / file).write_text(text)
    with pytest.raises(IntegrityError, match=reason):
        cfp(folder, None, "FP")


def test_cfp_with_a_wrong_kind_or_folder(tmp_path: Path) -> None:
    folder = write_cfp(tmp_path)
    with pytest.raises(ValueError, match="the kind of CFP must be 'FF' or 'FP', not 'PF'"):
        cfp(folder, None, "PF")
    with pytest.raises(ImageError, match="none of the list's 5 photos is there"):
        cfp(folder, tmp_path, "FP")


def write_csv(folder: Path, text: str) -> Path:
    path = touch(folder, "1.jpg", "sub/2,3.jpg") / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_with_people_and_folds(tmp_path: Path) -> None:
    text = (
        "\ufeffsame, fold,a,b,person_b,person_a\r\n"
        '1,7,1.jpg,"sub/2,3.jpg",Ann,Ann\r\n\r\n'
        "FALSE,5,1.jpg,4.jpg,Bo,Ann\n"
        "true,7,4.jpg,5.jpg,Bo,Bo\n"
    )
    path = write_csv(tmp_path, text)
    protocol = csv_pairs(path, tmp_path)
    assert protocol.name == "pairs.csv"
    assert protocol.hashes == {"pairs.csv": sha256(path)}
    names = ["1.jpg", "sub/2,3.jpg", "4.jpg", "5.jpg"]
    assert protocol.photos == tuple(str(tmp_path / name) for name in names)
    assert protocol.people.tolist() == [0, 0, 1, 1]
    assert protocol.persons == ("Ann", "Bo")
    assert protocol.pairs.tolist() == [[0, 1], [0, 2], [2, 3]]
    assert protocol.same.tolist() == [True, False, True]
    assert protocol.folds.tolist() == [1, 0, 1]


def test_csv_without_people_gives_each_pair_its_own(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a,b,same\n1.jpg,2.jpg,1\n1.jpg,3.jpg,0\n2.jpg,1.jpg,true\n")
    protocol = csv_pairs(path, tmp_path)
    assert protocol.pairs.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert protocol.people.tolist() == [0, 0, 1, 2, 3, 3]
    assert protocol.persons == ()
    assert [Path(photo).name[0] for photo in protocol.photos] == list("121321")
    assert protocol.folds.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("count", "sizes"), [(10, [1] * 10), (23, [3, 3, 3] + [2] * 7), (2, [1, 1]), (1, None)]
)
def test_lists_without_folds_get_ten_consecutive_ones(
    count: int, sizes: list[int] | None, tmp_path: Path
) -> None:
    path = write_csv(tmp_path, "a,b,same\n" + "1.jpg,2.jpg,1\n" * count)
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([b"x"] * 2 * count, [True] * count)))
    for protocol in (csv_pairs(path, tmp_path), bin_set(tmp_path / "lfw.bin")):
        if sizes is None:
            assert protocol.folds is None
        else:
            assert protocol.folds.tolist() == np.repeat(np.arange(len(sizes)), sizes).tolist()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the list is empty"),
        ("a,b,same\n", "line 1: no pair follows"),
        ("a,b\n1.jpg,2.jpg\n", "line 1: the columns must be .* not a, b"),
        ("1.jpg,2.jpg,1\n", "line 1: the columns must be .* not 1.jpg, 2.jpg, 1"),
        ("a,b,same,folds\n1,2,1,1\n", "line 1: the columns must be .* folds"),
        ("a,b,same,person_a\n1,2,1,A\n", "line 1: the columns must be"),
        ("a,b,same,fold,fold\n1,2,1,1,1\n", "line 1: the columns must be"),
        ("a,b,same\n1.jpg,2.jpg\n", "line 2: 3 fields must stand here"),
        ("a,b,same\n\n1.jpg,2.jpg,1,1\n", "line 3: 3 fields must stand here"),
        ("a,b,same\n1.jpg,,1\n", "line 2: 3 fields must stand here, none empty"),
        ("a,b,same\n1.jpg,2.jpg,yes\n", "line 2: same must be 1, 0, true or false, not 'yes'"),
        ('a,b,same\n"1.jpg,2.jpg,1\n', "line 2: unexpected end of data"),
        ("a,b,same,fold\n1.jpg,2.jpg,1,x\n", "line 2: 'x' is no whole number"),
        (
            "a,b,same,person_a,person_b\n1.jpg,2.jpg,1,A,B\n",
            "line 2: 'A' and 'B' are said to be one person",
        ),
    ],
)
def test_faults_of_csv_lists_name_their_line(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=reason):
        csv_pairs(write_csv(tmp_path, text), tmp_path)


def test_csv_with_a_wrong_folder(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "a,b,same\n1.jpg,2.jpg,1\n")
    with pytest.raises(ImageError, match="none of the list's 2 photos is there"):
        csv_pairs(path, tmp_path / "sub")


def test_bin_set(tmp_path: Path) -> None:
    path = tmp_path / "lfw.bin"
    pictures = [bytes([number]) for number in range(8)]
    path.write_bytes(pickle.dumps((pictures, [False, True, True, False])))
    protocol = bin_set(path)
    assert protocol.name == "lfw.bin"
    assert protocol.photos == tuple(pictures)
    assert protocol.names == tuple(f"lfw.bin[{number}]" for number in range(8))
    assert protocol.people.tolist() == [0, 1, 2, 2, 3, 3, 4, 5]
    assert protocol.persons == ()
    assert protocol.pairs.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert protocol.same.tolist() == [False, True, True, False]
    assert protocol.hashes == {"lfw.bin": sha256(path)}


def people_of(counts: list[int]) -> list[str]:
    return [
        f"p{person}/{'sub/' * (photo % 2)}{photo}.jpg"
        for person, count in enumerate(counts)
        for photo in range(count)
    ]


def test_folder_against_itself(tmp_path: Path) -> None:
    touch(tmp_path, "b/2.jpg", "b/10.png", "a/deep/1.jpg", "a/0.jpg", "a/notes.txt", ".x/1.jpg")
    protocol = folder_pairs(tmp_path)
    names = ["a/0.jpg", "a/deep/1.jpg", "b/10.png", "b/2.jpg"]
    assert protocol.photos == tuple(str(tmp_path / name) for name in names)
    assert protocol.people.tolist() == [0, 0, 1, 1]
    assert protocol.persons == ("a", "b")
    assert (protocol.pairs, protocol.same, protocol.folds) == (None, None, None)
    assert protocol.hashes == {"paths": hashlib.sha256("\0".join(names).encode()).hexdigest()}


@settings(max_examples=30)
@given(
    counts=st.lists(st.integers(1, 8), min_size=2, max_size=9),
    share=st.floats(0, 1),
    seed=st.integers(0, 1 << 32),
)
def test_drawn_pairs_are_distinct_and_of_their_kind(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], share: float, seed: int
) -> None:
    folder = touch(tmp_path_factory.mktemp("people"), *people_of(counts))
    genuine = sum(count * (count - 1) // 2 for count in counts)
    impostor = sum(counts) * (sum(counts) - 1) // 2 - genuine
    possible = min(genuine, impostor)
    half = max(10, round(share * possible))
    if half > possible:
        reason = f"{genuine} genuine and {impostor} impostor pairs, so {2 * possible} with"
        with pytest.raises(ValueError, match=reason):
            folder_pairs(folder, 2 * half, seed)
        return
    protocol = folder_pairs(folder, 2 * half, seed)
    assert all(a < b for a, b in protocol.pairs)
    assert len(set(map(tuple, protocol.pairs.tolist()))) == 2 * half
    assert protocol.same.sum() == half
    assert (np.diff(protocol.folds) >= 0).all()
    sizes = np.bincount(protocol.folds[protocol.same], minlength=10)
    assert sizes.tolist() == np.bincount(protocol.folds[~protocol.same], minlength=10).tolist()
    assert sizes.max() - sizes.min() <= 1
    for fold in range(10):
        kinds = protocol.same[protocol.folds == fold]
        assert kinds.tolist() == sorted(kinds, reverse=True)
    again = folder_pairs(folder, 2 * half, seed)
    assert again.pairs.tolist() == protocol.pairs.tolist()
    assert ten_fold(np.where(protocol.same, 0.5, 1.5), protocol.same, protocol.folds).mean == 1


def test_every_pair_can_be_drawn_and_another_seed_draws_others(tmp_path: Path) -> None:
    """5 photos of one and 2 of another person: 11 genuine and 10 impostor pairs."""
    folder = touch(tmp_path, *people_of([5, 2]))
    first, second = (folder_pairs(folder, 20, seed) for seed in (0, 1))
    impostors = {(a, b) for a in range(5) for b in (5, 6)}
    for protocol in (first, second):
        assert set(map(tuple, protocol.pairs[~protocol.same].tolist())) == impostors
    assert first.pairs.tolist() != second.pairs.tolist()


@pytest.mark.parametrize(
    ("names", "pairs", "error", "reason"),
    [
        (people_of([5, 5]), 21, ValueError, "pairs must be even and 20 at least, not 21"),
        (people_of([5, 5]), 18, ValueError, "pairs must be even and 20 at least, not 18"),
        (people_of([5, 5]), 0, ValueError, "pairs must be even and 20 at least, not 0"),
        (
            people_of([4, 1]),
            20,
            ValueError,
            "5 photos make 6 genuine and 4 impostor pairs, so 8 with as many of each; 20 are",
        ),
        (people_of([1, 1, 1]), None, ValueError, "make 0 genuine and 3 impostor pairs"),
        (people_of([3]), None, ValueError, "make 3 genuine and 0 impostor pairs"),
        ([], None, ImageError, "no folder, or one without a photo"),
        (["a/1.txt"], None, ImageError, "no folder, or one without a photo"),
        (["a/1.jpg", "2.jpg"], None, ImageError, r"2\.jpg: the photo lies in no person's folder"),
    ],
)
def test_folders_that_make_no_protocol_are_refused(
    names: list[str], pairs: int | None, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=reason):
        folder_pairs(touch(tmp_path, *names), pairs)


def test_a_file_is_no_folder_of_people(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no folder, or one without a photo"):
        folder_pairs(touch(tmp_path, "1.jpg") / "1.jpg")


def test_read_pairs_looks_at_the_path(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("1\nA 1 2\nA 1 B 1\n")
    write_csv(tmp_path, "a,b,same\n1.jpg,2.jpg,1\n").rename(tmp_path / "PAIRS.CSV")
    images = touch(tmp_path, "A/A_0001.jpg")
    folder = write_cfp(tmp_path)
    assert read_pairs(tmp_path / "pairs.txt", images).name == "LFW pairs.txt"
    assert read_pairs(str(tmp_path / "PAIRS.CSV"), images).name == "PAIRS.CSV"
    assert read_pairs(folder, None, "FF").name == "CFP-FF"
    assert read_pairs(folder, tmp_path / "Data" / "Images", "FP").name == "CFP-FP"
    with pytest.raises(ValueError, match="must be 'FF' or 'FP', not None"):
        read_pairs(folder, None)
    with pytest.raises(ValueError, match="the kind 'FF' goes with CFP's folder"):
        read_pairs(tmp_path / "pairs.txt", images, "FF")
    with pytest.raises(ValueError, match=re.escape("pairs.txt: say which folder holds its photos")):
        read_pairs(tmp_path / "pairs.txt", None)


@pytest.mark.shared
def test_real_photos_make_pairs(shared: Path) -> None:
    protocol = folder_pairs(shared / "data" / "celeba200" / "photos", 6000)
    assert len(protocol.photos) == 4163
    assert protocol.people.max() == 199
    assert protocol.same.sum() == 3000
    for (a, b), same in zip(protocol.pairs[::100], protocol.same[::100], strict=True):
        parents = {Path(os.fsdecode(protocol.photos[side])).parent for side in (a, b)}
        assert len(parents) == 2 - same
