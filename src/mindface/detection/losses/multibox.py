"""The loss of a detector: what is a face, where its box is, where its landmarks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mindface.detection.losses.atss import match_adaptively
from mindface.detection.losses.diou import decode_boxes, diou_loss
from mindface.detection.losses.focal import focal_loss
from mindface.detection.losses.matching import Targets, encode_boxes, encode_landmarks, match

Classification = Literal["cross_entropy", "focal"]
Regression = Literal["smooth_l1", "diou"]
Matching = Literal["overlap", "atss"]


class MultiBoxLoss(nn.Module):
    """RetinaFace's loss: classes of hard anchors, boxes and landmarks of those that have a face.

    The cross entropy is summed over the positives and, of each picture, over those negatives whose
    loss is the greatest: `negatives` for each positive, or that many where there is no positive
    (the reference takes none there), and never more than there are. The smooth L1 distance is
    summed over encoded boxes and encoded landmarks. Classes and boxes are divided by the number
    of positives in the batch, landmarks by that of positives which have some; by 1 at least.
    Sources: RetinaFace, https://arxiv.org/abs/1905.00641, section 3.1; SSD,
    https://arxiv.org/abs/1512.02325, section 2.2; Pytorch_Retinaface, `multibox_loss.py`.

    Everything is computed in the type of the anchors, whatever autocast is on.

    Args:
        threshold: of `match`, from 0 to 1.
        negatives: how many for each positive, at least 1.
        box_weight: of the boxes against the classes.
        landmark_weight: of the landmarks against the classes.
        classification: `cross_entropy`, or `focal` over all anchors, see `focal_loss`.
        regression: of boxes: `smooth_l1`, or `diou`, see `diou_loss`.
        matching: `overlap`, see `match`, or `atss`, see `match_adaptively`; that has no threshold.
        keeping_weight: of the divergence from what an older network says, see `forward`.
        normalizer: makes of the two numbers `(2,)` of this process, positives and positives with
            landmarks, those to divide by: for instance their mean over all processes.

    Raises:
        ValueError: a number is out of its range, or there is no option of that name.
    """

    def __init__(
        self,
        threshold: float = 0.35,
        negatives: int = 7,
        box_weight: float = 2.0,
        landmark_weight: float = 1.0,
        classification: Classification = "cross_entropy",
        regression: Regression = "smooth_l1",
        matching: Matching = "overlap",
        keeping_weight: float = 1.0,
        normalizer: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold is an overlap above 0, at most 1, not {threshold}")
        if negatives < 1:
            raise ValueError(f"there is at least 1 negative for a positive, not {negatives}")
        for what, name, names in (
            ("classification", classification, get_args(Classification)),
            ("regression", regression, get_args(Regression)),
            ("matching", matching, get_args(Matching)),
        ):
            if name not in names:
                raise ValueError(f"{what} is {' or '.join(names)}, not {name!r}")
        self.threshold = threshold
        self.negatives = negatives
        self.box_weight = box_weight
        self.landmark_weight = landmark_weight
        self.classification = classification
        self.regression = regression
        self.matching = matching
        self.keeping_weight = keeping_weight
        self.normalizer = normalizer

    def forward(
        self,
        outputs: tuple[Tensor, Tensor, Tensor],
        boxes: Sequence[Tensor],
        landmarks: Sequence[Tensor],
        ignored: Sequence[Tensor],
        anchors: Tensor,
        kept: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The weighted parts of a batch's loss, scalars whose sum is to be minimised.

        Args:
            outputs: encoded boxes `(B, A, 4)`, logits `(B, A, 2)` (background, face), encoded
                landmarks `(B, A, 10)`, as `RetinaFace` has them in training mode.
            boxes: of each picture, `(N, 4)` xyxy in pixels of the network's input.
            landmarks: of each picture, `(N, 5, 2)` in pixels, NaN for a face without.
            ignored: of each picture, `(N,)` bool: neither faces to find nor background.
            anchors: `(A, 4)` as `mindface.detection.anchors.anchors` makes them.
            kept: class probabilities `(B, A, 2)` of an older network. Where there is no labelled
                face, the divergence from these is the loss instead of hard negatives: what the
                older network learnt of things that are not in these pictures is kept (Shmelkov et
                al., https://arxiv.org/abs/1708.06977, section 3.2).

        Returns:
            `boxes`, `classes` and `landmarks`; `kept` where that is given.
        """
        with torch.autocast(anchors.device.type, enabled=False):
            targets = self.match(boxes, landmarks, ignored, anchors)
            marked = ~targets.landmarks.isnan().flatten(1).any(1)
            counts = torch.stack([torch.ones_like(marked).sum(), marked.sum()]).to(anchors)
            if self.normalizer is not None:
                counts = self.normalizer(counts)
            faces, marked_faces = counts.clamp(min=1).unbind()
            encoded, scores, encoded_landmarks = (each.flatten(0, 1) for each in outputs)
            found = encoded[targets.positives].to(anchors)
            points = encoded_landmarks[targets.positives[marked]].to(anchors)
            parts = {
                "boxes": self.box_weight * self._box_loss(found, targets) / faces,
                "classes": self._class_loss(scores, targets, anchors.dtype, kept is None) / faces,
                "landmarks": self.landmark_weight
                * _landmark_loss(points, targets, marked)
                / marked_faces,
            }
            if kept is not None:
                apart = divergence(scores, kept, targets, anchors.dtype)
                parts["kept"] = self.keeping_weight * apart / faces
            return parts

    @torch.no_grad()
    def match(
        self,
        boxes: Sequence[Tensor],
        landmarks: Sequence[Tensor],
        ignored: Sequence[Tensor],
        anchors: Tensor,
    ) -> Targets:
        """The targets of a batch, by the matching that was chosen."""
        if self.matching == "atss":
            return match_adaptively(boxes, landmarks, ignored, anchors)
        return match(boxes, landmarks, ignored, anchors, self.threshold)

    def _box_loss(self, encoded: Tensor, targets: Targets) -> Tensor:
        if self.regression == "diou":
            return diou_loss(decode_boxes(encoded, targets.anchors), targets.boxes)
        truth = encode_boxes(targets.boxes, targets.anchors)
        return F.smooth_l1_loss(encoded, truth, reduction="sum")

    def _class_loss(
        self, scores: Tensor, targets: Targets, dtype: torch.dtype, background: bool
    ) -> Tensor:
        classes = targets.classes.flatten()
        focal, rows = self.classification == "focal", targets.positives
        if background and focal:
            rows = (classes >= 0).nonzero()[:, 0]
        elif background:
            rows = torch.cat([rows, hard_negatives(scores, targets, self.negatives)])
        logits, faces = scores[rows].to(dtype), classes[rows] == 1
        if focal:
            return focal_loss(logits, faces)
        return F.cross_entropy(logits, faces.long(), reduction="sum")


def divergence(scores: Tensor, kept: Tensor, targets: Targets, dtype: torch.dtype) -> Tensor:
    """Sum of the Kullback-Leibler divergences of logits `(B * A, 2)` from `kept` `(B, A, 2)`.

    Over the anchors that are no faces, ignored ones too.
    """
    rows = (targets.classes.flatten() != 1).nonzero()[:, 0]
    found = scores[rows].to(dtype).log_softmax(1)
    return F.kl_div(found, kept.flatten(0, 1)[rows].to(dtype), reduction="sum")


def _landmark_loss(encoded: Tensor, targets: Targets, marked: Tensor) -> Tensor:
    truth = encode_landmarks(targets.landmarks[marked], targets.anchors[marked])
    return F.smooth_l1_loss(encoded, truth, reduction="sum")


@torch.no_grad()
def hard_negatives(scores: Tensor, targets: Targets, ratio: int) -> Tensor:
    """The rows `(K,)` of logits `(B * A, 2)` of background that look most like faces.

    Of each picture `ratio` times its positives, or `ratio` where it has none, or all there are.
    The greatest cross entropy is the greatest logit of a face above that of the background.
    """
    classes = targets.classes
    background = classes == 0
    wanted = ratio * (classes == 1).sum(1).clamp(min=1)
    counts = torch.minimum(wanted, background.sum(1))
    margin = scores[:, 1].to(targets.anchors) - scores[:, 0].to(targets.anchors)
    margin = margin.view_as(classes).masked_fill(~background, -torch.inf)
    columns = margin.topk(int(counts.max()), dim=1).indices
    rows = columns + classes.shape[1] * torch.arange(len(classes), device=scores.device)[:, None]
    chosen = torch.arange(columns.shape[1], device=scores.device) < counts[:, None]
    return rows[chosen]
