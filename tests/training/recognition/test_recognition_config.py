import pytest

from mindface.errors import ConfigError
from mindface.training.config import parse_config
from mindface.training.recognition.config import RecognitionConfig


def parsed(text):
    return parse_config(RecognitionConfig, text, "mine.yaml")


def test_nothing_needs_to_be_said():
    config = parsed("")
    assert config.network.arguments() == {"embedding_size": 512}
    assert (config.head.loss, config.data.batch) == ("arcface", 512)


def test_only_what_is_given_goes_to_the_network():
    config = parsed("network: {name: arcface_vit_t, drop_path: 0.2}")
    assert config.network.arguments() == {"embedding_size": 512, "drop_path": 0.2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: {name: arcface_r51}", "network.name=arcface_r51: no recogniser; there are arc"),
        ("network: {name: retinaface_resnet50}", "retinaface_resnet50: no recogniser"),
        ("head: {loss: arkface}", "head.loss=arkface: no loss; there are softmax, arcface"),
        ("recompute: true", "recompute is for the blocks of a ViT, and arcface_mobilefacenet"),
        ("fsdp: true", "fsdp is for the blocks of a ViT"),
        ("network: {name: arcface_vit_l}\nfsdp: true", "fsdp shards .*: set channels_last=false"),
        ("network: {drop_path: 0.1}", "network.drop_path is for the blocks of a ViT"),
        ("network: {mask_ratio: 0.1}", "network.mask_ratio is for the blocks of a ViT"),
        ("head: {loss: null}", "without head.loss and distillation.teachers nothing is learnt"),
        ("head: {start: 2}", "without teachers nothing is learnt before head.start=2"),
        ("distillation: {teachers: [a.onnx], cosine: 0}", "teachers teach nothing"),
        ("network: {weights: r50.pth}", "verification must name a set that tells whether"),
        ("seed: -1", "seed=-1: should be greater than or equal to 0"),
        ("data: {batch: 0}", "data.batch=0: should be greater than or equal to 1"),
        ("data: {sets: [faces]}", "data.sets.0"),
        ("head: {rate: 0}", "head.rate=0: should be greater than 0"),
        ("precision: fp8", "precision=\"fp8\": should be 'fp32', 'bf16' or 'fp16'"),
        ("lr: 0.1", "lr: no such key, did you mean optimizer.lr?"),
    ],
)
def test_what_cannot_be(text, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?").replace("[", r"\[")):
        parsed(text)


def test_all_that_cannot_be_is_said_at_once():
    with pytest.raises(ConfigError) as error:
        parsed("recompute: true\nhead: {loss: null}\nnetwork: {weights: r50.pth, drop_path: 0.1}")
    for part in ("recompute is", "network.drop_path is", "without head.loss", "verification must"):
        assert part in str(error.value)


def test_teachers_alone_are_enough():
    parsed("head: {loss: null}\ndistillation: {teachers: [a.onnx]}")
    parsed("head: {start: 3}\ndistillation: {teachers: [a.onnx], cosine: 0, relational: 1}")
