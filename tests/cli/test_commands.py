import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from mindface.cli.main import app
from mindface.imaging import read

pytestmark = pytest.mark.shared


def test_detect_prints_a_json_line_a_photo(mindface, models, portraits):
    code, out, err = mindface("detect", portraits, "--json", *models[:2])
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(lines) == 4
    by_name = {os.path.basename(line["path"]): line for line in lines}
    assert len(by_name["Zoë 张.jpg"]["faces"]) == 1
    assert by_name["nobody.jpg"] == {
        "path": str(portraits / "nobody.jpg"),
        "width": 300,
        "height": 200,
        "faces": [],
        "model": "retinaface_mobilenet025",
        "licence": "MIT",
    }
    assert "error" in by_name["broken.jpg"]
    face = by_name["hopper.png"]["faces"][0]
    assert [len(face["box"]), len(face["landmarks"]), face["score"] > 0.9] == [4, 5, True]
    assert "1 of 4 photos skipped" in err
    assert "broken.jpg" in err


def test_detect_draws(mindface, models, portraits, tmp_path):
    code, out, _ = mindface("detect", portraits / "more", "--draw", tmp_path / "drawn", *models[:2])
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert code == 0
    assert "1 face in 512x600" in out
    assert read(drawn).shape == (600, 512, 3)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["detect", "missing.jpg"], 4, "missing.jpg"),
        (["detect", "{photos}/broken.jpg"], 4, "broken.jpg"),
        (["detect", "{photos}", "--strict"], 10, "broken.jpg"),
        (["detect", "{empty}"], 4, "no photo in"),
        (["verify", "{photos}/nobody.jpg", "{photos}/more/hopper.png"], 3, "no face found"),
        (["verify", "{photos}/broken.jpg", "{photos}/more/hopper.png"], 4, "broken.jpg"),
        (["embed", "{photos}/broken.jpg", "--output", "{out}"], 4, "broken.jpg"),
        (["embed", "{photos}", "--output", "{out}", "--strict"], 10, "broken.jpg"),
        (["detect", "{photos}", "--device", "cuda"], 6, "cuda"),
        (["detect", "{photos}", "--engine", "abacus"], 6, "abacus"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    mindface, models, portraits, tmp_path, arguments, code, sentence
):
    (tmp_path / "empty").mkdir()
    places = {
        "{photos}": str(portraits),
        "{empty}": str(tmp_path / "empty"),
        "{out}": str(tmp_path / "x.npz"),
    }
    for name, value in places.items():
        arguments = [argument.replace(name, value) for argument in arguments]
    result = mindface(*arguments, *models)
    assert result.code == code
    errors = [line for line in result.err.splitlines() if line.startswith("mindface: ")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert not (tmp_path / "x.npz").exists()


def test_a_missing_model_says_what_to_do(mindface, portraits):
    result = mindface("detect", portraits, "--detector", "retinafase_mobilenet025")
    assert result.code == 5
    assert "retinaface_mobilenet025" in result.err


def test_embed_writes_a_row_a_face(mindface, models, portraits, tmp_path):
    output = tmp_path / "people.npz"
    code, out, err = mindface(
        "embed", portraits, "--output", output, "--largest", "--json", *models
    )
    assert code == 0
    summary = json.loads(out)
    assert (summary["photos"], summary["embeddings"]) == (4, 2)
    assert {os.path.basename(skip["path"]) for skip in summary["skipped"]} == {
        "broken.jpg",
        "nobody.jpg",
    }
    assert "nobody.jpg: no face found" in err
    with np.load(output, allow_pickle=False) as written:
        assert written["embeddings"].shape == (2, 128)
        assert written["embeddings"].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(written["embeddings"], axis=1), 1, atol=1e-5)
        names = {os.path.basename(path) for path in written["paths"]}
        assert names == {"Zoë 张.jpg", "hopper.png"}
        shapes = [written[name].shape for name in ("boxes", "scores", "landmarks")]
        assert shapes == [(2, 4), (2,), (2, 5, 2)]
        for name in ("contract", "model", "licence"):
            assert str(written[name]) == summary[name]
    assert not output.with_name("people.npz.parts").exists()


def test_embed_of_photos_without_faces_is_an_empty_file(mindface, models, portraits, tmp_path):
    output = tmp_path / "none.npz"
    code, _, _ = mindface("embed", portraits / "nobody.jpg", "--output", output, *models)
    assert code == 0
    with np.load(output, allow_pickle=False) as written:
        assert written["embeddings"].shape == (0, 128)
        assert written["skipped_reasons"].tolist() == ["no face found"]


def test_interrupted_embedding_resumes_and_ends_equal(mindface, models, photos, tmp_path):
    """SIGINT in the middle, then the same command again: nothing is embedded twice or lost."""
    folder = tmp_path / "many"
    folder.mkdir()
    for index, photo in enumerate(photos[:120]):
        (folder / f"{index:03}.jpg").symlink_to(photo)
    output = tmp_path / "many.npz"
    arguments = ["embed", folder, "--output", output, "--shard-size", "8", "--batch-size", "8"]
    command = [sys.executable, "-m", "mindface", *map(str, arguments), *models]
    parts = tmp_path / "many.npz.parts"
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not list(parts.glob("*.npz")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 130
    assert not output.exists()
    done = {shard.name: shard.stat().st_mtime_ns for shard in parts.glob("*.npz")}
    assert done
    before = time.time_ns()
    assert mindface(*arguments, *models).code == 0
    assert all(time_written < before for time_written in done.values())
    assert mindface(*arguments[:2], "--output", tmp_path / "whole.npz", *models).code == 0
    with np.load(output) as resumed, np.load(tmp_path / "whole.npz") as whole:
        assert resumed["paths"].tolist() == whole["paths"].tolist()
        np.testing.assert_allclose(resumed["embeddings"], whole["embeddings"], atol=0.02)
        np.testing.assert_array_equal(resumed["boxes"], whole["boxes"])


def test_shards_of_another_job_are_not_taken_over(mindface, models, portraits, tmp_path):
    output = tmp_path / "x.npz"
    parts = tmp_path / "x.npz.parts"
    parts.mkdir()
    (parts / "job").write_text("another")
    (parts / "000000000-000000004.npz").write_bytes(b"other photos")
    assert mindface("embed", portraits, "--output", output, *models).code == 0
    with np.load(output) as written:
        assert len(written["paths"]) == 2


def test_verify_says_what_it_knows(mindface, models, portraits):
    a, b = portraits / "Zoë 张.jpg", portraits / "more" / "hopper.png"
    code, out, err = mindface("verify", a, b, "--json", *models)
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["attack_check"] is False
    unknown = ("same", "threshold", "false_match_rate", "interval", "calibration")
    assert [result[name] for name in unknown] == [None] * 5
    assert -1 <= result["similarity"] < 0.4
    given = json.loads(mindface("verify", a, b, "--json", "--threshold", "0.4", *models).out)
    assert (given["same"], given["threshold"]) == (False, 0.4)
    assert "different people" in mindface("verify", a, b, "--threshold", "0.4", *models).out


def test_verify_says_which_of_several_faces_it_took(mindface, models, portraits, tmp_path):
    group = Image.new("RGB", (1024, 600))
    group.paste(Image.fromarray(read(portraits / "Zoë 张.jpg")), (0, 0))
    group.paste(Image.fromarray(read(portraits / "more" / "hopper.png")), (512, 0))
    group.save(tmp_path / "group.png")
    result = mindface("verify", tmp_path / "group.png", portraits / "more" / "hopper.png", *models)
    assert "2 faces; the largest was taken" in result.out


def test_align_saves_crops_with_an_index(mindface, models, portraits, tmp_path):
    output = tmp_path / "crops"
    code, _, err = mindface("align", portraits, "--output", output, "--size", "160", *models[:2])
    rows = [json.loads(line) for line in (output / "index.jsonl").read_text().splitlines()]
    assert code == 0
    assert len(rows) == 2
    for row in rows:
        assert read(output / row["crop"]).shape == (160, 160, 3)
        assert row["score"] > 0.9
    assert "nobody.jpg: no face found" in err
    assert "broken.jpg" in err


def test_doctor_runs_a_golden_face_through_every_engine(mindface, models):
    code, out, _ = mindface("doctor", "--json", *models)
    report = json.loads(out)
    assert code == 0
    assert report["golden"]["onnxruntime"]["faces"] == "2 of 2"
    assert report["golden"]["openvino"]["cosine"] > 0.9999
    assert report["problems"] == []
    assert "golden:" in mindface("doctor", *models).out


def test_doctor_sees_two_runtimes_that_overwrite_each_other(mindface, models, monkeypatch):
    monkeypatch.setattr(
        "mindface.engines.onnxruntime.installed_packages",
        lambda: ("onnxruntime", "onnxruntime-gpu"),
    )
    (problem,) = json.loads(mindface("doctor", "--json", *models).out)["problems"]
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu" in problem


@pytest.mark.parametrize("verb", [command.callback.__name__ for command in app.registered_commands])
def test_every_command_helps_with_an_example(mindface, verb):
    code, out, _ = mindface(verb, "--help")
    assert code == 0
    assert "Example:" in out


def test_a_wrong_command_line_is_exit_code_2(mindface):
    assert mindface("detect", "--no-such-option").code == 2
    assert mindface("no-such-verb").code == 2
