"""The fading blur: the published width, nothing below a third of a pixel, brightness kept."""

import pytest
import torch

from training.augment.blur import blur, gaussian_taps


def test_taps_follow_the_published_law():
    taps = gaussian_taps(2.0, torch.device('cpu'))
    assert len(taps) == 13 and taps.sum().item() == pytest.approx(1)
    assert (taps[6 + 2] / taps[6]).item() == pytest.approx(0.5)  # base 2: half the weight at one sigma


def test_blur():
    images = torch.rand(2, 3, 24, 24)
    assert blur(images, 0.3) is images
    torch.testing.assert_close(blur(torch.ones(1, 1, 24, 24), 2.0)[..., 6:-6, 6:-6], torch.ones(1, 1, 12, 12))
    impulse = torch.zeros(1, 1, 13, 13)
    impulse[0, 0, 6, 6] = 1
    taps = gaussian_taps(2.0, torch.device('cpu'))
    torch.testing.assert_close(blur(impulse, 2.0)[0, 0], torch.outer(taps, taps))
