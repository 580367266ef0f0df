import pytest
import torch
from torch.nn import functional as F

from mindface.recognition.models.vit import Attention, VisionTransformer, attend, mask_tokens


@pytest.mark.parametrize(("ratio", "kept"), [(0.0, 144), (0.1, 129), (0.5, 72), (0.99, 1)])
def test_masking_zeroes_a_share_of_each_images_tokens(ratio: float, kept: int) -> None:
    torch.manual_seed(0)
    masked = mask_tokens(torch.ones(3, 144, 8), ratio)
    assert ((masked == 0) | (masked == 1)).all()
    assert (masked.sum(dim=(1, 2)) == kept * 8).all()
    if 0 < ratio < 0.9:
        assert not torch.equal(masked[0], masked[1])


def test_masking_and_stochastic_depth_act_in_training_only() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(16, depth=3, drop_path=0.9, mask_ratio=0.5)
    faces = torch.randn(4, 3, 112, 112)
    assert torch.equal(network.eval()(faces), network(faces))
    assert not torch.equal(network.train()(faces), network(faces))


def test_stochastic_depth_grows_with_depth_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    network = VisionTransformer(16, depth=3, drop_path=0.5)
    assert [block.drop_path for block in network.blocks] == [0.0, 0.25, 0.5]
    branch = network.blocks[2].train()._sometimes(torch.ones(4000, 2, 2))
    assert set(branch.unique().tolist()) == {0.0, 2.0}
    assert abs(branch.mean() - 1) < 0.1  # six standard deviations


def test_pixels_beyond_the_last_whole_patch_are_not_seen() -> None:
    network = VisionTransformer(16, depth=2).eval()
    face = torch.randn(1, 3, 112, 112)
    changed = face.clone()
    changed[:, :, 108:] = 0
    changed[:, :, :, 108:] = 0
    assert torch.equal(network(face), network(changed))


def test_attention_in_bfloat16_on_a_cpu_is_that_of_torch():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 8, 144, 32) for _ in range(3))
    expected = F.scaled_dot_product_attention(query, key, value, scale=0.2)
    torch.testing.assert_close(attend(query, key, value, 0.2), expected)
    layer = Attention(256)
    tokens = torch.randn(2, 144, 256)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(tokens)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), layer(tokens), atol=0.02, rtol=0.05)
