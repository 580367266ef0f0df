"""MindFace: face detection and recognition, from a photo to a calibrated answer."""

from mindface._version import __version__

__all__ = ["__version__"]
