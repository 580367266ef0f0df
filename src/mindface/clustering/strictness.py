"""The threshold of joining, from what a model's calibration knows of strangers."""

from __future__ import annotations

import math
from typing import NamedTuple

from mindface.zoo.record import Calibration

CHANCE = 0.1
DECADE = 10


class Strictness(NamedTuple):
    """A threshold for `cluster`.

    Attributes:
        threshold: least similarity of faces that are joined.
        extrapolated: whether the calibration did not measure so far.
    """

    threshold: float
    extrapolated: bool


def strictness(calibration: Calibration, faces: int, chance: float = CHANCE) -> Strictness:
    """The threshold at which a face finds a stranger among so many faces with a given chance.

    It is `Calibration.for_gallery`'s. Where that ends, the tail of the strangers' similarities is
    taken to be exponential, through the strictest threshold and one at ten times its rate.

    Args:
        calibration: of the model.
        faces: how many are to be clustered, or to be clustered in and with.
        chance: lower is stricter: purer people, in more parts.

    Raises:
        ValueError: `chance` is not between 0 and 1, or there is no face.
    """
    found = calibration.for_gallery(chance, faces)
    if found is not None:
        return Strictness(found.threshold, found.extrapolated)
    strictest = calibration.thresholds[0]
    rate = -math.expm1(math.log1p(-chance) / faces)
    looser = [
        each
        for each in calibration.thresholds
        if each.false_match_rate >= DECADE * strictest.false_match_rate * (1 - 1e-9)
    ]
    if not looser:
        return Strictness(strictest.threshold, True)
    fall = math.log(looser[0].false_match_rate / strictest.false_match_rate)
    slope = (strictest.threshold - looser[0].threshold) / fall
    depth = math.log(strictest.false_match_rate / rate)
    return Strictness(min(strictest.threshold + slope * depth, 1.0), True)
