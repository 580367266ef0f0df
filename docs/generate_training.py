"""Writes docs/training-config.md: the keys of both trainings, and the presets.

    python docs/generate_training.py

A test fails where the page and the code have drifted apart.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from mindface.training.config import Config
from mindface.training.config_table import config_table
from mindface.training.detection.config import DetectionConfig
from mindface.training.recognition.config import RecognitionConfig

PAGE = Path(__file__).with_name("training-config.md")

HEAD = """# What a training can be told

Made by `python docs/generate_training.py` from the code; not edited by hand. How to use it:
[tutorials/recognition/config.md](tutorials/recognition/config.md) and
[tutorials/detection/config.md](tutorials/detection/config.md).

Every key can be given on the command line as `KEY=VALUE`, the value in YAML, after the preset:
`mindface train recognition casia_r50 optimizer.lr=0.05 'data.sets=[{path: faces}]'`. Keys with
`.0.` are those of each item of a list. `--show` prints the whole configuration and stops. The
default holds where neither the preset nor the command line says anything; what a preset does not
say is as in its base, and else the default. Presets whose names begin with `_` are only bases of
others."""


class Training(NamedTuple):
    """A command's name, what it trains, and all that it can be told."""

    command: str
    trained: str
    config: type[Config]

    def parts(self) -> list[str]:
        """Its keys, then its presets."""
        presets = Path(str(files(f"mindface.training.{self.command}"))) / "presets"
        return [
            f"## Keys of a {self.trained}'s training",
            config_table(self.config).rstrip(),
            f"## Presets of a {self.trained}'s training\n\n`mindface train {self.command} NAME`.",
            *(
                f"### {path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8')}```"
                for path in sorted(presets.glob("*.yaml"))
            ),
        ]


TRAININGS = (
    Training("recognition", "recogniser", RecognitionConfig),
    Training("detection", "detector", DetectionConfig),
)


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(part for training in TRAININGS for part in training.parts())]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
