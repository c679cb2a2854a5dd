"""The table of layers adds up."""

import torch
from torch import Tensor, nn

from torch_utils.summary import count_parameters, layer_table


class Network(nn.Module):
    """Two layers, one of them called twice, a weight of its own, and one that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.spare = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {'y': self.norm(self.first(self.first(x))) * self.scale}


def test_table() -> None:
    network = Network().eval()
    lines = layer_table(network, torch.zeros(5, 3)).splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows['first'] == ['first', '12', '0', '[5,', '3]', 'float32']
    assert rows['norm'][1:3] == ['6', '7']
    assert rows['spare'] == ['spare', '6', '0', '-', '-']
    assert rows['total'][1:3] == ['25', '7']
    body = lines[2:-2]
    assert (
        sum(int(line.replace('(itself)', '').split()[-5 if '[' in line else -4]) for line in body if line.strip())
        == 25
        == count_parameters(network)
    )
    assert not network.first._forward_hooks


def test_shared_weights_count_once() -> None:
    layer = nn.Linear(2, 2)
    assert count_parameters(nn.Sequential(layer, layer)) == 6
