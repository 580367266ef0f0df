"""Faces of made-up people."""

import numpy as np


def planted(people=12, photos=6, size=64, spread=0.6, seed=0):
    """Unit vectors of people, shuffled, and who is who."""
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(people), photos))
    vectors = rng.normal(size=(people, size))[truth] + spread * rng.normal(size=(len(truth), size))
    return unit(vectors), truth


def unit(vectors):
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def partition(labels):
    """The sets of faces with one label; faces of nobody are sets of their own."""
    people = {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels) - {-1}}
    return people | {frozenset([int(face)]) for face in np.flatnonzero(labels < 0)}
