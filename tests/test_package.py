"""The package as a whole: its names, what importing it costs, and pages made from the code."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import mindface

DOCS = Path(__file__).parents[1] / "docs"


def run(code: str, *arguments: str) -> list[str]:
    """The modules that are loaded once `code` has run in a new process."""
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_the_public_names_are_these():
    assert mindface.__all__ == [
        "Analysis",
        "Detections",
        "Detector",
        "Embeddings",
        "Face",
        "FaceAnalyzer",
        "Gallery",
        "MindFaceError",
        "Recognizer",
        "Verification",
        "__version__",
        "create_model",
        "detect",
        "export_model",
        "similarity_matrix",
        "verify",
    ]
    assert all(getattr(mindface, name) is not None for name in mindface.__all__)
    assert dir(mindface) == mindface.__all__
    with pytest.raises(AttributeError, match="no attribute 'recognise'"):
        mindface.recognise  # noqa: B018


def test_importing_loads_nothing_else():
    loaded = run("import mindface")
    assert [name for name in loaded if name.startswith("mindface")] == [
        "mindface",
        "mindface._version",
    ]
    assert not {"numpy", "cv2", "PIL", "pydantic", "torch"} & set(loaded)


@pytest.mark.shared
def test_inference_never_loads_torch(exported):
    code = (
        "import sys, mindface; from mindface import golden\n"
        "app = mindface.FaceAnalyzer(*sys.argv[1:])\n"
        "app.verify(*[portrait.image for portrait in golden.portraits()])"
    )
    loaded = run(code, *map(str, exported))
    assert "onnxruntime" in loaded
    assert not {"torch", "onnx", "safetensors", "matplotlib"} & set(loaded)


def test_the_command_line_page_is_up_to_date():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert generate.PAGE.read_text(encoding="utf-8") == generate.page(), "run  make docs"
