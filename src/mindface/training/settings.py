"""What every training can be told, whatever it trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mindface.training.config import Config
from mindface.training.optimizers import Optimizer
from mindface.training.schedule import Schedule

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0)]


class Settings(Config):
    """What every training can be told."""

    output: str = Field(description="The folder of all that is written.")
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Of everything that is drawn.")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="How weights move.")
    schedule: Schedule = Field(default_factory=Schedule, description="How the rate changes.")
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Decay of the averaged weights; 0: no average."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or npu.")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="Of the network."
    )
    channels_last: bool = Field(
        default=True, description="The memory order of pictures, fast for CNNs."
    )
    compile: bool = Field(
        default=False, description="torch.compile: minutes at the start, faster steps."
    )
    accumulation: Count = Field(default=1, description="Parts a process's batch is worked on in.")
    verify_every: Count = Field(default=2000, description="Steps between verifications.")
    save_every: Count = Field(default=1000, description="Steps between checkpoints.")
    keep: Count = Field(default=2, description="Checkpoints that stay besides the best.")
    log_every: Count = Field(default=20, description="Steps between lines of the log.")
