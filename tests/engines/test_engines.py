import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mindface import golden, zoo
from mindface.detection.detector import Detector
from mindface.engines import EngineOptions, Sessions, load, run_in_batches
from mindface.engines.precision import MIN_COSINE, choose, cosine
from mindface.errors import EngineError
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
        load(model, options(**settings), lambda: np.zeros((1, 3, 112, 96), np.float32))


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
        assert cosine(recognizer.embed(crops), vectors) >= 0.9999


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
    session = load(model, options(engine=engine), lambda: batch)
    batches = [batch * scale for scale in np.linspace(0.1, 2, 12, dtype=np.float32)]
    expected = [session.run(one)[0] for one in batches]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(session.run, batches))
    for (result,), alone in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, alone)


@pytest.mark.shared
@pytest.mark.parametrize("engine", ENGINES)
def test_a_wrong_input_is_a_named_error(model, engine):
    session = load(model, options(engine=engine), lambda: np.zeros((1, 3, 112, 96), np.float32))
    with pytest.raises(EngineError, match=r"\(1, 3, 50, 50\)"):
        session.run(np.zeros((1, 3, 50, 50), np.float32))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_is_no_graph_is_a_named_error(tmp_path, engine):
    from mindface.engines import open_session
    from mindface.zoo import Model

    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07nothing")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        open_session(Model(None, path), options(engine=engine).resolved())


@pytest.mark.shared
def test_many_side_by_side_give_what_one_gives(model, batch):
    sessions = Sessions(model, options(threads=2), lambda: batch)
    parts = [batch * scale for scale in np.linspace(0.1, 2, 9, dtype=np.float32)]
    together = sessions.map(lambda session, part: session.run(part)[0], parts)
    for part, result in zip(parts, together, strict=True):
        np.testing.assert_allclose(result, sessions.alone.run(part)[0], atol=1e-4)


@pytest.mark.shared
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_answer(model, batch, threads):
    reference = load(model, options(threads=1), lambda: batch).run(batch)[0]
    result = load(model, options(threads=threads), lambda: batch).run(batch)[0]
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
        collins, hopper, mirrored, _ = recognizer.embed(golden.crops(recognizer.template))
        assert collins @ mirrored > 0.8 > 0.4 > collins @ hopper


@pytest.mark.parametrize(
    ("measured", "chosen"), [(0.9995, "bf16"), (MIN_COSINE, "bf16"), (0.9985, "fp32")]
)
@pytest.mark.shared
def test_auto_takes_bf16_only_where_it_keeps_the_embeddings(
    model, monkeypatch, tmp_path, measured, chosen
):
    calls = []

    def measure(*_):
        calls.append(1)
        return measured

    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path))
    monkeypatch.setattr("mindface.engines.openvino.available_precisions", lambda: ["fp32", "bf16"])
    monkeypatch.setattr("mindface.engines.precision.measure", measure)
    settings = options(engine="openvino")
    for _ in range(2):
        assert choose(model, settings, lambda: np.zeros((1, 3, 112, 96), np.float32)) == chosen
    assert len(calls) == 1, "the second time the answer is remembered"
    assert list(json.loads((tmp_path / "precision.json").read_text()).values()) == [measured]
    assert choose(model, options(engine="onnxruntime"), lambda: None) == "fp32"


@pytest.mark.shared
@pytest.mark.parametrize("damage", ["", "no json", "[]", '{"a": "b"}'])
def test_a_damaged_memory_of_precisions_is_measured_anew(model, monkeypatch, tmp_path, damage):
    monkeypatch.setenv("MINDFACE_CACHE", str(tmp_path))
    monkeypatch.setattr("mindface.engines.openvino.available_precisions", lambda: ["fp32", "bf16"])
    monkeypatch.setattr("mindface.engines.precision.measure", lambda *_: 0.9999)
    (tmp_path / "precision.json").write_text(damage)
    assert choose(model, options(engine="openvino"), lambda: None) == "bf16"
