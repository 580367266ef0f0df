"""RetinaFace and its backbones, in torch (the extra `train`)."""
