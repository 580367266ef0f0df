import pickle

import numpy as np
import pytest
import torch
from tiny import (
    Colors,
    TinyFaces,
    metrics,
    picture,
    settings,
    tiny_network,
    trained,
    write_faces,
)
from torch import nn

from mindface.errors import ConfigError, ImageError, IntegrityError
from mindface.training.networks import network_of
from mindface.training.recognition.verifier import Verifier

CPU = torch.device("cpu")


def bin_file(path, size=112, pairs=20):
    """InsightFace's verification set: as many pairs of one person as of two."""
    rng = np.random.default_rng(0)
    pictures, same = [], []
    for number in range(pairs):
        first, second = rng.choice(8, 2, replace=False)
        other = first if number % 2 else second
        pictures += [picture(int(first), number, size), picture(int(other), number + 50, size)]
        same.append(bool(number % 2))
    path.write_bytes(pickle.dumps((pictures, same), protocol=2))
    return path


def verifier(*sets):
    listed = ", ".join(f"{{path: '{path}'}}" for path in sets)
    return Verifier(settings("unused", f"verification=[{listed}]"))


class Same(nn.Module):
    """Every face has the same embedding."""

    def forward(self, x):
        return torch.ones(len(x), 16)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return bin_file(folder / "ovals.bin"), write_faces(folder / "held_out", people=4)


def test_a_network_that_tells_all_apart_and_one_that_tells_none(sets):
    measure = verifier(*sets)
    perfect, blind = measure(Colors(), CPU), measure(Same(), CPU)
    assert perfect == {
        "ovals.bin/auc": 1.0,
        "ovals.bin/accuracy": 1.0,
        "held_out/auc": 1.0,
    }
    assert blind == {"ovals.bin/auc": 0.5, "ovals.bin/accuracy": 0.5, "held_out/auc": 0.5}
    assert (Verifier.score(perfect), Verifier.score(blind)) == (1.0, 0.5)
    assert Verifier.score({"a/auc": 0.5, "b/auc": 0.7}) == pytest.approx(0.6)
    assert Verifier.score({"a/auc": 0.5, "b/accuracy": 0.7, "c/accuracy": 0.9}) == 0.8


def test_rates_need_impostors_enough(tmp_path):
    measure = verifier(write_faces(tmp_path / "many", people=78, each=2))
    assert measure(Colors(), CPU).keys() == {"many/auc", "many/tar@1e-3"}


def test_it_looks_at_each_face_and_its_mirror_image(sets):
    network, seen = Colors(), []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.train()
    verifier(sets[1])(network, CPU)
    images, mirrored = seen
    assert images.shape == (24, 3, 112, 112)
    assert torch.equal(images.flip(3), mirrored)
    assert -1 <= images.min() < -0.5
    assert 0.5 < images.max() <= 1
    assert not network.training


def test_sets_of_one_name_are_called_by_their_paths(tmp_path):
    first, second = (write_faces(tmp_path / side / "faces", people=2) for side in "ab")
    assert verifier(first, second)(Same(), CPU) == {f"{first}/auc": 0.5, f"{second}/auc": 0.5}


def test_a_list_of_pairs(tmp_path):
    write_faces(tmp_path / "faces", people=2, each=2)
    rows = ["a,b,same", "0/0-0.png,0/0-1.png,1", "1/1-0.png,1/1-1.png,1", "0/0-0.png,1/1-0.png,0"]
    (tmp_path / "pairs.csv").write_text("\n".join(rows))
    given = f"verification=[{{path: {tmp_path}/pairs.csv, images: {tmp_path}/faces}}]"
    figures = Verifier(settings("unused", given))(Colors(), CPU)
    assert figures["pairs.csv/auc"] == 1.0


def small(folder):
    return bin_file(folder / "small.bin", size=96)


def damaged(folder):
    content = bin_file(folder / "damaged.bin").read_bytes()
    (folder / "damaged.bin").write_bytes(content[:1000])
    return folder / "damaged.bin"


def one_person(folder):
    return write_faces(folder / "one", people=1)


def unreadable(folder):
    write_faces(folder / "torn", people=2)
    (folder / "torn" / "0" / "0-0.png").write_bytes(b"no picture")
    return folder / "torn"


def empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (small, ImageError, r"small\.bin\[0\]: it has 96x96 pixels"),
        (damaged, IntegrityError, r"damaged\.bin"),
        (one_person, ConfigError, r"verification set .*one: .* 0 impostor pairs"),
        (unreadable, ImageError, r"torn/0/0-0\.png: "),
        (empty, ImageError, "empty: no folder, or one without a photo"),
    ],
)
def test_sets_that_cannot_be_used_are_refused_before_the_training(tmp_path, write, error, message):
    path = write(tmp_path)
    output = tmp_path / "run"
    with pytest.raises(error, match=message):
        trained(output, f"verification=[{{path: '{path}'}}]")
    assert not output.exists()


def test_while_it_trains_the_averaged_weights_are_measured(tmp_path, sets, capsys):
    given = f"verification=[{{path: '{sets[0]}'}}, {{path: '{sets[1]}'}}]"
    found = trained(tmp_path, given, "verify_every=5", "average=0.9", "keep=9")
    areas = metrics(tmp_path, "held_out/auc")
    assert [*areas] == [5, 10, 12]
    assert areas[12] > 0.8
    figures = verifier(*sets)(network_of(found.folder, tiny_network()), CPU)
    assert figures == found.facts["verification"]
    assert found.facts["score"] == figures["ovals.bin/accuracy"]
    assert "verification at step 12: ovals.bin/auc " in capsys.readouterr().err


def test_the_same_is_learnt_with_and_without_verification(tmp_path, sets):
    trained(tmp_path / "with", f"verification=[{{path: '{sets[1]}'}}]", "verify_every=1")
    trained(tmp_path / "without")
    assert metrics(tmp_path / "with") == metrics(tmp_path / "without")


def test_verification_that_does_not_follow_the_loss_is_called_out(tmp_path, capsys):
    """Its people are mixed up: who is called by one name are different people."""
    mixed = write_faces(tmp_path / "mixed", place=lambda person, number: (person + number) % 8)
    trained(tmp_path / "run", f"verification=[{{path: '{mixed}'}}]", faces=TinyFaces())
    said = capsys.readouterr().err
    assert "warning: the loss falls, but verification is no better than chance" in said
