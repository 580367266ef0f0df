#!/bin/bash
# The trained network as it ships: ONNX, calibrated, measured. From the project's root.
set -e
work=build/recipe
mindface export ${1:-$work/full} --output $work/arcface_mobilefacenet.onnx --licence "non-commercial research" \
  --training-data "CelebA (celeba200, celeba_small), Pins (90 people), a sample of Glint360K, UTKFace adults; distilled from EdgeFace-XS and MobileFaceNet w600k" \
  --source "recipes/arcface_mobilefacenet"
mindface calibrate $work/arcface_mobilefacenet.onnx --folder $work/held_out_all --aligned --output $work/calibration.json
mindface evaluate verification $work/arcface_mobilefacenet.onnx --folder $work/held_out --aligned --flip --draw 6000
mindface evaluate verification $work/arcface_mobilefacenet.onnx --folder $work/held_out --aligned --flip
