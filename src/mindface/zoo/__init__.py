"""Weights and their records: the catalogue, files of your own, verified downloads."""

from mindface.zoo.cache import cache_directory, local_path
from mindface.zoo.catalogue import DEFAULT_DETECTOR, DEFAULT_RECOGNIZER, get, records
from mindface.zoo.download import fetch
from mindface.zoo.model import LicencePolicy, Model, resolve
from mindface.zoo.record import ModelRecord

__all__ = [
    "DEFAULT_DETECTOR",
    "DEFAULT_RECOGNIZER",
    "LicencePolicy",
    "Model",
    "ModelRecord",
    "cache_directory",
    "fetch",
    "get",
    "local_path",
    "records",
    "resolve",
]
