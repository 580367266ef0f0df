import math

import pytest
import torch

from mindface.detection.models.resnet import ResNet50
from mindface.detection.models.retinaface import retinaface_mobilenet025


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return retinaface_mobilenet025()


@pytest.mark.parametrize("size", [(32, 32), (33, 65), (50, 127), (1, 1)])
def test_every_cell_of_every_level_has_two_anchors(
    network: torch.nn.Module, size: tuple[int, int]
) -> None:
    anchors = sum(2 * math.ceil(size[0] / s) * math.ceil(size[1] / s) for s in (8, 16, 32))
    with torch.inference_mode():
        boxes, scores, landmarks = network.eval()(torch.zeros(1, 3, *size))
    assert boxes.shape == (1, anchors, 4)
    assert scores.shape == (1, anchors, 2)
    assert landmarks.shape == (1, anchors, 10)


def test_training_gives_logits_and_evaluation_probabilities(network: torch.nn.Module) -> None:
    images = torch.randn(2, 3, 64, 64)
    probabilities = network.eval()(images)[1]
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(2, probabilities.shape[1]))
    for module in network.train().modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.testing.assert_close(network(images)[1].softmax(-1), probabilities)


def test_the_rows_run_over_levels_then_rows_then_columns_then_anchors(
    network: torch.nn.Module,
) -> None:
    levels = torch.rand(1, 64, 2, 3)
    head = network.bboxhead[0]
    expected = [
        head.conv1x1(levels)[0, 4 * anchor : 4 * anchor + 4, y, x]
        for y in range(2)
        for x in range(3)
        for anchor in range(2)
    ]
    torch.testing.assert_close(head(levels)[0], torch.stack(expected))


@pytest.mark.parametrize("size", [(32, 64), (34, 61)])
def test_the_backbone_halves_sizes_rounding_up(size: tuple[int, int]) -> None:
    with torch.device("meta"):
        maps = ResNet50()(torch.empty(1, 3, *size))
    for stride, channels, features in zip((8, 16, 32), ResNet50.channels, maps, strict=True):
        expected = (1, channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        assert features.shape == expected
