"""The damages of the audit are what they say."""

import torch

from metrics.damage import blurred, rearranged_quarters
from metrics.photo_features.audit import controls
from metrics.photo_features.photographs import Photographs


def test_blur_keeps_the_mean_of_a_flat_image_and_removes_detail():
    flat = torch.full((1, 3, 16, 16), 0.25)
    assert torch.allclose(blurred(flat, 1.2), flat, atol=1e-6)
    noise = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert blurred(noise, 2.0).std() < blurred(noise, 0.7).std() < noise.std()


def test_shuffled_patches_are_the_same_pixels_elsewhere():
    images = torch.arange(6 * 3 * 8 * 8, dtype=torch.float32).view(6, 3, 8, 8)
    moved = rearranged_quarters(images, torch.tensor([[3, 1, 0, 2]]).expand(6, -1))
    assert not torch.equal(moved, images)
    assert torch.equal(moved.flatten(2).sort(-1).values, images.flatten(2))
    assert torch.equal(moved[:, :, :4, :4], images[:, :, 4:, 4:]) and torch.equal(moved[:, :, 4:, :4], images[:, :, :4, :4])


def test_controls_have_the_number_and_classes_that_they_name():
    labels = torch.arange(4).repeat_interleave(20)
    part = Photographs('p', torch.arange(80, dtype=torch.uint8).view(80, 1, 1, 1).expand(80, 3, 8, 8), labels, labels < 0, 0, 4)
    found = dict(controls(part, torch.arange(80), 20, seed=0))
    assert all(images.shape == (20, 3, 8, 8) for images in found.values())
    two = ((found['2 of 4 classes'][:, 0, 0, 0] + 1) * 127.5).round().long()
    assert set(labels[two].tolist()) == {0, 1} and '1 of 4 classes' in found
