"""Laws of the losses: what they are at known points, and whose gradient they are."""

import math

import torch

from torch_utils.rng import Stream
from training.losses.adversarial import discriminator_loss_on_fakes, discriminator_loss_on_reals, generator_loss
from training.losses.density import density_smoothness, neighbouring_points
from training.losses.gradient_penalty import gradient_penalty


def test_an_undecided_discriminator_costs_log_two() -> None:
    zero = torch.zeros(3)
    for loss in (generator_loss, discriminator_loss_on_fakes, discriminator_loss_on_reals):
        torch.testing.assert_close(loss(zero), torch.full((3,), math.log(2)))


def test_the_two_sides_want_the_opposite() -> None:
    logits = torch.linspace(-40, 40, 9)
    torch.testing.assert_close(generator_loss(logits), discriminator_loss_on_fakes(-logits))
    assert torch.isfinite(generator_loss(logits * 100)).all(), 'a very confident discriminator must not make the loss infinite'
    assert (generator_loss(logits).diff() < 0).all()
    assert (discriminator_loss_on_fakes(logits).diff() > 0).all()


def test_r1_of_a_linear_discriminator_is_the_square_of_its_weights() -> None:
    weight = torch.randn(3, 4, 4)
    image = torch.randn(5, 3, 4, 4, requires_grad=True)
    raw = torch.randn(5, 3, 2, 2, requires_grad=True)
    logits = (image * weight).sum(dim=(1, 2, 3)) + 2 * raw.sum(dim=(1, 2, 3))
    torch.testing.assert_close(gradient_penalty(logits, [image]), weight.square().sum().expand(5))
    torch.testing.assert_close(gradient_penalty(logits, [image, raw]), (weight.square().sum() + 4 * raw[0].numel()).expand(5))
    torch.testing.assert_close(gradient_penalty(logits, [image, image]), weight.square().sum().expand(5), msg='it was seen as its own raw picture')


def test_r1_can_be_differentiated_again() -> None:
    weight = torch.randn(3, requires_grad=True)
    image = torch.randn(2, 3, 1, 1, requires_grad=True)
    gradient_penalty((image.flatten(1).square() * weight).sum(dim=1), [image]).sum().backward()
    torch.testing.assert_close(weight.grad, (8 * weight * image.flatten(1).square().sum(dim=0)).detach())


def test_neighbours_are_near_and_the_box_is_filled_but_not_left() -> None:
    stream = Stream(seed=1, step=0, rows=(0, 1, 2))
    points = neighbouring_points(stream, 4000, 0.004, box_side=1.6, region='box', device=torch.device('cpu'))
    first, second = points.chunk(2, dim=1)
    assert points.shape == (3, 8000, 3)
    assert first.abs().max() <= 0.8 and first.abs().max() > 0.79
    assert abs((second - first).std().item() / 0.004 - 1) < 0.03
    published = neighbouring_points(stream, 4000, 0.004, box_side=0.5, region='EG3D_2022', device=torch.device('cpu'))
    assert published.abs().max() > 0.9, 'the published points ignore the box'


def test_density_smoothness_of_a_slope_is_the_slope_times_the_distance() -> None:
    points = torch.zeros(2, 6, 3)
    points[:, 3:, 0] = 0.25
    torch.testing.assert_close(density_smoothness(lambda p: 3 * p[..., :1], points), torch.full((2,), 0.75))
