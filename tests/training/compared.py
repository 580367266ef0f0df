"""Checkpoints, tensor by tensor."""

import torch


def everything(checkpoint):
    """All tensors of a checkpoint by part and name."""
    return {
        f"{part}/{name}": tensor.clone()
        for part in checkpoint.names()
        for name, tensor in checkpoint.tensors(part).items()
    }


def differing(first, second):
    """The names of tensors that differ in a bit, or are in one only."""
    keys = first.keys() | second.keys()
    return sorted(
        key
        for key in keys
        if key not in first or key not in second or not torch.equal(first[key], second[key])
    )
