#!/bin/bash
# The sets of the recipe, from ../shared; run from the project's root after `make demo`.
set -e
here=recipes/arcface_mobilefacenet
work=build/recipe
mindface data build ../shared/data/celeba200/photos $work/celeba200 --format png --recognizer none --detector build/detector.onnx
mkdir -p $work/held_out
while read -r person; do
  ln -sfn "$PWD/$work/celeba200/$person" "$work/held_out/$person"
done < $here/people/celeba200_held_out.txt
