"""Damaging images: band-wise filtering, noise, and a grey square (Karras et al. 2020, arXiv 2006.06676, appendix B.2)."""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from training.augment.draws import Draws
from training.augment.geometry import reflected
from training.augment.settings import AugmentConfig
from training.augment.wavelets import SYM2

# Share of the power of natural images in each octave band, lowest frequencies first (a 1/f spectrum).
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)


@functools.lru_cache(maxsize=1)
def filter_bank() -> np.ndarray:
    """float64 [4, 43]: four band-pass filters that sum to a unit impulse, lowest frequencies first.

    With the low-pass H of sym2, L(z) = H(z) H(1/z) / 2 and its mirror image L(-z) sum to one. The upper half band is L(-z); the lower half,
    L(z), is split again at half the rate, three times over.
    """
    low = np.convolve(SYM2, SYM2[::-1]) / 2
    high = low * np.array([-1, 1, -1, 1, -1, 1, -1])
    bank = np.ones((1, 1))
    for _ in range(3):
        stretched = np.zeros((len(bank), 2 * bank.shape[1] - 1))
        stretched[:, ::2] = bank
        split = np.stack([np.convolve(band, low) for band in stretched])
        edge = (split.shape[1] - len(high)) // 2
        bank = np.concatenate([split, np.pad(high, edge)[None]])
    return bank


def filter_bands(images: Tensor, config: AugmentConfig, p: float, draws: Draws) -> Tensor:
    """Amplify or weaken octave bands of images [N, C, H, W], keeping the power that a natural image is expected to have."""
    n = len(images)
    gains = torch.ones(n, 4, dtype=torch.float64)
    power = torch.tensor(BAND_POWER, dtype=torch.float64)
    changed = torch.zeros(n, dtype=torch.bool)
    for band, multiplier in enumerate(config.imgfilter_bands):
        happens = draws.happens(f'imgfilter{band}', config.imgfilter * multiplier * p)
        factors = torch.ones(n, 4, dtype=torch.float64)
        factors[:, band] = (config.imgfilter_std * draws.normal(f'imgfilter{band}') * happens).exp2()
        gains *= factors / (power * factors.square()).sum(dim=1, keepdim=True).sqrt()
        changed |= happens
    taps = gains @ torch.from_numpy(filter_bank())
    return _on_rows(images, changed, lambda chosen, rows: convolve_reflected(chosen, taps[rows]))


def convolve_reflected(images: Tensor, taps: Tensor) -> Tensor:
    """Each row of images [n, C, H, W] convolved along both axes with its own symmetric taps [n, k], k odd; reflection outside.

    Filter and reflection together are one banded matrix per row and axis: images of any size, and derivatives of any order, cost only
    products.
    """
    taps = taps.to(device=images.device, dtype=images.dtype)
    along_y, along_x = (_convolution_matrix(taps, size) for size in images.shape[2:])
    return along_y[:, None] @ images @ along_x[:, None].transpose(2, 3)


def _convolution_matrix(taps: Tensor, size: int) -> Tensor:
    """[n, k] -> [n, size, size]."""
    n, k = taps.shape
    positions = torch.arange(size, device=taps.device)[:, None] + torch.arange(k, device=taps.device) - k // 2
    source = reflected(positions, size).expand(n, size, k)
    return taps.new_zeros(n, size, size).scatter_add(2, source, taps[:, None].expand(n, size, k))


def add_noise(images: Tensor, config: AugmentConfig, p: float, draws: Draws) -> Tensor:
    """Add white noise of random strength to images [N, C, H, W]."""
    happens = draws.happens('noise', config.noise * p)
    sigma = (config.noise_std * draws.normal('noise').abs()).to(images.dtype)

    def noisy(chosen: Tensor, rows: Tensor) -> Tensor:
        stream = replace(draws.stream, rows=tuple(draws.stream.rows[row] for row in rows.tolist()))
        grain = stream.normal('augment/noise', *images.shape[1:], device=images.device).to(images.dtype)
        return chosen + grain * sigma[rows].to(images.device)[:, None, None, None]

    return _on_rows(images, happens, noisy)


def cut_out(images: Tensor, config: AugmentConfig, p: float, draws: Draws) -> Tensor:
    """Set a rectangle of `cutout_size` times the image's sides, anywhere, possibly sticking out, to 0 in images [N, C, H, W]."""
    happens = draws.happens('cutout', config.cutout * p)
    if not bool(happens.any()):
        return images
    inside = [
        ((torch.arange(size) + 0.5) / size - draws.uniform(f'cutout/{axis}')[:, None]).abs() < config.cutout_size / 2
        for axis, size in (('y', images.shape[2]), ('x', images.shape[3]))
    ]
    hole = inside[0][:, :, None] & inside[1][:, None, :] & happens[:, None, None]
    return images.masked_fill(hole[:, None].to(images.device), 0)


def _on_rows(images: Tensor, chosen: Tensor, function: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """function(images of the chosen rows, their indexes on the CPU) in their places; the others bit for bit."""
    rows = chosen.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    if len(rows) == len(images):
        return function(images, rows)
    there = rows.to(images.device)
    return images.index_copy(0, there, function(images[there], rows))
