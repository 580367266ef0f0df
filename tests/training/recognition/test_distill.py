import numpy as np
import pytest
import torch
from compared import differing
from hypothesis import given
from hypothesis import strategies as st
from tiny import Colors, TinyFaces, metrics, settings, teacher, trained

from mindface.datasets import decode
from mindface.errors import ConfigError, ImageError
from mindface.recognition.recognizer import Recognizer, unit
from mindface.training.checkpoint import Checkpoints
from mindface.training.distributed import World
from mindface.training.log import Log
from mindface.training.recognition import teachers
from mindface.training.recognition.setup import targets_of
from mindface.training.recognition.teachers import fuse, teacher_embeddings

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    """The settings that name a teacher of 16 values."""
    folder = tmp_path_factory.mktemp("teacher")
    path = teacher(folder / "colors.onnx", Colors())
    return (f"distillation.teachers=['{path}']", f"distillation.cache={folder / 'cache'}")


def quietly(items, total, what):
    yield from items


def test_a_student_learns_the_embeddings_of_unlabelled_faces(tmp_path, colors):
    trained(tmp_path, *colors, "head.loss=null", faces=TinyFaces(unknown=range(8)))
    losses = metrics(tmp_path)
    assert losses[12] < 0.3 * losses[1]
    assert not metrics(tmp_path, "accuracy")


def test_each_face_has_its_own_target(tmp_path, colors):
    trained(tmp_path, *colors, "head.loss=null", network=Colors())
    assert metrics(tmp_path)[1] < 1e-3
    trained(tmp_path / "other", *colors, "head.loss=null", network=Colors(seed=2))
    assert metrics(tmp_path / "other")[1] > 0.3


def test_labelled_and_unlabelled_faces_learn_together(tmp_path, colors):
    changes = ("distillation.relational=0.5", "accumulation=3", "head.weight=0.1")
    trained(tmp_path, *colors, *changes, faces=TinyFaces(unknown=range(3)))
    parts = [metrics(tmp_path, name) for name in ("margin", "cosine", "relational")]
    for step, loss in metrics(tmp_path).items():
        assert loss == pytest.approx(sum(part[step] for part in parts))
    assert all(part[12] < part[1] for part in parts)


def test_a_batch_may_name_nobody(tmp_path, colors):
    faces = TinyFaces(unknown=range(7))
    trained(tmp_path, *colors, "data.batch=2", "schedule.epochs=1", "head.first=0.5", faces=faces)
    steps = [metrics(tmp_path, name).keys() for name in ("loss", "margin", "accuracy")]
    assert len(steps[0]) == 24 > len(steps[1]) == len(steps[2]) > 0


def test_the_margin_comes_later_and_its_centres_first(tmp_path, colors):
    trained(tmp_path, *colors, "head.start=1", "head.first=1", "keep=9")
    assert [*metrics(tmp_path, "margin")] == [*range(5, 13)]
    saved = {found.step: found for found in Checkpoints(tmp_path / "checkpoints").all()}
    network, centers = (
        [saved[step].tensors(part) for step in (4, 8, 12)] for part in ("network", "head-0")
    )
    assert differing(network[0], network[1]) == []
    assert "conv.weight" in differing(network[1], network[2])
    assert "centers" in differing(centers[0], centers[1])


def test_a_teacher_is_asked_once_for_each_face_even_if_it_is_interrupted(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "BATCH", 10)
    faces = TinyFaces()
    asked = Recognizer(teacher(tmp_path / "colors.onnx", Colors()), precision="fp32")
    whole, calls = asked.features, []

    def features(crops, **options):
        calls.append(len(crops))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return whole(crops, **options)

    asked.features = features
    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        teacher_embeddings(faces, asked, cache, ALONE, quietly)
    found = teacher_embeddings(faces, asked, cache, ALONE, quietly)
    assert calls == 5 * [10] + 4 * [10] + [8, 8]
    again = teacher_embeddings(faces, asked, cache, ALONE, quietly)
    assert len(calls) == 11
    images = np.stack([decode(content, "") for content in faces.pictures])
    both = [unit(whole(each, aligned=True)) for each in (images, images[:, :, ::-1])]
    for rows in (found, again):
        np.testing.assert_allclose(rows, unit(both[0] + both[1]), atol=1e-6)


class Pretended(World):
    """One of several processes that run one after another."""

    def wait(self):
        pass


def test_processes_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "BATCH", 10)
    faces = TinyFaces()
    asked = Recognizer(teacher(tmp_path / "colors.onnx", Colors()), precision="fp32")
    parts = []

    def track(items, total, what):
        parts.append(list(items))
        return iter(items)

    for rank in range(3):
        world = Pretended(rank, 3, torch.device("cpu"))
        shared = teacher_embeddings(faces, asked, tmp_path / "shared", world, track)
    assert parts == [[0, 3], [1, 4], [2]]
    alone = teacher_embeddings(faces, asked, tmp_path / "alone", ALONE, quietly)
    np.testing.assert_array_equal(shared, alone)


def test_pictures_that_cannot_be_read_teach_nothing(tmp_path, colors, capsys):
    changes = (*colors[:1], f"distillation.cache={tmp_path / 'cache'}", "head.loss=null")
    trained(tmp_path, *changes, network=Colors(), faces=TinyFaces(broken=(5,)))
    assert metrics(tmp_path)[1] < 1e-3
    assert "skipped, cannot be read: picture 5\n" in capsys.readouterr().err
    (rows,) = (np.load(p) for p in (tmp_path / "cache").glob("*.npy") if "done" not in p.name)
    assert (rows == 0).all(1).nonzero()[0].tolist() == [5]


def test_faces_of_another_size_are_named(tmp_path, colors):
    config = settings(tmp_path, *colors[:1], f"distillation.cache={tmp_path}")
    with pytest.raises(ImageError, match="picture 0: it has 96x96 pixels"):
        targets_of(config, TinyFaces(size=96), ALONE, Log(tmp_path, 1, 0, 1, True))


def test_a_teacher_of_other_crops_is_refused(tmp_path):
    path = teacher(tmp_path / "narrow.onnx", Colors(), "arcface_112x96")
    changes = (f"distillation.teachers=['{path}']", f"distillation.cache={tmp_path}")
    with pytest.raises(ConfigError, match=r"narrow\.onnx takes faces of \(112, 96\), and .* 112"):
        trained(tmp_path, *changes)


def random_units(rng, count, size):
    return unit(rng.normal(size=(count, size)).astype(np.float32))


def test_one_teacher_of_the_size_stays_as_it_is():
    rows = random_units(np.random.default_rng(0), 30, 16)
    assert fuse([rows], 16) is rows


@given(st.integers(2, 4), st.integers(4, 12), st.integers(0, 99))
def test_cosines_of_targets_are_the_means_of_the_teachers(count, size, seed):
    """Exactly, where the teachers together have no more directions than the targets."""
    rng = np.random.default_rng(seed)
    rows = [random_units(rng, 40, size) for _ in range(count)]
    mean = np.mean([each @ each.T for each in rows], axis=0)
    whole = fuse(rows, count * size)
    np.testing.assert_allclose(whole @ whole.T, mean, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)


def test_targets_of_fewer_values_keep_cosines_and_the_first_teachers_directions():
    """Two teachers that see the same people with some noise of their own."""
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(500, 8)).astype(np.float32)
    first, second = (
        unit(seen @ rng.normal(size=(8, 32)) + 0.3 * rng.normal(size=(500, 32))) for _ in range(2)
    )
    targets = fuse([first, second], 32)
    mean = (first @ first.T + second @ second.T) / 2
    assert np.abs(targets @ targets.T - mean).mean() < 0.05
    assert (targets * first).sum(1).mean() > 0.8


def test_teachers_with_too_few_values_are_refused():
    rows = random_units(np.random.default_rng(0), 30, 16)
    with pytest.raises(ConfigError, match=r"16 values cannot teach 32: set .*embedding_size=16"):
        fuse([rows], 32)
