import pytest
import torch
from torch import nn

from mindface.training.muon import Muon
from mindface.training.optimizers import Optimizer, build_optimizer, parameter_groups


def gradients(*parameters, seed=0):
    torch.manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (32, 16, 3, 3)])
def test_a_matrix_moves_by_an_orthogonal_one_of_adamws_size(shape):
    parameter = nn.Parameter(torch.zeros(shape))
    gradients(parameter)
    group = {"params": [parameter], "weight_decay": 0.0}
    Muon([group], lr=0.1).step()
    matrix = parameter.detach().flatten(1)
    values = torch.linalg.svdvals(matrix) / (0.1 * 0.2 * max(matrix.shape) ** 0.5)
    assert values.min() > 0.6
    assert values.max() < 1.25
    assert (parameter.detach() * parameter.grad).sum() < 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
@pytest.mark.parametrize("shape", [(24, 40), (40, 24)])
def test_matrices_move_as_torchs_muon_moves_them(shape):
    torch.manual_seed(1)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().clone())
    mine = Muon([{"params": [ours], "weight_decay": 0.1}], lr=0.02, momentum=0.9)
    other = torch.optim.Muon(
        [theirs], 0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw"
    )
    for seed in range(4):
        gradients(ours, theirs, seed=seed)
        theirs.grad = ours.grad.clone()
        mine.step()
        other.step()
    # torch's iterations are in bfloat16, and its momentum is a mean where ours is a sum
    assert torch.allclose(ours, theirs, atol=0.01)


def test_all_others_move_as_adamw_moves_them():
    torch.manual_seed(2)
    ours = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Linear(8, 4))
    theirs = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.Linear(8, 4))
    theirs.load_state_dict(ours.state_dict())
    pair = [
        build_optimizer(parameter_groups(network, 0.1), Optimizer(name=name, lr=0.01))
        for network, name in ((ours, "muon"), (theirs, "adamw"))
    ]
    for seed in range(5):
        for network, optimizer in zip((ours, theirs), pair, strict=True):
            gradients(*network.parameters(), seed=seed)
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(mine, other, atol=1e-6)


def test_what_has_no_gradient_stays():
    network = nn.Linear(32, 32)
    before = network.weight.detach().clone()
    gradients(network.bias)
    build_optimizer(parameter_groups(network, 0.1), Optimizer(name="muon", lr=0.1)).step()
    assert torch.equal(network.weight, before)
