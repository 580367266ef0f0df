#!/bin/bash
# The trained network as it ships: ONNX, calibrated, measured. From the project's root, after
# training; the argument is a training's folder or a checkpoint.
set -e
work=build/recipe
model=$work/arcface_mobilefacenet.onnx
mindface export "${1:-$work/full}" --output $model --licence "non-commercial research only" \
  --training-data "CelebA, Pins, Glint360K, UTKFace; distilled from EdgeFace-XS and MobileFaceNet w600k" \
  --source recipes/arcface_mobilefacenet
mindface calibrate $model --folder $work/held_out_all --aligned \
  --name "held-out people of celeba200 and celeba_small"
mindface evaluate verification $model --folder $work/held_out_photos --flip --draw 6000
echo "to ship it: copy $model and its .json to src/mindface/zoo/bundled/, and write its card"
