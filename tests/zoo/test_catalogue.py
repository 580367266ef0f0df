import importlib.util
import re
from pathlib import Path

import pytest
from weight_server import entry, forget, use_catalogue

from mindface import zoo
from mindface.errors import LicenceError, RecordError, UnknownModelError
from mindface.zoo import catalogue
from mindface.zoo.cache import BUNDLED
from mindface.zoo.model import resolve

DOCS = Path(__file__).parents[2] / "docs"


def test_every_record_is_valid_and_every_name_and_weight_stands_once():
    records = zoo.records()
    assert len({record.sha256 for record in records}) == len(records)
    written = re.findall(r"^(\S+):", catalogue.CATALOGUE.read_text(encoding="utf-8"), re.M)
    shipped = [path.stem for path in sorted(BUNDLED.glob("*.json"))]
    assert shipped + written == [record.name for record in records]


def test_what_ships_is_the_file_of_its_record_and_brings_its_thresholds():
    model = resolve("arcface_mobilefacenet", task="recognition")
    assert model.path == BUNDLED / "arcface_mobilefacenet.onnx"
    assert model.record.calibration is not None
    assert model.path.with_suffix(".md").is_file()
    with pytest.raises(LicenceError):
        resolve("arcface_mobilefacenet", task="recognition", licence_policy="permissive")


def test_nothing_is_claimed_without_saying_where_from():
    for record in zoo.records():
        assert record.training_data
        assert record.source
        assert record.notes
        if record.accuracy:
            assert re.search("Accuracy:|measured|CelebA pairs:", record.notes), record.name
        assert all(0 < value <= 100 for value in record.accuracy.values())
        assert record.url or record.bytes


@pytest.mark.parametrize(
    ("name", "color", "mean", "size", "licence_class"),
    [
        ("retinaface_mnet025", "bgr", (104, 117, 123), None, "permissive"),
        ("arcface_w600k_r50", "rgb", (127.5,) * 3, (112, 112), "non-commercial"),
        ("adaface_ir101", "bgr", (127.5,) * 3, (112, 112), "unknown"),
        ("edgeface_base", "rgb", (127.5,) * 3, (112, 112), "non-commercial"),
        ("mobileface_mobilenetv2", "rgb", (127.5,) * 3, (112, 112), "permissive"),
        ("sphereface_20", "rgb", (127.5,) * 3, (112, 112), "permissive"),
    ],
)
def test_what_each_family_wants(name, color, mean, size, licence_class):
    record = zoo.get(name)
    made = record.preprocessing
    assert (made.color, made.mean, made.size) == (color, mean, size)
    assert record.licence_class == licence_class


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("edgeface_xs", "edgeface_xxs"),
        ("EdgeFace_Base", "edgeface_base"),
        ("retinafase_mobilenet025", "retinaface_mobilenet025"),
        ("adaface_ir_101", "adaface_ir101"),
    ],
)
def test_a_misspelt_name_is_recognised(said, meant):
    with pytest.raises(UnknownModelError, match=meant):
        zoo.get(said)


def test_only_what_is_asked_for_is_validated(monkeypatch, tmp_path):
    use_catalogue(monkeypatch, tmp_path / "c.yaml", good=entry(), bad={"sha256": "x"})
    assert zoo.get("good").name == "good"
    forget()


def test_the_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("catalogue_page", DOCS / "generate_catalogue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), (
        "run  python docs/generate_catalogue.py"
    )


SHARED = {
    "teachers/edgeface_xs.onnx": ("edgeface_xs_dequantised", 512),
    "teachers/mobilefacenet_w600k_int8.onnx": ("mobilefacenet_w600k_int8", 512),
    "models/edgeface_xxs.onnx": ("edgeface_xxs_batched", 512),
    "models/mobilefacenet_foamliu_128d.onnx": ("mobilefacenet_foamliu", 128),
}


@pytest.mark.shared
@pytest.mark.parametrize("file", SHARED)
def test_a_file_finds_its_record_by_its_sha256_and_tells_people_apart(file, shared, exported):
    from mindface import FaceAnalyzer, golden

    name, size = SHARED[file]
    app = FaceAnalyzer(
        exported.detector, shared / "data" / file, engine="onnxruntime", precision="fp32"
    )
    assert app.recognizer.record == zoo.get(name)
    collins, hopper = (face.image for face in golden.portraits())
    again = app.analyze(collins[8:-8, 8:-8].copy())[0].embedding
    first, second = (app.analyze(image)[0].embedding for image in (collins, hopper))
    assert first.shape == (size,)
    assert first @ again > 0.8
    assert first @ second < 0.3


@pytest.mark.shared
def test_a_detector_that_the_catalogue_does_not_know_is_refused(shared):
    with pytest.raises(RecordError, match="--record"):
        zoo.resolve(shared / "data" / "models" / "yunet_s_dynamic.onnx", task="detection")
