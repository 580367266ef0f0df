"""Writes docs/training-config.md: the keys of a recogniser's training, and the presets.

    python docs/generate_training.py

A test fails where the page and the code have drifted apart.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from mindface.training.config_table import config_table
from mindface.training.recognition.config import RecognitionConfig

PAGE = Path(__file__).with_name("training-config.md")
PRESETS = Path(str(files("mindface.training.recognition"))) / "presets"

HEAD = """# What a training can be told

Made by `python docs/generate_training.py` from the code; not edited by hand. How to use it:
[tutorials/recognition/config.md](tutorials/recognition/config.md).

Every key can be given on the command line as `KEY=VALUE`, the value in YAML, after the preset:
`mindface train recognition casia_r50 optimizer.lr=0.05 'data.sets=[{path: faces}]'`. Keys with
`.0.` are those of each item of a list. `--show` prints the whole configuration and stops.

## Keys

The default holds where neither the preset nor the command line says anything."""

MIDDLE = """## Presets

`mindface train recognition NAME`. What a preset does not say is as in its base, and else the
default. Those whose names begin with `_` are only bases of others."""


def page() -> str:
    """The whole page: every key, then every preset."""
    parts = [HEAD, config_table(RecognitionConfig).rstrip(), MIDDLE]
    parts += [
        f"### {path.stem}\n\n```yaml\n{path.read_text(encoding='utf-8')}```"
        for path in sorted(PRESETS.glob("*.yaml"))
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
