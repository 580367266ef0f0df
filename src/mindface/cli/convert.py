"""`mindface convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Weight file of any project.")],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="Ends in .ckpt, .pth or .safetensors.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The network, where its parameters do not tell; such as arcface_r50."),
    ] = None,
) -> None:
    """Rewrite weights for another framework: MindSpore .ckpt, .pth or .safetensors.

    A .ckpt gets MindFace's parameter names, a .pth those of the PyTorch project the network
    comes from (Pytorch_Retinaface, arcface_torch, MobileFaceNet_Pytorch), a .safetensors ours.

    Example:  mindface convert MindFace_iresnet50.ckpt backbone.pth
    """
    from mindface.weights import convert_weights

    name = convert_weights(source, target, model=model)
    print(f"{target}: {name}")
