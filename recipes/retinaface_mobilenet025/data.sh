#!/bin/bash
# The photos of ../shared, labelled by the ancestor, and what is made of them; from the project's root.
set -e
mkdir -p build/recipe/detector
mindface export retinaface_mobilenet025 --weights ../shared/data/weights/retinaface_mobilenet025.pth \
  --output build/detector.onnx --licence MIT
mindface data label ../shared/data/celeba200/photos build/recipe/detector/labels.json \
  --detector build/detector.onnx --scales 0.25,0.5,1,1.5 --score 0.7 --doubt 0.2
python recipes/retinaface_mobilenet025/scenes.py
