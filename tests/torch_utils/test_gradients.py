"""Gradients that are not finite are noticed and named, at once or a step late, and never reach a weight."""

import pytest
import torch
from torch import nn

from dnnlib.errors import NumericalError
from torch_utils.gradients import Watch, gradient_norms


def network() -> nn.Sequential:
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(4)])
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 1e15)
    net[0].bias.grad = None
    return net


def watch(net: nn.Module, phase: str = 'G', step: int = 3) -> None:
    Watch(late=False).note(gradient_norms(net.named_parameters()), phase, step)


def test_finite_gradients_pass() -> None:
    watch(network())
    watch(nn.Linear(2, 2))  # there are none


@pytest.mark.parametrize('value', [float('nan'), float('inf'), float('-inf'), 1e30], ids=str)
@pytest.mark.parametrize('name', ['0.weight', '3.bias'])
def test_one_bad_element_is_found(name, value) -> None:
    """1e30 is finite, but the second moment that Adam would make of it is not: the weight would stand still for ever."""
    net = network()
    net.get_parameter(name).grad.view(-1)[2] = value
    with pytest.raises(NumericalError, match=rf"Step 17, phase 'D_reg': .* 1 of 7 tensors .*\({name}\)"):
        watch(net, 'D_reg', 17)


def test_many_bad_tensors_are_summarised() -> None:
    net = network()
    for parameter in net.parameters():
        if parameter.grad is not None:
            parameter.grad.fill_(float('nan'))
    with pytest.raises(NumericalError, match=r'7 of 7 tensors .* and 2 more'):
        watch(net)


def test_a_late_watch_reads_what_was_noted_before() -> None:
    net, late = network(), Watch(late=True)
    late.note(gradient_norms(net.named_parameters()), 'G', 4)
    net[1].bias.grad.fill_(float('nan'))
    late.note(gradient_norms(net.named_parameters()), 'D', 4)
    net[1].bias.grad.fill_(0.0)  # gradients are gone by the time that they are asked about
    late.raise_if_spoilt(before_step=4)
    with pytest.raises(NumericalError, match=r"Step 4, phase 'D': .* \(1.bias\)"):
        late.raise_if_spoilt(before_step=5)


def test_a_late_watch_can_be_asked_for_everything() -> None:
    net, late = network(), Watch(late=True)
    net[1].bias.grad.fill_(float('nan'))
    late.note(gradient_norms(net.named_parameters()), 'G', 4)
    with pytest.raises(NumericalError):
        late.raise_if_spoilt()
    late.raise_if_spoilt()


def test_a_fused_optimiser_takes_no_spoilt_step() -> None:
    net = network()
    optimiser = torch.optim.Adam(net.parameters(), fused=True)
    optimiser.found_inf = gradient_norms(net.named_parameters()).spoilt
    assert optimiser.found_inf == 0
    optimiser.step()
    before = [tensor.clone() for state in optimiser.state.values() for tensor in state.values()] + [p.clone() for p in net.parameters()]
    net[2].weight.grad[1, 1] = float('nan')
    optimiser.found_inf = gradient_norms(net.named_parameters()).spoilt
    optimiser.step()
    after = [tensor for state in optimiser.state.values() for tensor in state.values()] + list(net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_the_total_is_the_norm_of_all() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    assert gradient_norms(net.named_parameters()).total == 0
    net(torch.ones(2, 3)).sum().backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).norm()
    torch.testing.assert_close(gradient_norms(net.named_parameters()).total, expected)
