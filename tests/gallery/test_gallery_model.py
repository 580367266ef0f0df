"""Random histories of a gallery, against a model that is plain lists."""

import copy
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from gallery_faces import CONTRACT, sample, unit
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mindface.gallery import Gallery, forgetting

VALUES = 8
VECTORS = unit(24, VALUES, 5)
NAMES = [f"person {number}" for number in range(6)]

names = st.sampled_from(NAMES)
numbers = st.integers(0, len(VECTORS) - 1)


class Model:
    """People by name: faces by id with the number of the vector, and whose alias they are."""

    def __init__(self):
        self.faces = {}  # name -> {id: number}
        self.into = {}  # alias -> name
        self.against = set()  # (name, number)

    def root(self, name):
        while name in self.into:
            name = self.into[name]
        return name

    def group(self, root):
        return {
            face: (owner, number)
            for owner, faces in self.faces.items()
            if self.root(owner) == root
            for face, number in faces.items()
        }

    def roots(self):
        return [name for name in self.faces if name not in self.into]

    def rejected(self, number):
        return {self.root(name) for name, each in self.against if each == number}

    def template(self, root):
        kept = [
            (face, number)
            for face, (_, number) in sorted(self.group(root).items())
            if root not in self.rejected(number)
        ]
        if not kept:
            return None
        total = sum((1 + number) * VECTORS[number].astype(float) for _, number in kept)
        length = np.linalg.norm(total)
        return total / length if length > 1e-3 else None


class Histories(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model, self.past = Model(), []
        self.gallery = Gallery(self.folder / "people.db", CONTRACT, VALUES)

    def teardown(self):
        assert self.gallery.integrity() == []
        self.gallery.close()
        shutil.rmtree(self.folder)

    def note(self):
        self.past.append(copy.deepcopy(self.model))

    def known(self, data):
        return data.draw(st.sampled_from(sorted(self.model.faces)))

    @rule(name=names, some=st.lists(numbers, min_size=1, max_size=3))
    def enroll(self, name, some):
        root = self.model.root(name) if name in self.model.faces else name
        some = [each for each in some if root not in self.model.rejected(each)]
        if some:
            self.note()
            faces = [
                sample(VECTORS[each], each, quality=1.0 + each, content=str(each)) for each in some
            ]
            first, count = self.gallery.enroll(name, faces).payload["faces"]
            owned = self.model.faces.setdefault(root, {})
            owned.update(zip(range(first, first + count), some, strict=True))

    @precondition(lambda self: self.model.faces)
    @rule(data=st.data())
    def remove(self, data):
        everything = sorted(face for faces in self.model.faces.values() for face in faces)
        if everything:
            gone = data.draw(st.sampled_from(everything))
            self.gallery.remove([gone])
            for faces in self.model.faces.values():
                faces.pop(gone, None)
            self.past = []  # what was removed does not come back

    @precondition(lambda self: len(self.model.roots()) > 1)
    @rule(data=st.data())
    def merge(self, data):
        a, b = self.known(data), self.known(data)
        if self.model.root(a) != self.model.root(b):
            self.note()
            self.gallery.merge(a, b)
            self.model.into[self.model.root(b)] = self.model.root(a)

    @precondition(lambda self: self.model.faces)
    @rule(data=st.data(), new=names)
    def split(self, data, new):
        name = self.known(data)
        faces = sorted(self.model.group(self.model.root(name)))
        if len(faces) > 1 and new not in self.model.faces:
            some = data.draw(st.lists(st.sampled_from(faces[:-1]), min_size=1, unique=True))
            self.note()
            self.gallery.split(name, some, new)
            group = self.model.group(self.model.root(name))
            self.model.faces[new] = {}
            for face in some:
                owner = group[face][0]
                self.model.faces[new][face] = self.model.faces[owner].pop(face)

    @precondition(lambda self: self.model.faces)
    @rule(data=st.data(), new=names)
    def rename(self, data, new):
        name = self.known(data)
        if new not in self.model.faces:
            self.note()
            self.gallery.rename(name, new)
            model = self.model
            model.faces = {
                new if each == name else each: faces for each, faces in model.faces.items()
            }
            model.into = {
                new if a == name else a: new if b == name else b for a, b in model.into.items()
            }
            model.against = {(new if a == name else a, number) for a, number in model.against}

    @precondition(lambda self: self.model.faces)
    @rule(data=st.data(), number=numbers)
    def reject(self, data, number):
        name = self.known(data)
        self.note()
        self.gallery.reject(name, str(number))
        self.model.against.add((self.model.root(name), number))

    @precondition(lambda self: self.past)
    @rule()
    def undo(self):
        self.gallery.undo()
        self.model = self.past.pop()

    @precondition(lambda self: self.model.faces)
    @rule(data=st.data())
    def forget(self, data):
        root = self.model.root(self.known(data))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(forgetting, "_searched", lambda *_: ([], {}))
            self.gallery.forget(root)
        group = {name for name in self.model.faces if self.model.root(name) == root}
        self.model.faces = {a: b for a, b in self.model.faces.items() if a not in group}
        self.model.into = {a: b for a, b in self.model.into.items() if a not in group}
        self.model.against = {(a, b) for a, b in self.model.against if a not in group}
        contents = {each for faces in self.model.faces.values() for each in faces.values()}
        held = {entry.content for entry in self.gallery.entries()}
        self.model.against = {
            (a, b) for a, b in self.model.against if b in contents or str(b) in held
        }
        self.past = []

    @rule(rebuild=st.booleans())
    def reopen(self, rebuild):
        self.gallery.close()
        self.gallery = Gallery(self.folder / "people.db")
        if rebuild:
            self.gallery.backend.rebuild()

    @invariant()
    def people_are_those_of_the_model(self):
        model = self.model
        found = {
            person.name: (
                {*person.aliases},
                {face.id: face.content for face in self.gallery.faces(person.name)},
            )
            for person in self.gallery.people()
        }
        assert found == {
            root: (
                {name for name in model.faces if model.root(name) == root and name != root},
                {face: str(number) for face, (_, number) in model.group(root).items()},
            )
            for root in model.roots()
        }

    @invariant()
    def the_nearest_is_that_of_the_model(self):
        model, probes = self.model, [0, 7, 13]
        templates = {root: model.template(root) for root in model.roots()}
        found = self.gallery.identify(VECTORS[probes], contents=[str(each) for each in probes])
        for number, match in zip(probes, found, strict=True):
            scores = {
                root: float(template @ VECTORS[number])
                for root, template in templates.items()
                if template is not None and root not in model.rejected(number)
            }
            best = max(scores.values(), default=None)
            assert match.similarity == (None if best is None else pytest.approx(best, abs=1e-5))
            if best is not None:
                assert scores[match.person] == pytest.approx(best, abs=1e-5)


Histories.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
