import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weight_server import entry

from mindface.errors import RecordError
from mindface.geometry import TEMPLATES
from mindface.zoo.record import TEMPLATE_SIZES, ModelRecord, read_record, write_record


def recogniser(**changes):
    return {"name": "mine", **entry(), **changes}


def detector(**changes):
    head = {"name": "mine", **entry(), "task": "detection", "detection": {}, **changes}
    del head["recognition"]
    return head


def change(record, place, value):
    """A copy of a record with one value, at a dotted place, replaced."""
    record = json.loads(json.dumps(record))
    *parents, last = place.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return record


def test_a_record_survives_its_file(tmp_path):
    for fields in (recogniser(accuracy={"LFW": 99.5}), detector()):
        record = ModelRecord(**fields)
        write_record(record, tmp_path / "x.json")
        assert read_record(tmp_path / "x.json") == record


@pytest.mark.parametrize(
    ("base", "place", "value"),
    [
        (recogniser(), "name", "../../etc/passwd"),
        (recogniser(), "name", ""),
        (recogniser(), "task", "detection"),
        (recogniser(), "sha256", "abc"),
        (recogniser(), "url", "http://example.com/x.onnx"),
        (recogniser(), "url", "file:///x.onnx"),
        (recogniser(), "bytes", 0),
        (recogniser(), "licence_class", "free"),
        (recogniser(), "unheard", 1),
        (recogniser(), "accuracy", {"LFW": float("nan")}),
        (recogniser(), "preprocessing.color", "gray"),
        (recogniser(), "preprocessing.std", [0, 1, 1]),
        (recogniser(), "preprocessing.std", [1, 1, float("inf")]),
        (recogniser(), "preprocessing.mean", [1, 1]),
        (recogniser(), "preprocessing.mean", [1, 1, float("nan")]),
        (recogniser(), "preprocessing.size", [112, 96]),
        (recogniser(), "preprocessing.size", None),
        (recogniser(), "recognition.size", 0),
        (recogniser(), "recognition.template", "mine"),
        (recogniser(), "recognition", None),
        (detector(), "detection.outputs", ["boxes", "scores", "scores"]),
        (detector(), "detection.outputs", ["boxes", "scores"]),
        (detector(), "detection.strides", [8, 16]),
        (detector(), "detection.strides", []),
        (detector(), "detection.strides", [0, 16, 32]),
        (detector(), "detection.min_sizes", [[16], [], [64]]),
        (detector(), "detection.variances", [0, 0.2]),
        (detector(), "preprocessing.size", [-1, 640]),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, base, place, value):
    ModelRecord(**base)
    path = tmp_path / "x.json"
    path.write_text(json.dumps(change(base, place, value)))
    with pytest.raises(RecordError, match="not a model record") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_are_a_named_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        read_record(path)


@pytest.mark.parametrize("content", [b"[" * 100_000, b" " * (1 << 21), b"{}", b"null", b""])
def test_hostile_json(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        read_record(path)


def test_the_contract_follows_the_weight_and_its_input_only():
    base = ModelRecord(**recogniser())
    assert ModelRecord(**recogniser(name="other", licence="BSD-3-Clause")).contract == base.contract
    for place, value in [
        ("sha256", "0" * 64),
        ("preprocessing.color", "bgr"),
        ("preprocessing.mean", [127.5, 127.5, 127]),
        ("preprocessing.std", [128, 128, 128]),
        ("recognition.size", 128),
    ]:
        assert ModelRecord(**change(recogniser(), place, value)).contract != base.contract


def test_the_templates_are_those_of_geometry():
    assert set(TEMPLATE_SIZES) == set(TEMPLATES)
