"""Gradients that are not finite are noticed and named."""

import pytest
import torch
from torch import nn

from dnnlib.errors import NumericalError
from torch_utils.gradients import check_finite_, global_norm


def network() -> nn.Sequential:
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 1e30)  # its square overflows, and yet it is finite
    net[0].bias.grad = None
    return net


def test_finite_gradients_pass() -> None:
    check_finite_(network().named_parameters(), 'G', 3)
    check_finite_(nn.Linear(2, 2).named_parameters(), 'G', 3)
    check_finite_([], 'G', 3)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf')])
@pytest.mark.parametrize('name', ['0.weight', '3.bias'])
def test_one_bad_element_is_found(name, value) -> None:
    net = network()
    net.get_parameter(name).grad.view(-1)[2] = value
    with pytest.raises(NumericalError, match=rf"Step 17, phase 'D_reg': .* 1 of 7 tensors .*\({name}\)"):
        check_finite_(net.named_parameters(), 'D_reg', 17)


def test_many_bad_tensors_are_summarised() -> None:
    net = network()
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(float('nan'))
    with pytest.raises(NumericalError, match=r'7 of 7 tensors .* and 2 more'):
        check_finite_(net.named_parameters(), 'G', 0)


def test_global_norm() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    assert global_norm(net.parameters()).item() == 0
    net(torch.ones(2, 3)).sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).norm()
    torch.testing.assert_close(global_norm(net.parameters()), expected)
