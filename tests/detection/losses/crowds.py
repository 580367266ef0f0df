"""Batches of faces made up of a seed."""

import torch

from mindface.detection.anchors import anchors


def grid(height, width):
    return torch.tensor(anchors(height, width), dtype=torch.float64)


def crowd(seed, counts, size):
    """Boxes, landmarks and ignored of pictures, in float64: any shape, also over the border."""
    generator = torch.Generator().manual_seed(seed)
    boxes, landmarks, ignored = [], [], []
    for count in counts:
        random = torch.rand(count, 16, generator=generator, dtype=torch.float64)
        sides = 4 * (size / 4) ** random[:, :1] * 4 ** (random[:, 1:3] - 0.5)
        low = random[:, 3:5] * size - sides / 2
        points = low[:, None] + random[:, 5:15].view(count, 5, 2) * sides[:, None]
        points[random[:, 15] < 0.3] = torch.nan
        boxes.append(torch.cat([low, low + sides], 1))
        landmarks.append(points)
        ignored.append(random[:, 15] > 0.7)
    return boxes, landmarks, ignored


def noise(seed, pictures, count):
    """What a network might say: encoded boxes, logits and encoded landmarks."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(pictures, count, values, generator=generator, dtype=torch.float64)
        for values in (4, 2, 10)
    )
