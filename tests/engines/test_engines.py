import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from mindface import golden, zoo
from mindface.detection.detector import Detector
from mindface.engines import EngineOptions, Sessions, open_session, run_in_batches
from mindface.engines.choice import candidates, choose, cosine
from mindface.errors import EngineError, MissingExtraError
from mindface.recognition.recognizer import Recognizer

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture(scope="session")
def model(exported):
    return zoo.resolve(exported.recognizer, task="recognition")


@pytest.fixture
def batch():
    return np.random.default_rng(0).normal(size=(3, 3, 112, 96)).astype(np.float32)


def options(**settings):
    return EngineOptions(**{"precision": "fp32"} | settings)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"engine": "tflite"}, "engine 'tflite'"),
        ({"precision": "int4"}, "precision 'int4'"),
        ({"threads": 0}, "threads"),
    ],
)
def test_unknown_options_are_refused(settings, reason):
    with pytest.raises(EngineError, match=reason):
        EngineOptions(**settings)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"device": "cuda"}, "built for cpu"),
        ({"device": "cuda:one", "engine": "onnxruntime"}, "with an index"),
        ({"device": "abacus", "engine": "onnxruntime"}, "knows cpu"),
        ({"device": "npu"}, "OpenVINO finds cpu"),
        ({"device": "cpu", "engine": "onnxruntime", "precision": "bf16"}, "none on 'cpu'"),
        ({"device": "cpu", "engine": "openvino", "precision": "bf16"}, "this CPU has fp32"),
    ],
)
def test_what_cannot_be_had_is_an_error_and_no_silent_fall_back(
    model, monkeypatch, settings, reason
):
    monkeypatch.setattr("mindface.engines.openvino.available_precisions", lambda _: ["fp32"])
    with pytest.raises(EngineError, match=reason):
        open_session(model, candidates(options(**settings))[0])


@pytest.mark.shared
def test_engines_agree_with_torch(exported, shared, photos):
    """ONNX Runtime, OpenVINO and torch on the same crops in fp32: cosine at least 0.9999."""
    import torch

    from mindface import create_model

    recognizers = [
        Recognizer(exported.recognizer, engine=engine, precision="fp32") for engine in ENGINES
    ]
    crops = golden.crops(recognizers[0].template)
    weights = shared / "data" / "weights" / "mobilefacenet_casia_112x96.pth"
    network = create_model("mobilefacenet_112x96", weights=weights).eval()
    with torch.inference_mode():
        pixels = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2)
        vectors = torch.nn.functional.normalize(network((pixels - 127.5) / 128)).numpy()
    for recognizer in recognizers:
        assert cosine(recognizer.embed(crops, aligned=True), vectors) >= 0.9999


@pytest.mark.shared
def test_engines_find_the_same_faces(exported, photos):
    first, second = (
        list(Detector(exported.detector, engine=engine, precision="fp32").stream(photos[:24]))
        for engine in ENGINES
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a.boxes, b.boxes, atol=0.05)
        np.testing.assert_allclose(a.landmarks, b.landmarks, atol=0.05)


@pytest.mark.shared
@pytest.mark.parametrize("engine", ENGINES)
def test_a_session_serves_several_threads(model, batch, engine):
    session = open_session(model, options(engine=engine))
    batches = [batch * scale for scale in np.linspace(0.1, 2, 12, dtype=np.float32)]
    expected = [session.run(one)[0] for one in batches]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(session.run, batches))
    for (result,), alone in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, alone)


@pytest.mark.shared
@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_input_is_a_named_error(model, engine):
    session = open_session(model, options(engine=engine))
    with pytest.raises(EngineError, match=r"\(1, 3, 50, 50\)"):
        session.run(np.zeros((1, 3, 50, 50), np.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_no_graph_is_a_named_error(tmp_path, engine):
    from mindface.zoo import Model

    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07nothing")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        open_session(Model(None, path), options(engine=engine))


@pytest.mark.shared
def test_many_side_by_side_give_what_one_gives(model, batch):
    sessions = Sessions(model, options(threads=2), lambda: batch)
    parts = [batch * scale for scale in np.linspace(0.1, 2, 9, dtype=np.float32)]
    together = sessions.map(lambda session, part: session.run(part)[0], parts)
    for part, result in zip(parts, together, strict=True):
        np.testing.assert_allclose(result, sessions.alone.run(part)[0], atol=1e-4)


@pytest.mark.shared
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_answer(model, batch, engine, threads):
    reference = open_session(model, options(engine=engine, threads=1)).run(batch)[0]
    result = open_session(model, options(engine=engine, threads=threads)).run(batch)[0]
    np.testing.assert_allclose(result, reference, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_graph_of_fixed_batch_gets_batches_of_that_size(size):
    seen = []

    def infer(part):
        seen.append(len(part))
        return [part * 2, part.sum((1, 2, 3))]

    batch = np.arange(5 * 3, dtype=np.float32).reshape(5, 3, 1, 1)
    doubled, sums = run_in_batches(infer, batch, size)
    np.testing.assert_array_equal(doubled, batch * 2)
    np.testing.assert_array_equal(sums, batch.sum((1, 2, 3)))
    assert set(seen) == {size}


@pytest.mark.shared
def test_a_catalogued_model_of_batch_one_embeds_many(shared):
    path = shared / "data" / "models" / "mobilefacenet_foamliu_128d.onnx"
    for engine in ENGINES:
        recognizer = Recognizer(path, engine=engine, precision="fp32")
        collins, hopper, mirrored, _ = recognizer.embed(
            golden.crops(recognizer.template), aligned=True
        )
        assert collins @ mirrored > 0.8 > 0.4 > collins @ hopper


class Engine:
    """Stands for an engine of a certain speed and precision; counts how often it is opened."""

    def __init__(self, milliseconds, error):
        self.milliseconds = milliseconds
        self.error = error

    def run(self, batch):
        return [batch + self.error * np.array([1, 0, 0], np.float32)]


@pytest.fixture
def engines(monkeypatch, tmp_path):
    """Sets milliseconds and error by candidate; returns the list of candidates opened."""
    opened = []

    def use(**speeds):
        def open_one(model, options):
            name = f"{options.engine}_{options.precision}"
            opened.append(name)
            return Engine(*speeds[name])

        monkeypatch.setattr("mindface.engines.choice.open_session", open_one)
        return opened

    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path))
    monkeypatch.setattr("mindface.engines.openvino.available_precisions", lambda: ["fp32", "bf16"])
    monkeypatch.setattr(
        "mindface.engines.choice._milliseconds", lambda session, _: session.milliseconds
    )
    return use


def chosen(model, **settings):
    choice = choose(model, EngineOptions(**settings), lambda: np.ones((2, 3), np.float32))
    return f"{choice.engine} {choice.precision}"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("ort", "ov", "bf16", "error", "expected"),
    [
        (10, 10, 5, 0, "openvino bf16"),
        (10, 10, 5, 0.2, "onnxruntime fp32"),
        (10, 5, 4.9, 0, "openvino fp32"),
        (10, 9.9, 9.8, 0, "onnxruntime fp32"),
        (10, 5, 2, 0.2, "openvino fp32"),
    ],
)
def test_auto_is_the_fastest_that_keeps_the_answers(model, engines, ort, ov, bf16, error, expected):
    opened = engines(onnxruntime_fp32=(ort, 0), openvino_fp32=(ov, 0), openvino_bf16=(bf16, error))
    assert [chosen(model) for _ in range(3)] == [expected] * 3
    assert len(opened) == 3, "the second time the answer is remembered"
    assert chosen(model, threads=1) == expected
    assert len(opened) == 6, "for other threads it is another"


@pytest.mark.shared
def test_a_record_that_states_the_cosine_is_believed(model, engines):
    engines(openvino_fp32=(10, 0), openvino_bf16=(5, 0.2))
    stated = replace(model, record=model.record.model_copy(update={"cosine": {"bf16": 0.9995}}))
    assert chosen(stated, engine="openvino") == "openvino bf16"


@pytest.mark.shared
def test_what_is_demanded_is_not_measured(model, engines):
    opened = engines()
    assert chosen(model, engine="onnxruntime") == "onnxruntime fp32"
    assert chosen(model, precision="bf16") == "openvino bf16"
    assert chosen(model, device="cuda") == "onnxruntime fp32"
    assert opened == []


@pytest.mark.shared
def test_without_openvino_there_is_nothing_to_measure(model, engines, monkeypatch):
    engines()
    monkeypatch.setattr("mindface.engines.choice.find_spec", lambda name: None)
    assert chosen(model) == "onnxruntime fp32"
    with pytest.raises(MissingExtraError, match=r"pip install 'mindface\[openvino\]'"):
        chosen(model, engine="openvino")


@pytest.mark.shared
@pytest.mark.parametrize("damage", ["", "no json", "[]", '{"a": "b"}'])
def test_a_damaged_memory_is_measured_anew(model, engines, tmp_path, damage):
    engines(openvino_fp32=(10, 0), openvino_bf16=(5, 0))
    (tmp_path / "engines.json").write_text(damage)
    assert chosen(model, engine="openvino") == "openvino bf16"
    content = json.loads((tmp_path / "engines.json").read_text())
    assert [row["chosen"] for row in content.values() if isinstance(row, dict)] == ["openvino bf16"]
