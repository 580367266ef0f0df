"""A checkpoint becomes a network again, without the training that wrote it."""

from __future__ import annotations

import os

from torch import nn

from mindface.errors import WeightsError
from mindface.models import create_model
from mindface.training.checkpoint import open_checkpoint
from mindface.training.tensors import fill


def network_of(folder: str | os.PathLike[str]) -> nn.Module:
    """Builds the network of a checkpoint, with the averaged weights where there are some.

    Args:
        folder: of the checkpoint, or of a whole training, whose best or else last one is taken.

    Raises:
        WeightsError: it is no checkpoint, or of a network that was not ours.
    """
    checkpoint = open_checkpoint(folder)
    architecture = checkpoint.facts.get("architecture")
    if architecture is None:
        raise WeightsError(
            f"{folder}: the network was built by your own code: build it again and fill it from "
            f"{checkpoint.folder / 'network.safetensors'}"
        )
    network = create_model(architecture, **checkpoint.facts["arguments"])
    part = "average" if "average" in checkpoint.names() else "network"
    fill(network.state_dict().items(), checkpoint.tensors(part))
    return network.eval()
