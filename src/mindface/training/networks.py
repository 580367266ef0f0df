"""A checkpoint becomes a network again, without the training that wrote it."""

from __future__ import annotations

import os

from torch import nn

from mindface.errors import WeightsError
from mindface.models import create_model
from mindface.training.checkpoint import open_checkpoint
from mindface.training.tensors import fill


def network_of(folder: str | os.PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """The network of a checkpoint, with the averaged weights where there are some.

    Args:
        folder: of the checkpoint, or of a whole training, whose best or else last one is taken.
        network: what to fill, where the training was given a network of your own.

    Returns:
        The network in evaluation mode.

    Raises:
        WeightsError: it is no checkpoint, or of another network, or of one of your own and none is
            given.
    """
    checkpoint = open_checkpoint(folder)
    if network is None:
        architecture = checkpoint.facts.get("architecture")
        if architecture is None:
            raise WeightsError(
                f"{checkpoint.folder}: the network is one of your own: build it, and fill it with "
                "mindface.training.networks.network_of(FOLDER, network)"
            )
        network = create_model(architecture, **checkpoint.facts["arguments"])
    part = "average" if "average" in checkpoint.names() else "network"
    fill(network.state_dict().items(), checkpoint.tensors(part))
    return network.eval()
