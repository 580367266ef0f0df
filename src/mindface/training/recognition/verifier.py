"""Verification of a network while it trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mindface.datasets import decode
from mindface.errors import ConfigError, ImageError
from mindface.files import open_regular
from mindface.models import convention
from mindface.recognition.folder_protocol import folder_pairs
from mindface.recognition.protocols import Protocol, bin_set, read_pairs
from mindface.recognition.recognizer import unit
from mindface.recognition.ten_fold import ten_fold
from mindface.recognition.verification import pair_scores, score_table
from mindface.results import Array
from mindface.training.loading import Pixels, to_input
from mindface.training.recognition.config import RecognitionConfig, VerificationSet
from mindface.training.recognition.data import check_size

BATCH = 64
RATE = 1e-3


class Verifier:
    """Sets of aligned faces on which a network is measured again and again.

    Args:
        config: of the training.

    Attributes:
        protocols: the sets, called like their files, or by their paths if these are not different.

    Raises:
        ConfigError: a set makes no pairs to compare.
        IntegrityError: a set cannot be read.
        ImageError: a set has no pictures, or one that cannot be read or has another size; better
            now than after hours.
    """

    def __init__(self, config: RecognitionConfig) -> None:
        self.facts = convention(config.network.name).preprocessing
        paths = [given.path for given in config.verification]
        names = [Path(path).name for path in paths]
        if len(set(names)) < len(names):
            names = paths
        self.protocols = [
            replace(_protocol(given), name=name)
            for given, name in zip(config.verification, names, strict=True)
        ]
        for protocol in self.protocols:
            for row in range(len(protocol.photos)):
                self._face(protocol, row)

    def __call__(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Measures a network, with the flip test, in float32, and leaves it in evaluation mode.

        Returns:
            For each set `NAME/accuracy` (ten-fold, where it has folds), `NAME/auc` and
            `NAME/tar@1e-3` (where there are impostors enough).
        """
        network.eval()
        return {
            f"{protocol.name}/{name}": value
            for protocol in self.protocols
            for name, value in self._measure(protocol, network, device).items()
        }

    def _measure(
        self, protocol: Protocol, network: nn.Module, device: torch.device
    ) -> dict[str, float]:
        embeddings = self._embed(protocol, network, device)
        table = score_table(protocol, embeddings)
        found = {"auc": float(table.auc())}
        if protocol.folds is not None and protocol.same is not None:
            distances = 2 - 2 * pair_scores(protocol, embeddings).astype(np.float64)
            found["accuracy"] = float(ten_fold(distances, protocol.same, protocol.folds).mean)
        if table.supports(RATE):
            found["tar@1e-3"] = float(table.tar(table.threshold(RATE)))
        return found

    @torch.no_grad()
    def _embed(self, protocol: Protocol, network: nn.Module, device: torch.device) -> Array:
        facts, count = self.facts, len(protocol.photos)
        parts = []
        for start in range(0, count, BATCH):
            faces = [self._face(protocol, row) for row in range(start, min(start + BATCH, count))]
            batch = to_input(torch.from_numpy(np.stack(faces)).to(device), facts.mean, facts.std)
            parts.append((network(batch) + network(batch.flip(3))).float().cpu().numpy())
        return unit(np.concatenate(parts))

    def _face(self, protocol: Protocol, row: int) -> Pixels:
        photo, name = protocol.photos[row], protocol.names[row]
        if isinstance(photo, str):
            photo = _content(photo)
        face = decode(photo, name)
        check_size(face, self.facts.size, name)
        return face

    @staticmethod
    def score(figures: dict[str, float]) -> float:
        """What the best checkpoint has the most of: the mean accuracy, else the mean AUC."""
        named = [value for name, value in figures.items() if name.endswith("/accuracy")]
        return float(np.mean(named or [v for name, v in figures.items() if name.endswith("/auc")]))


def _content(path: str) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror or error}", path) from error


def _protocol(given: VerificationSet) -> Protocol:
    try:
        if given.path.endswith(".bin"):
            return bin_set(given.path)
        if given.images is None:
            return folder_pairs(given.path)
        return read_pairs(given.path, given.images)
    except ValueError as error:
        raise ConfigError(f"verification set {given.path}: {error}") from error
