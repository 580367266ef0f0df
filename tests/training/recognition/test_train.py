import json
import math
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from compared import differing, everything
from tiny import TinyFaces, metrics, settings, tiny_network, trained
from torch import nn

from mindface.errors import ConfigError, ImageError, TrainingError, WeightsError
from mindface.recognition.losses.cosface import CosFace
from mindface.recognition.models.vit import VisionTransformer
from mindface.training.checkpoint import Checkpoints
from mindface.training.config import parse_config
from mindface.training.distributed import World
from mindface.training.networks import network_of
from mindface.training.recognition import setup
from mindface.training.recognition.config import RecognitionConfig
from mindface.training.recognition.data import Faces
from mindface.training.recognition.setup import build_state, margin_of
from mindface.training.recognition.step import set_strength
from mindface.training.recognition.train import train
from mindface.training.sampler import GlobalBatches
from mindface.training.scaling import LossScale

ALONE = World(0, 1, torch.device("cpu"))
ONE_STEP = ("schedule.epochs=0.25", "optimizer.momentum=0", "optimizer.weight_decay=0")


def parameters(checkpoint):
    """What has been learnt, as one vector."""
    tensors = everything(checkpoint)
    names = [name for name in tensors if name.startswith("network/") or name == "head-0/centers"]
    return torch.cat([tensors[name].flatten() for name in names])


def saved(output):
    """All checkpoints by step."""
    return {found.step: found for found in Checkpoints(output / "checkpoints").all()}


def test_the_loss_falls_and_faces_are_told_apart(tmp_path):
    found = trained(tmp_path)
    losses, accuracies = metrics(tmp_path), metrics(tmp_path, "accuracy")
    assert [*losses] == [*range(1, 13)]
    assert found.step == 12
    assert losses[12] < 0.3 * losses[1]
    assert accuracies[1] <= 0.5
    assert accuracies[12] >= 0.9


def test_the_same_seed_gives_the_same_bits_with_any_number_of_workers(tmp_path):
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 5)  # starts OpenCV's threads
    first = trained(tmp_path / "a")
    second = trained(tmp_path / "b", "data.workers=2")
    other = trained(tmp_path / "c", "seed=1")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b") != metrics(tmp_path / "c")
    assert differing(everything(first), everything(second)) == []
    assert "network/conv.weight" in differing(everything(first), everything(other))
    cv2.setNumThreads(before)


def test_a_batch_in_parts_is_one_batch(tmp_path):
    whole = parameters(trained(tmp_path / "1", *ONE_STEP))
    for parts in (2, 3):
        output = tmp_path / str(parts)
        found = parameters(trained(output, *ONE_STEP, f"accumulation={parts}"))
        torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
        assert metrics(output)[1] == pytest.approx(metrics(tmp_path / "1")[1], rel=1e-5)


def test_gradients_are_shortened_to_the_limit(tmp_path):
    lengths = []
    start = parameters(trained(tmp_path / "start", *ONE_STEP, "optimizer.lr=1e-12"))
    for limit in (0.01, 0.02, "null"):
        changes = (*ONE_STEP, "optimizer.lr=1", f"optimizer.max_norm={limit}")
        found = trained(tmp_path / str(limit), *changes)
        lengths.append((parameters(found) - start).norm().item())
    assert lengths[0] == pytest.approx(0.01, rel=1e-3)
    assert lengths[1] == pytest.approx(0.02, rel=1e-3)
    assert lengths[2] > 0.1


def test_weights_decay_and_norms_and_biases_do_not():
    config = settings("unused", "optimizer.weight_decay=0.3")
    state = build_state(config, TinyFaces(), ALONE, tiny_network(), margin_of(config.head))
    decays = {
        name: group["weight_decay"]
        for optimizer in state.optimizers
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    assert decays == {
        "conv.weight": 0.3,
        "linear.weight": 0.3,
        "centers": 0.3,
        "conv.bias": 0.0,
        "norm.weight": 0.0,
        "norm.bias": 0.0,
        "linear.bias": 0.0,
    }


def test_what_is_frozen_keeps_its_bits_and_its_statistics(tmp_path):
    network = tiny_network(nn.BatchNorm2d(8))
    network.linear.bias.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = trained(tmp_path, "network.freeze=[conv., norm.]", network=network)
    after = found.tensors("network")
    assert differing(before, after) == ["linear.weight"]


def test_batch_norms_that_are_not_frozen_learn_their_statistics(tmp_path):
    found = trained(tmp_path, network=tiny_network(nn.BatchNorm2d(8)))
    after = found.tensors("network")
    assert int(after["norm.num_batches_tracked"]) == 12
    assert after["norm.running_mean"].abs().max() > 0.01


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("[layers.]", r"no parameter begins with 'layers\.'; they are called conv\.weight, conv"),
        ("[conv, norm, linear]", "leaves nothing of the network to learn"),
    ],
)
def test_what_cannot_be_frozen(tmp_path, freeze, message):
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path, f"network.freeze={freeze}")
    assert not [*tmp_path.iterdir()]


def test_the_centres_learn_first_and_alone(tmp_path):
    network = tiny_network(nn.BatchNorm2d(8))
    start = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    trained(tmp_path, "head.first=1", "keep=9", network=network)
    first, second = saved(tmp_path)[4], saved(tmp_path)[8]
    assert differing(start, first.tensors("network")) == []
    assert set(differing(start, second.tensors("network"))) == start.keys()
    centers = [found.tensors("head-0")["centers"] for found in (first, second)]
    assert centers[0].norm() > 0.1
    assert not torch.equal(*centers)


def test_the_margin_grows_over_epochs():
    config = settings("unused", "head.ramp=2")
    state = build_state(config, TinyFaces(), ALONE, tiny_network(), margin_of(config.head))
    strengths = []
    for state.step in (0, 1, 4, 7, 8, 9):
        set_strength(state, config, steps_per_epoch=4)
        strengths.append(state.head.strength)
    assert strengths == [0.0, 0.125, 0.5, 0.875, 1.0, 1.0]


def test_without_its_margin_the_loss_is_smaller(tmp_path):
    trained(tmp_path / "full", *ONE_STEP)
    trained(tmp_path / "none", *ONE_STEP, "head.ramp=1")
    assert metrics(tmp_path / "none")[1] < metrics(tmp_path / "full")[1] - 0.5


def test_partial_fc_takes_a_share_of_the_classes(tmp_path):
    faces = TinyFaces(people=40, each=2)
    changes = ("head.rate=0.25", "schedule.epochs=6")
    found = trained(tmp_path / "some", *changes, faces=faces)
    trained(tmp_path / "all", *ONE_STEP, faces=faces)
    losses = metrics(tmp_path / "some")
    assert losses[1] < metrics(tmp_path / "all")[1]
    assert losses[36] < 0.5 * losses[1]
    assert int(found.tensors("head-0")["steps"]) == 36


def test_near_negatives_are_filtered(tmp_path):
    trained(tmp_path / "all", "head.filter=null")
    trained(tmp_path / "some", "head.filter=0.1")
    assert metrics(tmp_path / "all") != metrics(tmp_path / "some")


class Poisoned(nn.Module):
    """A network that makes one embedding of one step NaN."""

    def __init__(self, step, row):
        super().__init__()
        self.layers = tiny_network()
        self.step, self.row, self.calls = step, row, 0

    def forward(self, x):
        embeddings = self.layers(x)
        if self.training and x.device.type != "meta" and len(x) > 2:
            if self.calls == self.step:
                embeddings = embeddings.clone()
                embeddings[self.row] = math.nan
            self.calls += 1
        return embeddings


@pytest.mark.parametrize("accumulation", [1, 3])
def test_what_is_not_finite_ends_the_training_by_name(tmp_path, accumulation):
    faces, config = TinyFaces(), settings(tmp_path, f"accumulation={accumulation}")
    network = Poisoned(step=5 * accumulation, row=2)
    with pytest.raises(TrainingError) as error:
        train(config, network=network, faces=faces)
    step_5 = next(iter(GlobalBatches(faces.order, 12, seed=0, start=5)))
    assert "step 5, process 0: the gradients' norm is nan (loss: margin nan" in str(error.value)
    assert f"not finite are of picture {step_5[2][1]}. " in str(error.value)
    assert [*saved(tmp_path)] == [4]
    assert all(tensor.isfinite().all() for tensor in everything(saved(tmp_path)[4]).values())


def test_a_loss_without_a_number_names_the_batch(tmp_path):
    class Broken(CosFace):
        def forward(self, cosines, labels, norms=None):
            return super().forward(cosines, labels, norms) * math.inf

    with pytest.raises(TrainingError, match=r"step 0, .* the batch begins with picture \d+, "):
        trained(tmp_path, margin=Broken())


def test_an_overflow_of_float16_skips_the_step_and_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(setup, "LossScale", lambda: LossScale(2.0**24))
    changes = ("precision=fp16", "save_every=1", "keep=99", "schedule.epochs=6")
    trained(tmp_path, *changes)
    scales = [2.0**24, *metrics(tmp_path, "loss scale").values()]
    checkpoints = [*saved(tmp_path).values()]
    learnt = [parameters(found) for found in checkpoints]
    skipped = [torch.equal(*pair) for pair in pairwise(learnt)]
    halved = [checkpoint.facts["loss_scale"]["value"] for checkpoint in checkpoints]
    expected = [after < before for before, after in pairwise(halved)]
    assert skipped == expected
    assert sum(skipped) >= 3
    assert halved[-1] == halved[-2] < scales[0]
    losses = metrics(tmp_path)
    assert losses[24] < 0.3 * losses[1]


def test_in_float16_too_a_network_without_numbers_ends_the_training(tmp_path, monkeypatch):
    class Lost(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = tiny_network()

        def forward(self, x):
            return self.layers(x) * math.nan

    monkeypatch.setattr(setup, "LossScale", lambda: LossScale(4.0))
    with pytest.raises(TrainingError, match="step 3, process 0: the gradients' norm is nan"):
        trained(tmp_path, "precision=fp16", network=Lost())


def test_bfloat16_learns(tmp_path):
    trained(tmp_path, "precision=bf16", "average=0.9")
    losses = metrics(tmp_path)
    assert losses[12] < 0.3 * losses[1]


def test_what_is_recomputed_is_what_was_computed(tmp_path):
    """Also where branches are skipped by chance."""
    vectors = []
    for recompute in ("false", "true"):
        torch.manual_seed(0)
        network = VisionTransformer(width=64, depth=2, embedding_size=16, drop_path=0.5)
        changes = ("network.name=arcface_vit_t", f"recompute={recompute}", "schedule.epochs=0.5")
        vectors.append(parameters(trained(tmp_path / recompute, *changes, network=network)))
    assert torch.equal(*vectors)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_pictures_are_replaced_named_once_and_counted(tmp_path, capfd, workers):
    trained(tmp_path, f"data.workers={workers}", faces=TinyFaces(broken=(3, 4, 47)))
    said = capfd.readouterr().err
    for index in (3, 4, 47):
        assert said.count(f"skipped, cannot be read: picture {index}\n") == 1
    assert "3 pictures could not be read and were skipped" in said


def test_the_next_picture_takes_the_place_with_its_own_label():
    faces = Faces(TinyFaces(people=3, each=2, broken=(0, 1, 5)), settings("unused"))
    assert [faces[0, index][1:] for index in range(6)] == [
        (1, 2, (0, 1)),
        (1, 2, (1,)),
        (1, 2, ()),
        (1, 3, ()),
        (2, 4, ()),
        (1, 2, (5, 0, 1)),
    ]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("changes", "faces", "message"),
    [
        (["data.strict=true"], {"broken": (3,)}, "picture 3: cannot be read: as the test wants it"),
        ([], {"broken": range(48)}, r"picture \d+: cannot be read"),
        ([], {"size": 96}, r"picture \d+: it has 96x96 pixels, .* \(112, 112\): run .* data build"),
    ],
)
def test_pictures_that_end_the_training(tmp_path, workers, changes, faces, message):
    with pytest.raises(ImageError, match=f"^{message}"):
        trained(tmp_path, f"data.workers={workers}", *changes, faces=TinyFaces(**faces))


@pytest.mark.parametrize(
    ("changes", "faces", "message"),
    [
        (["data.batch=10", "accumulation=4"], {}, "batch=10 cannot .* take a multiple of 4"),
        (["data.batch=49"], {}, "an epoch of 48 samples has no batch of 49"),
        ([], {"unknown": range(8)}, "nobody is named in it: set head.loss=null"),
        ([], {"unknown": (2,)}, "tiny: 6 of 48 pictures are of nobody"),
        (["network.embedding_size=8"], {}, r"embedding_size=8, but .* embeddings \(2, 16\)"),
        (["head.arguments={margins: 1}"], {}, "head.arguments: cosface: .*'margins'"),
        (["head.arguments={scale: 0}"], {}, "head.arguments: cosface: the scale .* above 0"),
    ],
)
def test_what_does_not_fit_together_is_refused_with_nothing_written(
    tmp_path, changes, faces, message
):
    with pytest.raises(ConfigError, match=message):
        trained(tmp_path, *changes, faces=TinyFaces(**faces))
    assert not [*tmp_path.iterdir()]


def test_labels_without_a_name_are_refused(tmp_path):
    faces = TinyFaces()
    faces.class_names = faces.class_names[:-2]
    with pytest.raises(ConfigError, match=r"tiny: label 7 has no name among its 6 class_names"):
        trained(tmp_path, faces=faces)


def test_without_sets_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.sets is empty"):
        train(settings(tmp_path))


def test_a_margin_of_ones_own(tmp_path):
    trained(tmp_path / "given", margin=CosFace(margin=0.3, scale=8))
    trained(tmp_path / "named", "head.arguments={margin: 0.3, scale: 8}")
    assert metrics(tmp_path / "given") == metrics(tmp_path / "named")


def test_a_network_of_ones_own_is_built_again_by_its_owner(tmp_path):
    found = trained(tmp_path, "average=0.9")
    with pytest.raises(WeightsError, match="the network is one of your own"):
        network_of(tmp_path)
    network = network_of(tmp_path, tiny_network(seed=5))
    assert not network.training
    average = found.tensors("average")
    assert differing(network.state_dict(), average) == ["updates"]
    with pytest.raises(WeightsError, match="another network"):
        network_of(tmp_path, tiny_network(nn.BatchNorm2d(8)))
    assert int(average["updates"]) == 12
    assert differing(average, found.tensors("network")) != ["updates"]


def test_a_checkpoint_says_everything_about_itself(tmp_path):
    config = settings(tmp_path)
    facts = trained(tmp_path).facts
    assert parse_config(RecognitionConfig, json.dumps(facts["config"]), "facts") == config
    assert facts["class_names"] == [f"person {number}" for number in range(8)]
    assert {"mindface", "torch"} <= facts["versions"].keys()
    assert (facts["task"], facts["architecture"], facts["step"]) == ("recognition", None, 12)
