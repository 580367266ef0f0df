"""Results as an evaluation gives them, from drawn scores."""

from typing import Any

import numpy as np

RATES = ("1e-1", "1e-2", "1e-3")


def example(model: str = "edgeface_xs", seed: int = 0, apart: float = 0.55) -> dict[str, Any]:
    """A full result of 4,000 impostor and 1,000 genuine scores."""
    rng = np.random.default_rng(seed)
    impostor = np.sort(np.clip(rng.normal(0.02, 0.12, 4000), -1, 1))[::-1]
    genuine = np.sort(np.clip(rng.normal(apart, 0.14, 1000), -1, 1))[::-1]
    thresholds = np.concatenate([[2.0], np.linspace(1, -1, 301)])
    fmr = np.array([(impostor >= each).mean() for each in thresholds])
    tar = np.array([(genuine >= each).mean() for each in thresholds])
    edges = np.linspace(-1, 1, 101)
    band = (fmr >= 1e-3) & (fmr < 1)
    measured = _rates(impostor, genuine)
    return {
        "task": "verification",
        "protocol": "folder",
        "model": model,
        "licence": "CC BY-NC-SA 4.0",
        "pairs": 5000,
        "genuine": 1000,
        "impostor": 4000,
        "people": 200,
        "people_pairs": 19900,
        "accuracy_mean": 0.971,
        "accuracy_std": 0.004,
        "tar_at_far": measured,
        "auc": 0.998,
        "eer": 0.012,
        "failure_to_acquire": {"photos": 4163, "failed": 12, "rate": 12 / 4163},
        "without_failures": {"tar_at_far": measured, "accuracy_mean": 0.974, "auc": 0.999},
        "skipped": [
            {"path": f"celeba/{i:04d}/1.jpg", "reason": "no face found"} for i in range(12)
        ],
        "curve": {
            "fmr": fmr.tolist(),
            "tar": tar.tolist(),
            "threshold": thresholds.tolist(),
        },
        "band": {
            "fmr": fmr[band].tolist(),
            "low": np.maximum(tar[band] - 0.02 * (1 - fmr[band]), 0).tolist(),
            "high": np.minimum(tar[band] + 0.015, 1).tolist(),
        },
        "histogram": {
            "edges": edges.tolist(),
            "genuine": np.histogram(genuine, edges)[0].tolist(),
            "impostor": np.histogram(impostor, edges)[0].tolist(),
        },
        "worst": {
            "false_matches": [
                {"a": f"p{i}/a.jpg", "b": f"p{i + 1}/b.jpg", "score": 0.71 - i / 100}
                for i in range(20)
            ],
            "false_non_matches": [
                {"a": f"p{i}/a.jpg", "b": f"p{i}/b.jpg", "score": i / 100} for i in range(20)
            ],
        },
        "groups": {"threshold": 0.31, "rows": [_group("A", None), _group("B", "under 30 pairs")]},
        "discard": [
            {"score": name, "share": [0, 0.1, 0.2, 0.3], "fnmr": [0.03, 0.03 - drop, 0.02, 0.01]}
            for name, drop in (("sharpness", 0.004), ("eye_distance", 0.007))
        ],
        "cmc": {"rank": [1, 2, 3, 4, 5], "share": [0.94, 0.96, 0.97, 0.975, 0.98]},
        "manifest": {
            "seed": seed,
            "versions": {"mindface": "0.1", "numpy": "2.4"},
            "lists": {"pairs": "sha256:0123456789abcdef"},
        },
    }


def _rates(impostor: np.ndarray, genuine: np.ndarray) -> dict[str, Any]:
    measured: dict[str, Any] = {"1e-6": None}
    for rate in RATES:
        threshold = float(impostor[int(float(rate) * len(impostor))])
        tar = float((genuine >= threshold).mean())
        measured[rate] = {
            "tar": tar,
            "low": tar - 0.01,
            "high": min(tar + 0.01, 1),
            "threshold": threshold,
            "fmr_low": 0.8 * float(rate),
            "fmr_high": 1.2 * float(rate),
        }
    return {rate: measured[rate] for rate in (*RATES, "1e-6")}


def _group(name: str, warning: str | None) -> dict[str, Any]:
    return {
        "group": name,
        "fmr": 1.2e-4,
        "fmr_low": 9e-5,
        "fmr_high": 2e-4,
        "fnmr": 0.02,
        "fnmr_low": 0.01,
        "fnmr_high": 0.03,
        "pairs": 123456,
        "warning": warning,
    }
