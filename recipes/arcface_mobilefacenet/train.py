"""Trains the bundled recogniser: `train.py small.yaml`, then `train.py full.yaml`; both resume.

`small.yaml` shows the network pictures of 64x64, a third of the work, from which most can be
learnt; `full.yaml` goes on from its weights at 112x112.
"""

from __future__ import annotations

import argparse

import torch
from fused import fuse
from looking import look_at

from mindface.training.config import load_config
from mindface.training.networks import initial_network
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.train import train

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("preset")
parser.add_argument("overrides", nargs="*")
parser.add_argument("--size", type=int, default=112, help="of the pictures, pixels")
arguments = parser.parse_intermixed_args()

config = load_config(RecognitionConfig, arguments.preset, arguments.overrides)
torch.manual_seed(config.seed)
network = initial_network(config.network.name, config.network.weights, **config.network.arguments())
fuse(network)
if arguments.size != 112:
    look_at(network, arguments.size)
print(train(config, network=network).folder)
