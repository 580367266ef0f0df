"""Writes a set of IJB in the layout and the formats that InsightFace distributes."""

from pathlib import Path

import numpy as np

HEADER = "TEMPLATE_ID,SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT"
GALLERIES = {"ijbb": "S", "ijbc": "G"}

# Three subjects, six templates; template 4 has a video (medium 74) of two frames. The rows of one
# template do not stand together.
IMAGES = [  # template, medium, detector score, feature, feature of the mirror image
    (1, 71, 1.0, (1, 0), (1, 0)),
    (4, 74, 1.0, (3, 0), (1, 0)),
    (2, 72, 1.0, (0, 2), (0, 3)),
    (3, 73, 1.0, (3, 3), (5, 3)),
    (4, 75, 1.0, (1, 1), (0, 2)),
    (5, 76, 0.5, (2, 1), (2, 2)),
    (6, 77, 0.5, (3, 0), (3, 0)),
    (4, 74, 0.5, (0, 4), (0, 0)),
    (6, 78, 1.0, (0, 1), (0, 3)),
]
PAIRS = [(1, 4, 1), (2, 6, 1), (3, 5, 1), (1, 5, 0), (1, 6, 0), (2, 4, 0), (3, 4, 0), (3, 6, 0)]
GALLERY1, GALLERY2 = [(1, 10), (2, 30)], [(3, 20)]
PROBES = [(4, 10), (4, 10), (5, 20), (6, 30), (4, 10), (6, 30)]  # a row an image


def write(
    folder: Path,
    name: str = "ijbc",
    images=IMAGES,
    pairs=PAIRS,
    gallery1=GALLERY1,
    gallery2=GALLERY2,
    probes=PROBES,
) -> Path:
    """The folder, with the lists under `meta`."""
    meta = folder / "meta"
    meta.mkdir(parents=True)
    rows = list(enumerate(images, 1))
    lists = {
        "face_tid_mid.txt": [f"{i}.jpg {template} {medium}" for i, (template, medium, *_) in rows],
        "name_5pts_score.txt": [
            f"{i}.jpg {' '.join(f'{i + k / 8:.3f}' for k in range(10))} {score:.3f}"
            for i, (_, _, score, *_) in rows
        ],
        "template_pair_label.txt": [f"{a} {b} {label}" for a, b, label in pairs],
    }
    kind = GALLERIES[name]
    for suffix, members in (
        (f"gallery_{kind}1", gallery1),
        (f"gallery_{kind}2", gallery2),
        ("probe_mixed", probes),
    ):
        lists[f"1N_{suffix}.csv"] = [HEADER] + [
            f"{template},{subject},img/{template}.jpg,{template},1.5,2,30,40"
            for template, subject in members
        ]
    for suffix, lines in lists.items():
        (meta / f"{name}_{suffix}").write_text("\n".join(lines) + "\n")
    return folder


def features(images=IMAGES, batch=2):
    """Batches of the images' features and of their mirror images', float32."""
    upright = np.array([row[3] for row in images], np.float32)
    mirrored = np.array([row[4] for row in images], np.float32)
    for start in range(0, len(images), batch):
        yield upright[start : start + batch], mirrored[start : start + batch]
