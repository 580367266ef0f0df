"""The losses that recognition trains with, in torch (the extra `train`).

`LOSSES` is the whole registry: adding a loss means adding its file here and its constructor below.
Each is a `Margin`: it makes logits of cosines, and says how logits become a loss.
"""

from __future__ import annotations

from collections.abc import Callable

from mindface.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError("training losses", "train") from error

from mindface.recognition.losses.adaface import AdaFace
from mindface.recognition.losses.arcface import ArcFace, SubcenterArcFace
from mindface.recognition.losses.combined import CombinedMargin
from mindface.recognition.losses.cosface import CosFace
from mindface.recognition.losses.curricularface import CurricularFace
from mindface.recognition.losses.elasticface import ElasticArcFace, ElasticCosFace
from mindface.recognition.losses.head import MarginHead
from mindface.recognition.losses.magface import MagFace
from mindface.recognition.losses.margin import Margin
from mindface.recognition.losses.softmax import Softmax
from mindface.recognition.losses.sphereface import SphereFace
from mindface.recognition.losses.uniface import UniFace

__all__ = ["LOSSES", "Margin", "MarginHead"]

LOSSES: dict[str, Callable[..., Margin]] = {
    "softmax": Softmax,
    "arcface": ArcFace,
    "cosface": CosFace,
    "sphereface": SphereFace,
    "combined": CombinedMargin,
    "subcenter_arcface": SubcenterArcFace,
    "curricularface": CurricularFace,
    "adaface": AdaFace,
    "magface": MagFace,
    "elastic_arcface": ElasticArcFace,
    "elastic_cosface": ElasticCosFace,
    "uniface": UniFace,
}
