"""MindFace: face detection and recognition, from a photo to a calibrated answer.

    import mindface

    mindface.detect("group.jpg")                   # the faces: box, score, five landmarks
    mindface.verify("a.jpg", "b.jpg")              # one person or two?
    app = mindface.FaceAnalyzer()                  # the same with choices: models, engine, device
    app.embed(paths, largest=True).embeddings      # (N, D) float32 of unit length
    mindface.Gallery("people.db")                  # who is this?

Every name is imported when it is first used; importing `mindface` alone takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mindface._version import __version__

if TYPE_CHECKING:
    from mindface.analyzer import FaceAnalyzer, detect, verify
    from mindface.detection.detector import Detector
    from mindface.errors import MindFaceError
    from mindface.export import export_model
    from mindface.gallery import Gallery
    from mindface.models import create_model
    from mindface.recognition.recognizer import Recognizer, similarity_matrix
    from mindface.results import Analysis, Detections, Embeddings, Face, Verification

_HOMES = {
    "Analysis": "mindface.results",
    "Detections": "mindface.results",
    "Detector": "mindface.detection.detector",
    "Embeddings": "mindface.results",
    "Face": "mindface.results",
    "FaceAnalyzer": "mindface.analyzer",
    "Gallery": "mindface.gallery",
    "MindFaceError": "mindface.errors",
    "Recognizer": "mindface.recognition.recognizer",
    "Verification": "mindface.results",
    "create_model": "mindface.models",
    "detect": "mindface.analyzer",
    "export_model": "mindface.export",
    "similarity_matrix": "mindface.recognition.recognizer",
    "verify": "mindface.analyzer",
}

__all__ = [
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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mindface' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
