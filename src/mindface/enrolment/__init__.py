"""Enrolment from photos: who is shown, whether the picture will do, and what is kept of it.

`enroll_photos` is what is used. Below it: `portraits` (which photos show whom), `gate` (which
pictures will do), `crop` (what is stored of one), `photos` (a photo's hash, its enrolled faces).
"""

from __future__ import annotations

from mindface.enrolment.crop import crop_landmarks, crop_with_margin
from mindface.enrolment.enroll import Outcome, enroll_photos
from mindface.enrolment.gate import Limits, Refusal
from mindface.enrolment.photos import face_of, photo_hash
from mindface.enrolment.portraits import Portrait, in_folders, in_list

__all__ = [
    "Limits",
    "Outcome",
    "Portrait",
    "Refusal",
    "crop_landmarks",
    "crop_with_margin",
    "enroll_photos",
    "face_of",
    "in_folders",
    "in_list",
    "photo_hash",
]
