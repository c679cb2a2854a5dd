"""Laws of the augmentation pipe: exact where it can be, reversible where it should be, and blind to the batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.augment import geometry
from training.augment.colour import brightness, contrast, hue, luma_flip, recolour, saturation
from training.augment.corruption import BAND_POWER, convolve_reflected, filter_bank
from training.augment.draws import Draws
from training.augment.geometry import blit, draw_moves, margins, reflected, rotation, scaling, translation, warp
from training.augment.pipe import AUGMENT_PRESETS, AugmentConfig, AugmentPipe
from training.augment.wavelets import SYM2, SYM6


def stream(n, step=0):
    return Stream(seed=3, step=step, phase='test', rows=tuple(range(n)))


def pictures(n=2, size=16, channels=3, dtype=torch.float32):
    """Smooth and different in every pixel, so that moving one shows."""
    noise = torch.randn(n, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    return F.interpolate(noise, (size, size), mode='bicubic').clamp(-1, 1)


def some(value):
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize('name', AUGMENT_PRESETS)
def test_nothing_happens_at_probability_zero(name):
    images = pictures()
    assert AugmentPipe(AUGMENT_PRESETS[name])(images, 0.0, stream(2)) is images
    assert AugmentPipe(AUGMENT_PRESETS['off'])(images, 1.0, stream(2)) is images


@pytest.mark.parametrize('name', ['blit', 'geom', 'color', 'filter', 'noise', 'cutout', 'bgc', 'bgcfnc'])
def test_a_sample_does_not_depend_on_its_batch(name):
    images, pipe = pictures(12), AugmentPipe(AUGMENT_PRESETS[name])
    together = pipe(images, 0.6, stream(12))
    assert together.isfinite().all() and not torch.equal(together, images)
    for a, b in ((0, 1), (1, 5), (5, 12)):
        torch.testing.assert_close(pipe(images[a:b], 0.6, stream(12).for_rows(a, b)), together[a:b], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('name', ['blit', 'geom', 'color', 'filter', 'cutout'])
def test_raw_companion_is_treated_alike(name):
    images = pictures(6)
    both = AugmentPipe(AUGMENT_PRESETS[name])(torch.cat([images, images], dim=1), 1.0, stream(6))
    torch.testing.assert_close(both[:, :3], both[:, 3:])
    torch.testing.assert_close(both[:, :3], AugmentPipe(AUGMENT_PRESETS[name])(images, 1.0, stream(6)))


@pytest.mark.parametrize('name', ['bgc', 'bgcfnc'])
def test_twice_differentiable(name):
    """The pipe is linear in the image (up to a constant), so finite differences are exact and may step far."""
    pipe = AugmentPipe(AUGMENT_PRESETS[name])
    images = pictures(3, 8, dtype=torch.float64).requires_grad_()

    def function(x):
        return pipe(x, 0.9, stream(3)).square()

    assert torch.autograd.gradcheck(function, images, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, images, fast_mode=True)


def test_probability_of_being_untouched():
    """At p < 1 each transform leaves a sample alone with probability about 1 - p or more: what does not happen to most cannot leak."""
    n, p = 4000, 0.4
    config = AugmentConfig(xflip=1.0, rotate90=1.0)
    moves = draw_moves(config, p, Draws(stream(n)), 32)
    turns = torch.bincount(moves.quarters, minlength=4) / n
    expected = torch.tensor([1 - p + p / 4, p / 4, p / 4, p / 4])
    torch.testing.assert_close(turns, expected, atol=0.03, rtol=0)
    assert moves.mirrored.double().mean().item() == pytest.approx(p / 2, abs=0.03)
    rotates = draw_moves(AugmentConfig(rotate=1.0), p, Draws(stream(n)), 32).warps.double().mean().item()
    assert rotates == pytest.approx(p, abs=0.03), 'two chances to rotate come to p together'


def test_distribution_can_be_read_through_the_pipe():
    """Non-leaking (section 3.1 of the paper): the map from distributions to augmented distributions is invertible for p < 1.

    Two kinds of images, lit from above and from below, augmented by quarter turns: the mean image tells their shares, shrunk by 1 - p.
    """
    from_above = torch.linspace(1, -1, 8)[:, None].expand(3, 8, 8)
    share, n, p = 0.8, 4000, 0.5
    kinds = torch.where(torch.arange(n)[:, None, None, None] < share * n, from_above, -from_above)
    mean = AugmentPipe(AugmentConfig(rotate90=1.0))(kinds, p, stream(n)).mean(0)
    torch.testing.assert_close(mean, from_above * (2 * share - 1) * (1 - p), atol=0.05, rtol=0)


def test_errors():
    pipe = AugmentPipe(AUGMENT_PRESETS['bg'])
    with pytest.raises(ValueError, match='square'):
        pipe(torch.zeros(1, 3, 4, 8), 1.0, stream(1))
    with pytest.raises(ValueError, match='rows'):
        pipe(torch.zeros(2, 3, 8, 8), 1.0, stream(1))
    with pytest.raises(ValueError, match='probability'):
        pipe(torch.zeros(1, 3, 8, 8), 1.5, stream(1))
    with pytest.raises(UsageError, match='augment.xflip'):
        AugmentConfig(xflip=-1.0)
    with pytest.raises(UsageError, match='augment.imgfilter_bands'):
        AugmentConfig(imgfilter_bands=(1.0, 1.0, math.nan, 1.0))


def test_presets():
    on = {'xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac', 'brightness', 'contrast', 'lumaflip', 'hue', 'saturation'}
    assert AUGMENT_PRESETS['bgcfnc'] == replace(AugmentConfig(), **dict.fromkeys(on | {'imgfilter', 'noise', 'cutout'}, 1.0))
    assert AUGMENT_PRESETS['eg3d'] == AUGMENT_PRESETS['bgc'] == replace(AugmentConfig(), **dict.fromkeys(on, 1.0))


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('quarters', [0, 1, 2, 3])
def test_blits_are_exact(mirrored, quarters):
    images = pictures(1, 12)
    expected = torch.rot90(images.flip(3) if mirrored else images, quarters, (2, 3))
    ours = blit(images, torch.tensor([mirrored]), torch.tensor([quarters]), torch.zeros(1, 2, dtype=torch.int64))
    assert torch.equal(ours, expected)
    shifted = blit(images, torch.tensor([mirrored]), torch.tensor([quarters]), torch.tensor([[2, -3]]))
    assert torch.equal(shifted, F.pad(expected, (2, 0, 0, 3), mode='reflect')[:, :, 3:, :12])


def test_mirroring_by_the_pipe_is_exact():
    images = pictures(16)
    ours = AugmentPipe(AugmentConfig(xflip=1.0))(images, 1.0, stream(16))
    mirrored = draw_moves(AugmentConfig(xflip=1.0), 1.0, Draws(stream(16)), 16).mirrored
    assert 0 < mirrored.sum() < 16
    assert torch.equal(ours, torch.where(mirrored[:, None, None, None], images.flip(3), images))


@pytest.mark.parametrize('size', [1, 2, 5])
def test_reflection(size):
    index = np.arange(-3 * size, 4 * size)
    expected = np.pad(np.arange(size), (3 * size, 3 * size), mode='reflect')
    assert (reflected(torch.from_numpy(index), size).numpy() == expected).all()


def test_warp_that_stays_is_the_identity():
    images = pictures()
    torch.testing.assert_close(warp(images, torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)), images, atol=2e-6, rtol=0)


def test_warp_by_whole_pixels_is_the_shift():
    images = pictures()
    still = torch.zeros(2, dtype=torch.int64)
    shift = torch.tensor([[2, -3], [-1, 4]])
    expected = blit(images, still.bool(), still, shift)
    torch.testing.assert_close(warp(images, translation(-shift.double())), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize('inverse, expected', [
    (rotation(some(math.pi / 2)), lambda x: torch.rot90(x, 1, (2, 3))),
    (rotation(some(math.pi)), lambda x: torch.rot90(x, 2, (2, 3))),
    (scaling(some(-1.0), some(1.0)), lambda x: x.flip(3)),
])  # fmt: skip
def test_warp_agrees_with_blits(inverse, expected):
    """Not bit for bit, because the wavelet is not quite symmetric. A smooth picture, where a hundredth of a pixel of offset would show."""
    x = torch.linspace(-1, 1, 32)
    images = ((2 * x[None, :] + x[:, None]).sin() * 0.8).expand(1, 3, 32, 32)
    error = (warp(images, inverse) - expected(images)).abs()
    assert error[..., 10:-10, 10:-10].max() < 1e-3
    assert error.max() < 0.03, 'the reflection at the edges has a kink, which the wavelet sees askew'


def test_warp_moves_a_plane_to_where_the_matrix_says():
    """A brightness that rises linearly has a value at every real position, so sampling it is arithmetic."""
    size = 32
    centres = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    x, y = centres.expand(size, size), centres[:, None].expand(size, size)
    image = (0.02 * x + 0.01 * y).expand(1, 3, size, size)
    inverse = rotation(some(0.4)) @ scaling(some(0.8), some(0.9)) @ translation(torch.tensor([[1.3, -0.6]], dtype=torch.float64))
    points = inverse[0] @ torch.stack([x.flatten(), y.flatten(), torch.ones(size * size, dtype=torch.float64)])
    expected = (0.02 * points[0] + 0.01 * points[1]).view(size, size)
    inner = slice(8, -8)  # where no reflection is seen
    torch.testing.assert_close(warp(image, inverse)[0, 0, inner, inner], expected[inner, inner], atol=2e-3, rtol=0)


def test_matrices_and_convolutions_agree(monkeypatch):
    images = pictures(3, 16, dtype=torch.float64)
    inverse = draw_moves(AUGMENT_PRESETS['geom'], 1.0, Draws(stream(3)), 16).warp
    by_matrices = warp(images, inverse)
    monkeypatch.setattr(geometry, 'MATRIX_SIZE', 0)
    torch.testing.assert_close(by_matrices, warp(images, inverse), atol=1e-6, rtol=1e-6)


def test_margins_cover_and_do_not_waste():
    still = torch.eye(3, dtype=torch.float64)[None]
    assert margins(still, 32) == (7, 7, 7, 7)
    assert margins(translation(some(5.0).expand(1, 2)), 32) == (2, 12, 2, 12)
    assert margins(scaling(some(50.0), some(50.0)), 32) == (31, 31, 31, 31)


def test_sym_filters_are_orthogonal_to_their_shifts():
    for taps in (np.array(SYM2), np.array(SYM6)):
        correlation = np.correlate(taps, taps, 'full')[len(taps) - 1 :: 2]
        np.testing.assert_allclose(correlation, [1] + [0] * (len(correlation) - 1), atol=1e-10)
        assert taps.sum() == pytest.approx(math.sqrt(2))


def test_luma_flip_undoes_itself_and_keeps_chroma():
    flip = luma_flip(torch.tensor([True]))
    torch.testing.assert_close(flip @ flip, torch.eye(4, dtype=torch.float64)[None])
    colour = torch.tensor([0.7, -0.2, 0.1, 1.0], dtype=torch.float64)
    flipped = flip[0] @ colour
    assert flipped[:3].mean().item() == pytest.approx(-colour[:3].mean().item())
    torch.testing.assert_close(flipped[:3] - flipped[:3].mean(), colour[:3] - colour[:3].mean())


def test_hue_is_a_rotation_about_grey():
    torch.testing.assert_close(hue(some(2 * math.pi)), torch.eye(4, dtype=torch.float64)[None])
    torch.testing.assert_close(hue(some(0.5)) @ hue(some(0.7)), hue(some(1.2)))
    matrix = hue(some(1.0))[0, :3, :3]
    torch.testing.assert_close(matrix @ matrix.t(), torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(matrix.sum(1), torch.ones(3, dtype=torch.float64))
    third = hue(some(2 * math.pi / 3))[0, :3, :3]  # a third of a turn permutes the primaries
    torch.testing.assert_close(third, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64))


def test_saturation_brightness_contrast():
    colour = torch.tensor([0.7, -0.2, 0.1, 1.0], dtype=torch.float64)
    grey = colour[:3].mean()
    torch.testing.assert_close((saturation(some(0.0))[0] @ colour)[:3], grey.expand(3))
    torch.testing.assert_close((saturation(some(2.0))[0] @ colour)[:3], grey + 2 * (colour[:3] - grey))
    torch.testing.assert_close((brightness(some(0.3))[0] @ colour)[:3], colour[:3] + 0.3)
    torch.testing.assert_close((contrast(some(2.0))[0] @ colour)[:3], colour[:3] * 2)


def test_recolouring_by_the_identity_is_exact():
    images = pictures(2, channels=6)
    assert torch.equal(recolour(images, torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)), images)


def test_filter_bank_is_complete_and_ordered():
    bank = filter_bank()
    assert bank.shape == (4, 43)
    impulse = np.zeros(43)
    impulse[21] = 1
    np.testing.assert_allclose(bank.sum(axis=0), impulse, atol=1e-12)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-12)
    spectrum = np.abs(np.fft.rfft(bank, 256))
    peaks = spectrum.argmax(axis=1)
    assert peaks[0] == 0 and (np.diff(peaks) > 0).all() and peaks[3] == 128
    assert sum(BAND_POWER) == pytest.approx(1)


def test_filtering_against_scipy_style_padding():
    images = pictures(2, 24, dtype=torch.float64)
    taps = torch.from_numpy(filter_bank()[:2].copy())
    padded = F.pad(images, (21, 21, 21, 21), mode='reflect')
    expected = torch.stack([
        F.conv2d(F.conv2d(padded[i][:, None], taps[i][None, None, None]), taps[i][None, None, :, None])[:, 0] for i in range(2)
    ])  # fmt: skip
    torch.testing.assert_close(convolve_reflected(images, taps), expected)


def test_filtering_works_on_images_smaller_than_the_filter():
    assert AugmentPipe(AUGMENT_PRESETS['filter'])(pictures(2, 8), 1.0, stream(2)).isfinite().all()


def test_cutout_is_a_rectangle_of_zeros():
    out = AugmentPipe(AUGMENT_PRESETS['cutout'])(torch.ones(64, 3, 16, 16), 1.0, stream(64))
    assert set(out.unique().tolist()) == {0.0, 1.0}
    holes = out[:, 0] == 0
    assert holes.sum((1, 2)).max() == 64 and holes.flatten(1).any(1).all()
    assert torch.equal(holes, holes.any(1, keepdim=True) & holes.any(2, keepdim=True))


def test_noise_has_the_published_strength():
    out = AugmentPipe(AUGMENT_PRESETS['noise'])(torch.zeros(400, 3, 8, 8), 1.0, stream(400))
    assert out.std().item() == pytest.approx(0.1, rel=0.1)  # E n^2 = 1
    sigma = out.flatten(1).std(1)
    assert sigma.mean().item() == pytest.approx(0.1 * math.sqrt(2 / math.pi), rel=0.1)
    quiet = AugmentPipe(AUGMENT_PRESETS['noise'])(torch.zeros(400, 3, 8, 8), 0.25, stream(400)).flatten(1).abs().amax(1) == 0
    assert quiet.double().mean().item() == pytest.approx(0.75, abs=0.06)
