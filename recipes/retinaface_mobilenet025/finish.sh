#!/bin/bash
# The trained network as it ships; from the project's root. The argument is a weight file, such as
# `compare.py --save` writes, or a training's folder.
set -e
work=build/recipe/detector
model=$work/retinaface_mobilenet025.onnx
mindface export retinaface_mobilenet025 --weights "${1:-$work/shipped.safetensors}" --output $model \
  --licence "non-commercial research only" \
  --training-data "WIDER FACE (the MIT-licensed weights of Pytorch_Retinaface, where it starts); CelebA: 160 people of celeba200, labelled by those weights" \
  --source recipes/retinaface_mobilenet025
echo "to ship it: copy $model and its .json to src/mindface/zoo/bundled/, and write its card"
