"""Inter-class filtering: negatives that are too near to be negatives."""

from __future__ import annotations

from torch import Tensor

from mindface.recognition.losses.margin import replace_targets, target_cosines


def filter_interclass(cosines: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Sets the cosines of suspicious negatives to 0, with no gradient.

    A negative class whose centre is this near to a sample is likely the same person under another
    label. Source: InsightFace, `recognition/arcface_torch/losses.py`, argument
    `interclass_filtering_threshold`.

    Args:
        cosines: `(B, C)`.
        labels: `(B,)` int64, each sample's column or -1.
        threshold: cosines above it are suspicious, -1 to 1.

    Returns:
        `(B, C)`, the samples' own classes as they were.
    """
    own = target_cosines(cosines, labels)
    filtered = cosines.masked_fill(cosines > threshold, 0)
    return replace_targets(filtered, labels, own)
