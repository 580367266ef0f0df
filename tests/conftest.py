"""Fixtures that all tests share."""

import faulthandler
import os
import random
from pathlib import Path
from typing import NamedTuple

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take minutes, in full")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        skip = pytest.mark.skip(reason="takes minutes: run with --long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)


def pytest_unconfigure() -> None:
    """Shows what keeps the process from ending, and ends it, should anything."""
    faulthandler.dump_traceback_later(120, exit=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the repository with real photos, weights and reference results."""
    if not SHARED.is_dir():
        message = "the folder ../shared is absent"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return SHARED


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the run was asked to take its time."""
    return bool(request.config.getoption("--long"))


class Exported(NamedTuple):
    """ONNX files, each with its record beside it."""

    detector: Path
    recognizer: Path


@pytest.fixture(scope="session")
def exported(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The shared detector and the shared 112x96 recogniser, exported as a user would."""
    from mindface import create_model, export_model

    folder = tmp_path_factory.mktemp("exported")
    files = Exported(folder / "detector.onnx", folder / "recognizer.onnx")
    sources = ("retinaface_mobilenet025", "mobilefacenet_112x96")
    weights = ("retinaface_mobilenet025.pth", "mobilefacenet_casia_112x96.pth")
    for file, name, weight in zip(files, sources, weights, strict=True):
        network = create_model(name, weights=shared / "data" / "weights" / weight)
        export_model(network, file, licence="MIT" if "retina" in name else "unknown")
    return files


@pytest.fixture(scope="session")
def analyzer(exported: Exported):
    """The exported models in fp32 on ONNX Runtime, whose results repeat to the bit."""
    from mindface import FaceAnalyzer

    return FaceAnalyzer(*exported, engine="onnxruntime", precision="fp32")


@pytest.fixture(scope="session")
def photos(shared: Path) -> list[Path]:
    """Real photos of people, in an order that a fixed seed made."""
    files = sorted((shared / "data" / "celeba200" / "photos").glob("*/*.jpg"))
    random.Random(2026).shuffle(files)
    return files
