"""Batch norm and PReLU as one operation on CPUs, in bfloat16, with fewer passes over memory.

Needs a C++ compiler and ninja. The parameters stay those of the network's own modules.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.cpp_extension import load

from mindface.recognition.models.mobilefacenet import ConvBlock

FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp-simd", "-mprefer-vector-width=512"]


def fuse(network: nn.Module) -> None:
    """Makes a MobileFaceNet on the CPU compute in training with the fused operation."""
    source = str(Path(__file__).with_name("fused.cpp"))
    kernels = load("mindface_fused", [source], extra_cflags=FLAGS)
    for block in network.modules():
        if isinstance(block, ConvBlock):
            block.forward = Fused(block.layers, kernels)


class Fused:
    """The forward pass of a `ConvBlock`."""

    def __init__(self, layers: nn.Sequential, kernels: object) -> None:
        self.layers = layers
        self.kernels = kernels
        self.slope = layers[2].weight if len(layers) > 2 else torch.ones(layers[1].num_features)

    def __call__(self, x: Tensor) -> Tensor:
        """Maps as the block does."""
        norm = self.layers[1]
        x = self.layers[0](x)
        if not norm.training or x.dtype != torch.bfloat16:
            return self.layers[1:](x)
        x = x.contiguous(memory_format=torch.channels_last)
        y, mean, variance = NormPReLU.apply(
            x, norm.weight, norm.bias, self.slope, norm.eps, self.kernels
        )
        count = x.numel() / x.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
        return y


class NormPReLU(torch.autograd.Function):
    """`prelu(batch_norm(x))` with the mean and the variance of the batch."""

    @staticmethod
    def forward(ctx, x, weight, bias, slope, eps, kernels):
        """Also returns the mean and the variance, for the running ones."""
        y, mean, variance = kernels.forward(x, weight, bias, slope, eps)
        ctx.save_for_backward(x, weight, bias, slope, mean, variance)
        ctx.eps, ctx.kernels = eps, kernels
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        """The gradients of x, weight, bias and slope."""
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        return *ctx.kernels.backward(gradient, *ctx.saved_tensors, ctx.eps), None, None
