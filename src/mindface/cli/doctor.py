"""`mindface doctor`."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mindface._version import __version__
from mindface.cli.options import Json, ModelOptions, runs_models
from mindface.errors import MindFaceError

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "pillow-heif",
    "torch",
)
FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "neon", "asimddp", "bf16")


@runs_models()
def doctor(as_json: Json = False, *, models: ModelOptions) -> None:
    """Show engines, devices, versions and weights, and run a golden face through each engine.

    Example: mindface doctor
    """
    report = {
        "mindface": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _packages(),
        "cpu": _cpu(models),
        "engines": _engines(),
        "weights": _weights(),
        "golden": _golden(models),
        "problems": _problems(),
    }
    print(json.dumps(report, indent=2) if as_json else _readable(report))


def _packages() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _cpu(models: ModelOptions) -> dict[str, Any]:
    from mindface.engines import EngineOptions

    name, flags = _processor()
    return {
        "name": name or platform.processor() or platform.machine(),
        "threads": EngineOptions(threads=models.threads).thread_count,
        "features": [feature for feature in FEATURES if feature in flags],
    }


def _processor() -> tuple[str, set[str]]:
    """The processor's name and features, from the kernel or, where there is none, from OpenCV."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        import cv2

        return "", set(cv2.getCPUFeaturesLine().lower().replace("*", "").replace("?", "").split())
    facts = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return facts.get("model name", ""), set(facts.get("flags", facts.get("Features", "")).split())


def _engines() -> dict[str, Any]:
    from mindface.engines import onnxruntime

    engines: dict[str, Any] = {"onnxruntime": {"devices": onnxruntime.available_devices()}}
    if find_spec("openvino"):
        from mindface.engines import openvino

        engines["openvino"] = {
            "devices": openvino.available_devices(),
            "precisions": openvino.available_precisions(),
        }
    return engines


def _weights() -> dict[str, str]:
    from mindface import zoo

    paths = ((record.name, zoo.local_path(record)) for record in zoo.records())
    return {name: str(path) for name, path in paths if path}


def _golden(models: ModelOptions) -> dict[str, Any]:
    """The golden faces through each engine in fp32, compared with the first engine's answer."""
    from dataclasses import replace

    from mindface import golden
    from mindface.engines.choice import cosine
    from mindface.results import Embeddings

    images = [portrait.image for portrait in golden.portraits()]
    engines = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
    report: dict[str, Any] = {}
    reference: Embeddings | None = None
    for engine in engines:
        chosen = replace(models, engine=engine, precision="fp32")
        try:
            found = chosen.open_analyzer().embed(images)
        except MindFaceError as error:
            report[engine] = {"error": str(error)}
            continue
        reference = reference or found
        alike = len(found) == len(reference) == len(images)
        report[engine] = {
            "faces": f"{len(found)} of {len(images)}",
            "cosine": cosine(reference.embeddings, found.embeddings) if alike else None,
        }
    return report


def _problems() -> list[str]:
    from mindface.engines.onnxruntime import installed_packages

    packages = installed_packages()
    if len(packages) < 2:
        return []
    keep = next(name for name in packages if name != "onnxruntime")
    return [
        f"{' and '.join(packages)} are both installed and overwrite each other; run:  "
        f"pip uninstall -y {' '.join(packages)} && pip install {keep}"
    ]


def _readable(report: dict[str, Any]) -> str:
    lines = []
    for section, content in report.items():
        if isinstance(content, dict):
            lines.append(f"{section}:")
            lines += [f"  {name}: {_flat(value)}" for name, value in content.items()]
        elif isinstance(content, list):
            lines.append(f"{section}: {'; '.join(content) or 'none'}")
        else:
            lines.append(f"{section}: {content}")
    return "\n".join(lines)


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(inner)}" for name, inner in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "not installed" if value is None else str(value)
