"""Everything MindFace raises on purpose.

```
MindFaceError                  exit code 1
├── ConfigError                         2   a configuration or an override that cannot be
├── NoFaceError                         3   a face was needed and none was found
├── ImageError                          4   an image cannot be read: path and reason
│   └── ImageTooLargeError              4   refused from its header, before decoding
├── AlignmentError                      3   landmarks no face can have
├── ModelError                          5   unknown name, wrong or damaged weights
│   ├── UnknownModelError               5
│   ├── WeightsError                    5   keys missing, unexpected or of another shape
│   ├── IntegrityError                  5   sha256 differs, or the file's structure is unsound
│   ├── RecordError                     5   no record, or a record that says something impossible
│   └── ContractError                   5   embeddings of another model
├── EngineError                         6   engine, device or precision cannot be had
├── MissingExtraError                   7   prints the pip line that helps
├── DownloadError                       8
├── LicenceError                        9   the licence policy refuses the weight
├── SkippedInputsError                 10   --strict, and some inputs were unreadable
├── CalibrationError                   11   a rate that the data cannot support
├── TrainingError                      13   gradients that are not finite
├── PlanError                          14   a training that cannot fit in memory or on the disk
└── GalleryError                       15   what a gallery refuses, or cannot do now
    └── GalleryKeyError                15   the key of an encrypted gallery is missing or another's
```

Exit code 2 is a wrong command line, 12 a file that cannot be read or written, 130 an interruption.
Every message names the bad value, the reason and what to do.
"""


class MindFaceError(Exception):
    """Base of all errors raised on purpose; `exit_code` is the command line's."""

    exit_code = 1


class ConfigError(MindFaceError):
    """A configuration or an override that cannot be; the message has all that is wrong."""

    exit_code = 2


class NoFaceError(MindFaceError):
    """A face was needed and none was found."""

    exit_code = 3


class AlignmentError(MindFaceError):
    """Landmarks that no face can have: too close, collinear, mirrored or not finite."""

    exit_code = 3


class ImageError(MindFaceError):
    """An image that cannot be read.

    Attributes:
        path: where it came from, or None for bytes and arrays.
        reason: why it cannot be read, without the path.
    """

    exit_code = 4

    def __init__(self, reason: str, path: str | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class ImageTooLargeError(ImageError):
    """An image over the size limits, refused from its header before decoding."""


class ModelError(MindFaceError):
    """A model that cannot be used."""

    exit_code = 5


class UnknownModelError(ModelError):
    """A name that is neither in the catalogue nor a file."""


class WeightsError(ModelError):
    """Weights that do not fit the network, or a weight file that cannot be read."""


class IntegrityError(ModelError):
    """A file whose sha256 or structure is not what its record says."""


class RecordError(ModelError):
    """A model without a record, or a record that says something impossible."""


class ContractError(ModelError):
    """Embeddings made by another model or another preprocessing."""


class EngineError(MindFaceError):
    """An engine, device or precision that cannot be had here."""

    exit_code = 6


class MissingExtraError(MindFaceError):
    """A feature whose optional dependency is not installed."""

    exit_code = 7

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra {extra!r}: run  pip install 'mindface[{extra}]'"
        )
        self.extra = extra


class DownloadError(MindFaceError):
    """A download that failed; what was fetched so far is kept for the next try."""

    exit_code = 8


class LicenceError(MindFaceError):
    """A weight whose licence the policy in force refuses."""

    exit_code = 9


class SkippedInputsError(MindFaceError):
    """Inputs were skipped although `--strict` asked for none to be."""

    exit_code = 10


class CalibrationError(MindFaceError):
    """A false-match rate for which there are too few people, or no threshold."""

    exit_code = 11


class TrainingError(MindFaceError):
    """A training that cannot go on; its last checkpoint stands."""

    exit_code = 13


class PlanError(MindFaceError):
    """A training that cannot fit in memory or on the disk."""

    exit_code = 14


class GalleryError(MindFaceError):
    """What a gallery refuses, or cannot do now; it stays as it was."""

    exit_code = 15


class GalleryKeyError(GalleryError):
    """The key of an encrypted gallery is missing, cannot be used or is another's."""
