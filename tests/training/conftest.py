import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """More threads gain nothing on small tensors, and sums would depend on how many there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
