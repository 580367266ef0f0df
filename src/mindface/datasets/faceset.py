"""What every set of faces can do, however it is stored."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mindface.errors import ImageError
from mindface.imaging import read

Ints = NDArray[np.int64]

NOBODY = -1


class FaceSet(Protocol):
    """Labelled pictures of aligned faces, read by number.

    Threads may share one, and it can be pickled for the workers of a data loader.

    Attributes:
        source: what to call the set in messages: its path.
        labels: `(N,)`, 0 to C - 1, each of which occurs; -1 where the person is not known, which
            serves distillation only.
        class_names: the names of the C classes.
    """

    source: str
    labels: Ints
    class_names: tuple[str, ...]

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded picture: JPEG, PNG, ...

        Raises:
            ImageError: its file cannot be read.
            IntegrityError: the file that it is a part of is damaged, or changed meanwhile.
        """
        ...

    def describe(self, index: int) -> str:
        """Where the picture is, for messages: "train.rec, record 17"."""
        ...

    def order(self, rng: np.random.Generator) -> Ints:
        """The pictures of an epoch, in an order that is random and that the storage serves fast.

        A function of nothing but the set and `rng`, so that training resumes from a position in
        it. Every picture once, except where a `Mixture` weights them.
        """
        ...


def decode(content: bytes, where: str) -> NDArray[np.uint8]:
    """Decodes the picture of an aligned face, at a third of the cost of `imaging.read`.

    Args:
        content: the encoded picture.
        where: it is from, for the message.

    Returns:
        `(H, W, 3)` RGB, as it is stored: an EXIF orientation is not applied, since alignment put
        the face upright. `imaging.read` takes what OpenCV cannot read.

    Raises:
        ImageError: no picture, or a damaged one.
        MissingExtraError: a kind of picture that needs an extra.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is not None:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    try:
        return read(content)
    except ImageError as error:
        raise ImageError(error.reason, where) from error


def numbered(values: Ints) -> tuple[Ints, Ints]:
    """Renumbers people without gaps.

    Args:
        values: `(N,)`, the number of a person; any below 0 is nobody's.

    Returns:
        Labels `(N,)`, 0 to C - 1 or -1, and the number `(C,)` of each class, rising.
    """
    present, labels = np.unique(values, return_inverse=True)
    unknown = int(np.searchsorted(present, 0))
    return np.maximum(labels - unknown, NOBODY).astype(np.int64), present[unknown:]


def unlabelled(count: int) -> tuple[Ints, tuple[str, ...]]:
    """Labels `(count,)` of pictures whose people are not known, and the names of no classes."""
    return np.full(count, NOBODY, np.int64), ()
