"""UniFace and InsightFace fed our weights; runs in their environment, asked over standard input.

Started by `inference.py pipeline --peers PYTHON`. UniFace's classes look a weight up by name and
hash; here the look-up answers with the local file, everything else is theirs. InsightFace's
detectors decode other outputs than a RetinaFace of this family has, so only its recogniser takes
part, on faces that UniFace's detector found.
"""

from __future__ import annotations

import json
import sys
from unittest.mock import patch

import cv2
import onnxruntime


def main() -> None:
    """Answers one line for every pass that is asked for."""
    detector_file, recognizer_file, threads = sys.argv[1:]
    print_to = sys.stdout
    sys.stdout = sys.stderr
    cv2.setNumThreads(int(threads))

    class WithThreads(onnxruntime.InferenceSession):
        def __init__(self, path, sess_options=None, **settings):
            sess_options = sess_options or onnxruntime.SessionOptions()
            sess_options.intra_op_num_threads = int(threads)
            super().__init__(path, sess_options, **settings)

    onnxruntime.InferenceSession = WithThreads
    from insightface.app.common import Face
    from insightface.model_zoo.arcface_onnx import ArcFaceONNX
    from uniface.detection import RetinaFace
    from uniface.recognition import ArcFace

    providers = ["CPUExecutionProvider"]
    with (
        patch("uniface.detection.retinaface.verify_model_weights", lambda _: detector_file),
        patch("uniface.recognition.arcface.verify_model_weights", lambda _: recognizer_file),
    ):
        detector = RetinaFace(providers=providers)
        recognizer = ArcFace(providers=providers)
    insight = ArcFaceONNX(recognizer_file)
    files = json.loads(sys.stdin.readline())

    def uniface() -> None:
        for path in files:
            image = cv2.imread(path)
            for face in detector.detect(image):
                recognizer.get_normalized_embedding(image, face.landmarks)

    def insightface() -> None:
        for path in files:
            image = cv2.imread(path)
            for face in detector.detect(image):
                insight.get(image, Face(kps=face.landmarks))

    passes = {
        "UniFace (one scale, 640x640)": uniface,
        "InsightFace recogniser after UniFace detector": insightface,
    }
    print(json.dumps(list(passes)), file=print_to, flush=True)
    for line in iter(sys.stdin.readline, ""):
        if line.strip() not in passes:
            break
        passes[line.strip()]()
        print("done", file=print_to, flush=True)


if __name__ == "__main__":
    main()
