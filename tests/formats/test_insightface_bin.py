"""Verification sets as Python 2, Python 3, old and new NumPy wrote them, and hostile ones."""

import _codecs
import copyreg
import logging
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mindface.errors import IntegrityError
from mindface.formats.insightface_bin import read_bin

JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\n'\"\\\x85\xc3\xa9" * 20
PNG = b"\x89PNG\r\n\x1a\n"
PICTURES = [JPEG, PNG, b"\0", b"GIF89a", PNG, PNG]
LABELS = [True, False, True]

NEW_NUMPY, OLD_NUMPY = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"


def python2(pictures: list[bytes], labels: list[bool]) -> bytes:
    """What `pickle.dump((pictures, labels), file, protocol=2)` writes under Python 2."""
    parts = [b"\x80\x02]q\x01("]
    for number, picture in enumerate(pictures, 2):
        length = len(picture)
        parts.append(b"U" + bytes([length]) if length < 256 else b"T" + struct.pack("<i", length))
        parts.append(picture + b"q" + bytes([number]))
    parts.append(
        b"e]r\x00\x01\x00\x00(" + b"".join(b"\x88" if label else b"\x89" for label in labels)
    )
    return b"".join([*parts, b"e\x86r\x01\x01\x00\x00."])


def python2_text(pictures: list[bytes], labels: list[bool]) -> bytes:
    """The same in protocol 0, its default: `str` as `repr`, bools as `I01`."""
    parts = [b"((lp1\n"]
    for number, picture in enumerate(pictures, 2):
        text = repr(picture)[1:].encode("ascii")
        parts.append(b"S" + text + b"\np%d\na" % number)
    parts.append(b"(lp99\n" + b"".join(b"I0%d\na" % label for label in labels))
    return b"".join([*parts, b"tp100\n."])


def python2_array(picture: bytes) -> bytes:
    """A NumPy array (n,) uint8 as Python 2 wrote it in protocol 2."""
    size = struct.pack("<i", len(picture))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b\x87Rq\x04"
        b"(K\x01J" + size + b"\x85cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + size + picture + b"tb"
    )


def python2_scalar(label: bool) -> bytes:
    return (
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02b1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x01" + bytes([label]) + b"\x86R"
    )


def arrays(pictures: list[bytes]) -> list[np.ndarray]:
    return [np.frombuffer(picture, np.uint8) for picture in pictures]


def with_numpy(name: bytes, content: bytes) -> bytes:
    return content.replace(NEW_NUMPY, name).replace(OLD_NUMPY, name)


def layouts() -> Iterator[tuple[str, bytes]]:
    yield "python2", python2(PICTURES, LABELS)
    yield "python2 protocol 0", python2_text(PICTURES, LABELS)
    old = b"".join(map(python2_array, PICTURES)), b"".join(map(python2_scalar, LABELS))
    yield "python2 numpy", b"\x80\x02](%be](%be\x86." % old
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield f"bytes {protocol}", pickle.dumps((PICTURES, LABELS), protocol)
        yield f"list {protocol}", pickle.dumps([tuple(PICTURES), (1, 0, 1)], protocol)
    for protocol in range(5):
        content = pickle.dumps((arrays(PICTURES), list(np.array(LABELS))), protocol)
        yield f"numpy {protocol}", content
        if protocol < 4:  # later ones write the length of a name before it
            yield f"new numpy {protocol}", with_numpy(NEW_NUMPY, content)
            yield f"old numpy {protocol}", with_numpy(OLD_NUMPY, content)


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*each, id=each[0]) for each in layouts()]
)
def test_every_layout_holds_the_same(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "lfw.bin"
    path.write_bytes(content)
    pictures, same = read_bin(path)
    assert pictures == PICTURES
    assert same.dtype == np.bool_
    assert same.tolist() == LABELS


@pytest.mark.parametrize("write", [python2, python2_text])
def test_what_python_2_wrote_is_what_pickle_reads(write: Callable[..., bytes]) -> None:
    loaded = pickle.loads(write(PICTURES, LABELS), encoding="bytes")
    assert loaded == (PICTURES, LABELS)


def test_the_arrays_of_python_2_are_what_pickle_reads() -> None:
    content = b"\x80\x02](%b%be." % (python2_array(JPEG), python2_scalar(True))
    picture, label = pickle.loads(content, encoding="bytes")
    assert picture.tobytes() == JPEG
    assert label


@given(
    pairs=st.lists(st.tuples(st.binary(min_size=1), st.booleans()), min_size=1, max_size=20),
    protocol=st.integers(0, pickle.HIGHEST_PROTOCOL),
    write=st.sampled_from([pickle.dumps, lambda loaded, _: python2_text(*loaded)]),
)
def test_pictures_come_back_whole(
    tmp_path_factory: pytest.TempPathFactory,
    pairs: list[tuple[bytes, bool]],
    protocol: int,
    write: Callable[[Any, int], bytes],
) -> None:
    pictures = [picture for picture, _ in pairs for _ in "ab"]
    labels = [label for _, label in pairs]
    path = tmp_path_factory.getbasetemp() / "whole.bin"
    path.write_bytes(write((pictures, labels), protocol))
    read, same = read_bin(path)
    assert (read, same.tolist()) == (pictures, labels)


@given(data=st.data())
def test_damaged_sets_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(data.draw(st.sampled_from([content for _, content in layouts()])))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    path = tmp_path_factory.getbasetemp() / "damaged.bin"
    path.write_bytes(content)
    with suppress(IntegrityError):
        pictures, same = read_bin(path)
        assert len(pictures) == 2 * len(same)


@pytest.mark.parametrize(
    ("name", "content"), [pytest.param(*each, id=each[0]) for each in layouts()]
)
def test_truncated_sets_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "short.bin"
    for length in range(0, len(content), len(content) // 12):
        path.write_bytes(content[:length])
        with pytest.raises(IntegrityError, match="truncated"):
            read_bin(path)


@pytest.mark.parametrize(
    ("loaded", "reason"),
    [
        ([], "does not hold a list of pictures"),
        ({"pictures": []}, "instruction b'}'"),
        (([JPEG, PNG], [True], []), "does not hold a list of pictures"),
        ((JPEG, [True]), "does not hold a list of pictures"),
        (([], []), "0 pictures and 0 labels"),
        (([JPEG], []), "1 pictures and 0 labels"),
        (([JPEG] * 3, [True]), "3 pictures and 1 labels"),
        (([JPEG] * 4, [True]), "4 pictures and 1 labels"),
        (([JPEG] * 2, [True, False]), "2 pictures and 2 labels"),
        (([JPEG, ""], [True]), "picture 1 is empty or not the bytes"),
        (([JPEG, np.zeros(0, np.uint8)], [True]), "picture 1 is empty or not the bytes"),
        (([JPEG, 3], [True]), "picture 1 is empty or not the bytes"),
        (([JPEG, JPEG], [2]), "label 0 is neither"),
        (([JPEG, JPEG], [None]), "label 0 is neither"),
        (([JPEG, JPEG], [JPEG]), "label 0 is neither"),
        (([JPEG, JPEG], [1.0]), "instruction b'G'"),
        (([JPEG, JPEG], [np.int64(1)]), "calls dtype as no set needs it"),
        (([JPEG, JPEG], [np.uint8(1)]), "calls scalar as no set needs it"),
        (([JPEG, np.zeros((2, 2), np.uint8)], [True]), "something else than arrays"),
        (([JPEG, np.zeros(2, np.bool_)], [True]), "something else than arrays"),
        (([JPEG, np.zeros(2, np.float32)], [True]), "calls dtype as no set needs it"),
        (([JPEG, np.zeros(2, [("a", "u1")])], [True]), "calls dtype as no set needs it"),
        (([JPEG, np.array([JPEG], object)], [True]), "calls dtype as no set needs it"),
        (([JPEG, np.datetime64(1, "s")], [True]), "calls dtype as no set needs it"),
        (([JPEG, Path("a")], [True]), "names 'pathlib"),
    ],
)
def test_other_pickles_are_refused(loaded: Any, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "other.bin"
    path.write_bytes(pickle.dumps(loaded, protocol=4))
    with pytest.raises(IntegrityError, match=reason) as caught:
        read_bin(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (JPEG, r"no pickle .* instruction b'\\xff', which stands at byte 0"),
        (b"PK\x03\x04", "instruction b'P'"),
        (b".", "what it never made"),
        (b"h\x07.", "what it never made"),
        (b"e.", "what it never made"),
        (b"Kxa.", "what it never made"),
        (b"KxKya.", "appends to something that is no list"),
        (b"Kx(Kye.", "appends to something that is no list"),
        (b"K\1K\2\x93.", "names something that is no text"),
        (b"K\1K\2R.", "calls something as no set needs it"),
        (b"K\1K\2b.", "something else than arrays"),
        (b"I1x\n.", "invalid literal"),
        (b"I" + b"9" * 5000 + b"\n.", "4300 digits"),
        (b"X\x01\0\0\0\xff.", "decode"),
        (b"S'a\n.", "string that Python 2 would not write"),
        (b"S'\n.", "string that Python 2 would not write"),
        (b"Sabc\n.", "string that Python 2 would not write"),
        (b"S'\\q'\n.", "string that Python 2 would not write"),
        (b"S'\\N{BULLET}'\n.", "string that Python 2 would not write"),
        (b"S'\\'\n.", "string that Python 2 would not write"),
        (b"cnumpy\ncore\n.", "names 'numpy.core'"),
        (b"cnumpy.core.numeric\n_frombuffer\n.", "names 'numpy.core.numeric._frombuffer'"),
        (b"P7\n.", "instruction b'P'"),
        (b"Q.", "instruction b'Q'"),
        (b"\x82\x01.", r"instruction b'\\x82'"),
        (b"\x97.", r"instruction b'\\x97'"),
        (b"2.", "instruction b'2'"),
    ],
)
def test_hostile_instructions_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=reason) as caught:
        read_bin(path)
    assert str(path) in str(caught.value)


def test_a_set_in_shared_pictures_and_after_a_frame_is_read(tmp_path: Path) -> None:
    """One picture in many pairs is written once; what follows the end is not looked at."""
    path = tmp_path / "shared.bin"
    path.write_bytes(pickle.dumps(([JPEG] * 2000, [True] * 1000), protocol=4) + b"rest")
    pictures, _ = read_bin(path)
    assert pictures == [JPEG] * 2000
    assert len(set(map(id, pictures))) == 1


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"absent\.bin: cannot be read: No such file"):
        read_bin(tmp_path / "absent.bin")
    with pytest.raises(IntegrityError, match="cannot be read: a folder, not a file"):
        read_bin(tmp_path)
    with pytest.raises(IntegrityError, match="cannot be read: not a path"):
        read_bin("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_a_fifo_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lfw.bin")
    with pytest.raises(IntegrityError, match="cannot be read: a FIFO, not a file"):
        read_bin(tmp_path / "lfw.bin")


class Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def inside(value: Any, protocol: int = 2) -> bytes:
    """A set with a value for a picture."""
    return pickle.dumps(([JPEG, value], [True]), protocol)


CANARIES: dict[str, Callable[[str], bytes]] = {
    "open": lambda path: inside(Call(open, path, "w")),
    "os.system": lambda path: inside(Call(os.system, f'echo > "{path}"')),
    "os.system, protocol 4": lambda path: inside(Call(os.system, f'echo > "{path}"'), 4),
    "eval": lambda path: inside(Call(eval, f"open({path!r}, 'w')")),
    "label": lambda path: pickle.dumps(([JPEG, JPEG], [Call(open, path, "w")])),
    "object array": lambda path: inside(np.array([Call(open, path, "w")], object)),
    "copyreg": lambda path: inside(
        Call(copyreg._reconstructor, logging.FileHandler, logging.FileHandler, path)
    ),
    "inst": lambda path: b"(V%b\nVw\niio\nopen\n." % path.encode(),
    "obj": lambda path: b"(cio\nopen\nV%b\nVw\no." % path.encode(),
    "before a set": lambda path: b"cio\nopen\n(V%b\nVw\ntR0" % path.encode() + inside(PNG),
    "named by two strings": lambda path: b"\x8c\x02io\x8c\x04open\x93(V%b\nVw\ntR." % path.encode(),
}
PLAIN = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'), encoding='bytes')"


@pytest.mark.parametrize("name", CANARIES)
def test_nothing_in_a_file_is_run(name: str, tmp_path: Path) -> None:
    """Each of these makes a file where pickle opens it, and none where we do."""
    trace, path = tmp_path / "trace", tmp_path / "a.bin"
    path.write_bytes(CANARIES[name](str(trace)))
    with pytest.raises(IntegrityError):
        read_bin(path)
    assert not trace.exists()
    subprocess.run([sys.executable, "-c", PLAIN, path], check=True)
    assert trace.exists()


@pytest.mark.parametrize(
    "value",
    [
        Call(_codecs.encode, "a", "utf-8"),
        Call(_codecs.encode, "a", "latin-1"),
        Call(_codecs.encode, "a", "rot13"),
        Call(_codecs.encode, b"a", "zlib_codec"),
        Call(_codecs.encode, b"a", "latin1"),
        Call(_codecs.encode, "a"),
        Call(_codecs.encode, "a", "latin1", "ignore"),
        Call(_codecs.encode, "\u20ac", "latin1"),
        Call(_codecs.decode, b"a", "latin1"),
        Call(_codecs.lookup, "latin1"),
    ],
)
def test_no_codec_but_latin_1_is_used(value: Call, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(inside(value, 3))
    with pytest.raises(IntegrityError):
        read_bin(path)


TEXT = b"X\x00\x00\x10\x00" + b"a" * (1 << 20) + b"q\x00X\x06\x00\x00\x00latin1q\x01"
BOMBS = {
    "a frame": b"\x80\x04\x95" + b"\xff" * 8,
    "bytes": b"\x8e" + (1 << 40).to_bytes(8, "little"),
    "text": b"X" + b"\xff" * 4,
    "a number in the memo": b"Nr\xff\xff\xff\xff",
    "a number in words": b"Np%d\n" % (1 << 62),
    "one text many times": TEXT + b"c_codecs\nencode\nq\x02" + b"h\x02h\x00h\x01\x86R" * 1000,
    "an array": python2_array(b"abc").replace(b"J\3\0\0\0", b"J\xff\xff\xff\x7f"),
    "nested lists": b"]" * 20_000 + b"a" * 19_999 + b".",
    "nested tuples": b"N" + b"\x85" * 20_000 + b".",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_memory(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(IntegrityError):
            read_bin(path)
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()
