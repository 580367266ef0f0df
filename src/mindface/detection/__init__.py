"""Finding faces: boxes and five landmarks."""
