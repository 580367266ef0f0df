import hashlib
import os
import random
import socket

import onnx
import pytest
from weight_server import entry, forget, use_catalogue

from mindface import zoo
from mindface.errors import (
    IntegrityError,
    LicenceError,
    ModelError,
    RecordError,
    UnknownModelError,
    WeightsError,
)
from mindface.zoo import cache as places
from mindface.zoo.record import ModelRecord, write_record


def tiny_onnx():
    """An ONNX file that hands its input through."""
    shape = ["batch", 3, 112, 112]
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["input"], ["output"])],
        "tiny",
        [value("input", onnx.TensorProto.FLOAT, shape)],
        [value("output", onnx.TensorProto.FLOAT, shape)],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


TINY = tiny_onnx()


def record_of(content, **fields):
    return ModelRecord(name="mine", **entry(content, **fields))


def write_model(path, content=TINY, record=None):
    path.write_bytes(content)
    write_record(record or record_of(content), path.with_suffix(".json"))
    return path


@pytest.fixture(autouse=True)
def _catalogue(monkeypatch, tmp_path, cache):
    known = entry(TINY)
    use_catalogue(
        monkeypatch,
        tmp_path / "catalogue.yaml",
        known=known,
        absent=entry(b"absent"),
        unreachable=entry(b"unreachable", url=None),
        strict=entry(b"strict", licence="CC-BY-NC-4.0", licence_class="non-commercial"),
        murky=entry(b"murky", licence="none stated", licence_class="unknown"),
    )
    yield
    forget()


def put_into_cache(name, content):
    path = places.cached_path(zoo.get(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def resolve(name_or_file, **options):
    return zoo.resolve(name_or_file, **{"task": "recognition", **options})


def test_a_name_is_found_in_the_cache_and_in_the_package_before(monkeypatch, tmp_path):
    cached = put_into_cache("known", TINY)
    assert resolve("known") == zoo.Model(zoo.get("known"), cached)
    monkeypatch.setattr(places, "BUNDLED", tmp_path)
    (tmp_path / "known.onnx").write_bytes(TINY)
    assert resolve("known").path == tmp_path / "known.onnx"
    (tmp_path / "known.onnx").write_bytes(TINY[::-1])
    with pytest.raises(IntegrityError, match="install mindface again"):
        resolve("known")


def test_a_name_stands_before_a_file_of_that_name(monkeypatch, tmp_path):
    cached = put_into_cache("known", TINY)
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "known.onnx").rename(tmp_path / "known")
    assert resolve("known").path == cached


def test_the_record_beside_a_file(tmp_path):
    content = TINY + b"\x32\x00"  # another field of the same message: sound, not catalogued
    path = write_model(tmp_path / "Modèle 模型.onnx", content)
    for said in (path, str(path)):
        assert resolve(said) == zoo.Model(record_of(content), path)


def test_the_record_of_the_catalogue(tmp_path):
    path = tmp_path / "anything.ONNX"
    path.write_bytes(TINY)
    assert resolve(path).record.name == "known"


def test_a_given_record_stands_before_all(tmp_path):
    path = write_model(tmp_path / "x.onnx")
    write_record(record_of(TINY, notes="given"), tmp_path / "given.json")
    assert resolve(path, record=tmp_path / "given.json").record.notes == "given"


def test_a_link_is_followed(tmp_path):
    target = tmp_path / "blob.onnx"
    target.write_bytes(TINY)
    (tmp_path / "link.onnx").symlink_to(target)
    assert resolve(tmp_path / "link.onnx").record.name == "known"


def test_a_file_without_a_record_is_refused(tmp_path):
    path = tmp_path / "x.onnx"
    path.write_bytes(b"what is this")
    with pytest.raises(RecordError, match="--record"):
        resolve(path)


def test_an_unsound_file_is_refused_although_its_record_fits(tmp_path):
    path = write_model(tmp_path / "x.onnx", b"\xff" * 100)
    with pytest.raises(IntegrityError, match="ONNX"):
        resolve(path)


def test_an_empty_file_is_refused(tmp_path):
    path = write_model(tmp_path / "x.onnx", b"", record_of(b"", bytes=None))
    with pytest.raises(WeightsError, match="empty"):
        resolve(path)


def test_another_files_record_is_refused(tmp_path):
    path = write_model(tmp_path / "x.onnx", TINY, record_of(b"another"))
    with pytest.raises(IntegrityError, match="another file's record"):
        resolve(path)
    write_record(record_of(b"third"), tmp_path / "given.json")
    with pytest.raises(IntegrityError, match=r"given\.json"):
        resolve(path, record=tmp_path / "given.json")


@pytest.mark.parametrize("name", ["known", "absent"])
def test_a_name_takes_no_record(tmp_path, name):
    with pytest.raises(RecordError, match="brings its own record"):
        resolve(name, record=tmp_path / "given.json")


@pytest.mark.parametrize(
    ("name", "kind", "sentence"),
    [
        ("absent", ModelError, "mindface models fetch absent"),
        ("unreachable", ModelError, "no public address"),
        ("knwon", UnknownModelError, "did you mean known"),
        ("", UnknownModelError, "mindface models"),
        ("weights.pth", ModelError, "mindface export NAME --weights"),
        ("folder/weights", ModelError, "must end in .onnx"),
        ("missing.onnx", ModelError, "No such file"),
        ("a\0b.onnx", ModelError, "not a path"),
        (f"{'x' * 300}.onnx", ModelError, "cannot be read"),
    ],
)
def test_what_cannot_be_resolved_says_what_to_do(name, kind, sentence):
    with pytest.raises(kind) as caught:
        resolve(name)
    assert type(caught.value) is kind
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_wrong_task():
    put_into_cache("known", TINY)
    with pytest.raises(ModelError, match="known is for recognition"):
        resolve("known", task="detection")


def test_the_licence_policy(tmp_path):
    put_into_cache("known", TINY)
    assert resolve("known", licence_policy="permissive").record.licence == "MIT"
    for name in ("strict", "murky"):
        put_into_cache(name, name.encode())
        assert resolve(name).record.licence_class != "permissive"
        with pytest.raises(LicenceError, match=name):
            resolve(name, licence_policy="permissive")
    path = write_model(tmp_path / "x.onnx", record=record_of(TINY, licence_class="unknown"))
    with pytest.raises(LicenceError, match="permissive"):
        resolve(path, licence_policy="permissive")
    with pytest.raises(LicenceError, match="free"):
        resolve("known", licence_policy="free")


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def make_unreadable(path):
    path.write_bytes(TINY)
    path.chmod(0)


STRANGE = [
    (lambda path: path.mkdir(), "a folder"),
    (make_fifo, "a FIFO"),
    (make_socket, "cannot be read|a socket"),
    (lambda path: path.symlink_to("/dev/zero"), "a device"),
    (lambda path: path.symlink_to("nowhere"), "No such file"),
    (lambda path: path.symlink_to(path.name), "symbolic links"),
    (lambda path: path.symlink_to("."), "a folder"),
    (make_unreadable, "Permission denied"),
]
KINDS = ["directory", "fifo", "socket", "device", "dangling", "loop", "to-directory", "unreadable"]


@pytest.fixture
def nobody():
    """Not root, who may read everything."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


@pytest.mark.skipif(os.name != "posix", reason="such files are of POSIX systems")
@pytest.mark.parametrize(("make", "sentence"), STRANGE, ids=KINDS)
def test_strange_files_are_refused_at_once(make, sentence, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fine.onnx").write_bytes(TINY)
    make(tmp_path / "x.onnx")
    make(tmp_path / "fine.json")
    zoo.records()
    if make is make_unreadable:
        request.getfixturevalue("nobody")
    with pytest.raises(ModelError, match=sentence):
        resolve("x.onnx")
    if make is not make_unreadable:
        with pytest.raises(RecordError, match=sentence):
            resolve("fine.onnx")


def test_a_strange_file_in_the_cache_is_no_weight(tmp_path):
    path = places.cached_path(zoo.get("known"))
    path.mkdir(parents=True)
    with pytest.raises(ModelError, match="models fetch known"):
        resolve("known")


def flipped(path, places_):
    """Yields once per place, with one bit of the file's byte there turned."""
    chance = random.Random(200)
    with path.open("r+b") as file:
        for place in places_:
            file.seek(place)
            byte = file.read(1)
            file.seek(place)
            file.write(bytes([byte[0] ^ 1 << chance.randrange(8)]))
            file.flush()
            yield
            file.seek(place)
            file.write(byte)
            file.flush()


def test_every_flipped_bit_is_refused(tmp_path):
    cached = put_into_cache("known", TINY)
    path = write_model(tmp_path / "x.onnx")
    for _ in flipped(cached, range(len(TINY))):
        with pytest.raises(IntegrityError, match="sha256"):
            resolve("known")
    for _ in flipped(path, range(len(TINY))):
        with pytest.raises(IntegrityError, match="sha256"):
            resolve(path)
    assert resolve("known")
    assert resolve(path)


@pytest.mark.shared
def test_200_flips_in_a_catalogued_weight_are_refused(shared, tmp_path, monkeypatch):
    monkeypatch.undo()
    forget()
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path))
    content = (shared / "data" / "teachers" / "mobilefacenet_w600k_int8.onnx").read_bytes()
    path = put_into_cache("mobilefacenet_w600k_int8", content)
    assert resolve("mobilefacenet_w600k_int8").path == path
    refused = 0
    for _ in flipped(path, random.Random(5).sample(range(len(content)), 200)):
        with pytest.raises(IntegrityError, match="sha256"):
            resolve("mobilefacenet_w600k_int8")
        refused += 1
    assert refused == 200
    assert (
        hashlib.sha256(path.read_bytes()).hexdigest() == zoo.get("mobilefacenet_w600k_int8").sha256
    )
