#!/bin/bash
# The sets of the recipe, from ../shared; run from the project's root after `make setup`.
set -e
here=recipes/arcface_mobilefacenet
work=build/recipe
mindface data build ../shared/data/celeba200/photos $work/celeba200 --format png --recognizer none
mkdir -p $work/held_out $work/held_out_photos
while read -r person; do
  ln -sfn "$PWD/$work/celeba200/$person" "$work/held_out/$person"
  ln -sfn "$PWD/../shared/data/celeba200/photos/$person" "$work/held_out_photos/$person"
done < $here/people/celeba200_held_out.txt
# For calibration also the held-out people of celeba_small.
python - <<'PY'
from pathlib import Path
from mindface.datasets import Only, open_faces

work = Path("build/recipe/held_out_all")
work.mkdir(exist_ok=True)
for person in Path("build/recipe/held_out").iterdir():
    (work / person.name).unlink(missing_ok=True)
    (work / person.name).symlink_to(person.resolve())
names = Path("recipes/arcface_mobilefacenet/people/celeba_small_held_out.txt").read_text().split()
faces = Only(open_faces("../shared/data/faces112/celeba_small.rec"), names)
for index, label in enumerate(faces.labels):
    folder = work / f"small_{faces.class_names[label]}"
    folder.mkdir(exist_ok=True)
    (folder / f"{index}.jpg").write_bytes(faces.read(index))
PY
