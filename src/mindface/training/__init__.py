"""What the trainings of both tasks are built of, in torch (the extra `train`)."""

from mindface.errors import MissingExtraError

try:
    import torch  # noqa: F401
except ImportError as error:
    raise MissingExtraError("training", "train") from error
