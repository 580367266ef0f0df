"""Recognition networks, in torch (the extra `train`)."""
