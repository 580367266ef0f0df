"""`mindface export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME_OR_CHECKPOINT",
            help="Network, such as arcface_r50, or a training's checkpoint: no weights then.",
        ),
    ],
    output: Annotated[Path, typer.Option(help="Where to write, ending in .onnx.")],
    weights: Annotated[
        Path | None, typer.Option(help="Weight file: .ckpt, .pth, .pt, .tar or .safetensors.")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the weights, such as MIT; goes into the record.")
    ] = "unknown",
    training_data: Annotated[
        str | None, typer.Option(help="What the weights were trained on; goes into the record.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the weights come from; goes into the record.")
    ] = None,
) -> None:
    """Write a network and its weights as ONNX, with its record (.json) beside it.

    The file is compared with the network first; nothing is written when they differ.

    Example:  mindface export retinaface_mobilenet025 --weights retinaface.pth
    --output retinaface.onnx --licence MIT
    """
    accuracy = {}
    if Path(name).is_dir():
        from mindface.training.networks import accuracy_of, network_of

        network, accuracy = network_of(name), accuracy_of(name)
    elif weights is None:
        raise typer.BadParameter(f"{name!r} is no checkpoint's folder: give its --weights")
    else:
        from mindface.models import create_model

        network = create_model(name, weights=weights)

    from mindface.export import export_model

    record = export_model(
        network,
        output,
        licence=licence,
        training_data=training_data,
        source=source,
        accuracy=accuracy,
    )
    print(f"{output}: {record.name}, {(record.bytes or 0) / 1e6:.1f} MB, sha256 {record.sha256}")
    print(f"{output.with_suffix('.json')}: its record, licence {record.licence}")
