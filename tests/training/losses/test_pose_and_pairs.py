"""Laws of the losses of poses and of pairs."""

import math

import pytest
import torch

from training.cameras.rig import bounded
from training.losses.adversarial import (
    discriminator_loss_on_fakes,
    discriminator_loss_on_pairs,
    discriminator_loss_on_reals,
    generator_loss,
)
from training.losses.pose import pose_error


def codes(*yaws_deg: float) -> torch.Tensor:
    yaw = torch.deg2rad(torch.tensor(yaws_deg))
    return torch.stack([yaw.sin(), yaw.cos(), torch.zeros_like(yaw)], dim=1)


def test_the_pose_error_is_a_distance_of_views() -> None:
    """0 for one view, 4/3 for opposite ones, growing in between, and without a seam behind."""
    front = codes(*[0.0] * 5)
    error = pose_error(codes(0, 10, 90, 170, 180), front)
    torch.testing.assert_close(error[[0, 2, 4]], torch.tensor([0.0, 2 / 3, 4 / 3]))
    assert (error.diff() > 0).all()
    torch.testing.assert_close(pose_error(codes(179), codes(-179)), pose_error(codes(1), codes(-1)))


def test_an_unsure_answer_costs_less_than_a_wrong_one() -> None:
    """A reader that halves the length of its vector where it must guess between opposite views is right to do so."""
    guess = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    both_ways = pose_error(guess, codes(0, 0)) + pose_error(guess, codes(180, 180))
    assert both_ways[1] < both_ways[0]


def test_columns_beyond_the_pose_are_no_pose() -> None:
    learned = torch.cat([codes(30, 60), torch.full((2, 4), 9.0)], dim=1)
    torch.testing.assert_close(pose_error(codes(30, 60), learned), torch.zeros(2))


def test_the_gradient_of_the_pose_error_turns_towards_the_code() -> None:
    numbers = torch.tensor([[0.3, 0.1, 0.0]], requires_grad=True)
    pose_error(bounded(numbers), codes(0)).sum().backward()
    assert numbers.grad[0, 0] > 0, 'the yaw has to fall'
    assert numbers.grad[0, :2] @ numbers.detach()[0, :2] == pytest.approx(0, abs=1e-6), 'a code knows no length'


def test_pairs_are_a_tug_of_war() -> None:
    """The gradients of the two sides of a pair are opposite wherever it is even, and each side's is the same on its two pictures."""
    fake, real = torch.randn(9, requires_grad=True), torch.randn(9, requires_grad=True)
    of_discriminator = torch.autograd.grad(discriminator_loss_on_pairs(fake, real).sum(), [fake, real])
    of_generator = torch.autograd.grad(generator_loss(fake, real).sum(), [fake, real])
    torch.testing.assert_close(of_discriminator[0], -of_discriminator[1])
    torch.testing.assert_close(of_generator[0], -of_generator[1])
    assert (of_discriminator[0] > 0).all() and (of_generator[0] < 0).all()
    torch.testing.assert_close(of_discriminator[0] - of_generator[0], torch.ones(9))
    even = torch.zeros(1, requires_grad=True)
    (up,), (down,) = (torch.autograd.grad(loss(even, torch.zeros(1)).sum(), even) for loss in (generator_loss, discriminator_loss_on_pairs))
    torch.testing.assert_close(up, -down)


def test_a_pair_knows_only_differences() -> None:
    fake, real = torch.randn(9), torch.randn(9)
    for loss in (generator_loss, discriminator_loss_on_pairs):
        torch.testing.assert_close(loss(fake + 5, real + 5), loss(fake, real), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(generator_loss(fake, real), discriminator_loss_on_pairs(real, fake))
    torch.testing.assert_close(discriminator_loss_on_pairs(fake, fake), torch.full((9,), math.log(2)))


def test_beside_an_undecided_partner_a_pair_is_the_usual_game() -> None:
    logits, zero = torch.randn(9), torch.zeros(9)
    torch.testing.assert_close(generator_loss(logits, zero), generator_loss(logits))
    torch.testing.assert_close(discriminator_loss_on_pairs(logits, zero), discriminator_loss_on_fakes(logits))
    torch.testing.assert_close(discriminator_loss_on_pairs(zero, logits), discriminator_loss_on_reals(logits))
