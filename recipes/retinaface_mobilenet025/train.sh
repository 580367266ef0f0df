#!/bin/bash
# Three trainings of 432 steps, each from what came before; from the project's root.
set -e
work=build/recipe/detector
recipe=recipes/retinaface_mobilenet025
last=checkpoints/step-00000432
mindface train detection $recipe/full.yaml
mindface train detection $recipe/full.yaml output=$work/run2 network.weights=$work/run/$last loss.keeping=40 seed=1
python $recipe/compare.py one=$work/run/$last two=$work/run2/$last --mean 0.5 --save "0.5 two" $work/between.safetensors
mindface train detection $recipe/full.yaml output=$work/run3 network.weights=$work/between.safetensors loss.keeping=25 seed=2
