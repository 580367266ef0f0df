"""The losses that detection trains with, in torch (the extra `train`).

`MultiBoxLoss` is the whole of it; its parts stand in a file each.
"""

from __future__ import annotations

from mindface.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError("training losses", "train") from error

from mindface.detection.losses.atss import match_adaptively
from mindface.detection.losses.matching import Targets, match
from mindface.detection.losses.multibox import MultiBoxLoss

__all__ = ["MultiBoxLoss", "Targets", "match", "match_adaptively"]
