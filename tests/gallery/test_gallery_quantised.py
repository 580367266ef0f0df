"""Copies of the matrix in fewer bits: in step with it, made anew, and gone after a forgetting."""

import shutil

import numpy as np
import pytest
from conformance import Conformance
from gallery_faces import CONTRACT, SIZE, calibration, sample, unit

from mindface.errors import ConfigError, GalleryError, MissingExtraError
from mindface.gallery import Gallery, forgetting, quantised
from mindface.gallery.quantised import CodesFile, encode

pytest.importorskip("numkong", reason="search in float16 and int8 needs the extra search")

EVERYBODY = [f"person {number}" for number in range(20)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "people.db"


@pytest.fixture(params=["float16", "int8"])
def precision(request):
    return request.param


@pytest.fixture
def filled(path, precision):
    with Gallery(path, CONTRACT, SIZE, search=precision) as gallery:
        gallery.add_many((f"person {number}", unit(1, seed=number)) for number in range(20))
        gallery.identify(unit(1))
    return path


class TestInt8(Conformance):
    @pytest.fixture
    def url(self, tmp_path):
        return tmp_path / "people.db"

    @pytest.fixture
    def gallery(self, url):
        with Gallery(url, CONTRACT, SIZE, calibration=calibration(), search="int8") as gallery:
            yield gallery


def who(gallery, count=20):
    probes = np.concatenate([unit(1, seed=number) for number in range(count)])
    return [match.person for match in gallery.identify(probes)]


def codes_of(path, precision):
    return path.with_name(f"people.db-{precision}")


def test_what_cannot_be_is_refused(path, monkeypatch):
    with pytest.raises(ConfigError, match="search='int4': choose float32, float16, int8"):
        Gallery(path, CONTRACT, SIZE, search="int4")
    with pytest.raises(ConfigError, match="a server's URL takes"):
        Gallery("postgresql://nowhere/people", CONTRACT, SIZE, search="int8")

    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(quantised, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"mindface\[search\]"):
        Gallery(path, CONTRACT, SIZE, search="int8")
    assert not path.exists()


def test_the_copy_grows_by_what_changed(filled, precision, monkeypatch):
    written = []

    def counting(vectors, kind):
        written.append(len(vectors))
        return encode(vectors, kind)

    monkeypatch.setattr(quantised.CodesFile, "_replace", None)
    with Gallery(filled, search=precision) as gallery:
        assert who(gallery) == EVERYBODY
        monkeypatch.setattr(quantised, "encode", counting)
        gallery.enroll("new", unit(2, seed=70))
        gallery.remove([5])
        monkeypatch.setattr(quantised.CodesScan, "__init__", None)
        with pytest.raises(TypeError):  # the search itself
            gallery.identify(unit(1, seed=70))
        assert written == [1]
    monkeypatch.undo()
    with Gallery(filled, search=precision) as gallery:
        assert gallery.identify(unit(2, seed=70)[:1])[0].person == "new"
        assert gallery.identify(unit(1, seed=4))[0].person != "person 4"
        assert gallery.integrity() == []


def test_the_copy_is_made_anew_when_it_is_full(filled, precision, monkeypatch):
    monkeypatch.setattr(quantised, "ROOM", 1)
    codes_of(filled, precision).unlink()
    with Gallery(filled, search=precision) as gallery:
        for number in range(20, 90):
            gallery.enroll(f"person {number}", unit(1, seed=number))
            if number % 7 == 0:
                assert gallery.identify(unit(1, seed=number))[0].person == f"person {number}"
        assert who(gallery, 90) == [f"person {number}" for number in range(90)]
        assert gallery.integrity() == []


@pytest.mark.parametrize("damage", ["absent", "half", "header", "other", "older"])
def test_the_copy_is_made_anew_where_it_does_not_fit(filled, precision, damage):
    file = codes_of(filled, precision)
    data = bytearray(file.read_bytes())
    if damage == "absent":
        file.unlink()
    elif damage == "half":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "header":
        file.write_bytes(bytes([*data[:20], data[20] ^ 1, *data[21:]]))
    elif damage == "older":  # of rows that the matrix no longer has
        with Gallery(filled) as gallery:
            gallery.forget("person 3")
        file.write_bytes(data)
    else:
        other = filled.with_name("other.db")
        with Gallery(other, CONTRACT, SIZE, search=precision) as gallery:
            gallery.add_many((f"other {number}", unit(1, seed=30 + number)) for number in range(20))
            gallery.identify(unit(1))
        other.with_name(f"other.db-{precision}").replace(file)
    with Gallery(filled, search=precision) as gallery:
        names = who(gallery)
        if damage == "older":
            assert names.pop(3) != "person 3"
        assert names == [name for name in EVERYBODY if damage != "older" or name != "person 3"]
        assert gallery.integrity() == []


def test_a_damaged_copy_is_named_and_rebuilt(filled, precision):
    file = codes_of(filled, precision)
    data = bytearray(file.read_bytes())
    data[-3] ^= 0x40
    file.write_bytes(data)
    with Gallery(filled, search=precision) as gallery:
        (fault,) = gallery.integrity()
        assert f"{file}: is not what the matrix makes it: rebuild it" in fault
        gallery.backend.rebuild()
        assert who(gallery) == EVERYBODY
        assert gallery.integrity() == []


def test_a_copy_that_cannot_be_written_says_so(filled, precision, monkeypatch):
    codes_of(filled, precision).unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(quantised, "created", full)
    with (
        Gallery(filled, search=precision) as gallery,
        pytest.raises(GalleryError, match=f"{precision}: No space left"),
    ):
        gallery.identify(unit(1))


def test_nothing_is_left_in_copies(filled, precision):
    face = sample(unit(1, seed=50)[0])
    copies = [encode(face.embedding[None], each).codes.tobytes() for each in ("float16", "int8")]
    held = encode(face.embedding[None], precision).codes.tobytes()
    with Gallery(filled, search=precision) as gallery:
        gallery.enroll("Ada Lovelace", [face])
        gallery.identify(unit(1))
        with Gallery(filled, search=precision) as reader:
            assert reader.identify(face.embedding[None])[0].similarity > 0.99
            assert held in codes_of(filled, precision).read_bytes()
            receipt = gallery.forget("Ada Lovelace")
            assert receipt.clean
            assert reader.identify(face.embedding[None])[0].similarity < 0.9
        assert who(gallery) == EVERYBODY
    for each in filled.parent.iterdir():
        data = each.read_bytes()
        for copy in copies:
            windows = (copy[start : start + 32] for start in range(len(copy) - 31))
            assert not any(window in data for window in windows), each


def test_copies_that_others_left_are_found(filled, precision):
    with Gallery(filled) as gallery:
        vector = gallery.faces("person 3")[0].embedding
        copy = encode(vector[None], precision).codes.tobytes()
        filled.with_name("people.db-backup").write_bytes(b"abc" + copy)
        receipt = gallery.forget("person 3")
    assert [(each.file, each.offset, each.what) for each in receipt.residue] == [
        ("people.db-backup", 3, "vector")
    ]


def test_a_forgetting_that_was_killed_leaves_no_copy(filled, precision, monkeypatch):
    gallery = Gallery(filled, search=precision)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forgetting, "shred_copies", killed)
    with pytest.raises(KeyboardInterrupt):
        gallery.forget("person 3")
    crashed = filled.parent / "crashed"
    shutil.copytree(filled.parent, crashed)
    monkeypatch.undo()
    gallery.close()
    file = codes_of(crashed / filled.name, precision)
    assert file.exists()
    Gallery(crashed / filled.name).close()
    assert not file.exists()


def test_codes_are_to_the_nearest():
    vectors = np.concatenate([unit(500, 512), np.zeros((1, 512), np.float32), np.eye(512)[:1]])
    for precision, most in (("float16", 3e-4), ("int8", 0.02)):
        codes, scales, widths = encode(vectors.astype(np.float32), precision)
        left = np.linalg.norm(vectors - codes.astype(np.float64) * scales[:, None], axis=1)
        assert (left <= widths).all()
        assert widths.max() < most
        assert widths[-2:].max() < 1e-6


def test_an_empty_matrix_has_an_empty_copy(path, precision):
    with Gallery(path, CONTRACT, SIZE, search=precision) as gallery:
        assert gallery.identify(unit(1))[0].person is None
        assert CodesFile(path, precision, SIZE).path.exists()
