"""Moving pixels: flips, quarter turns and whole-pixel shifts exactly, everything else by one band-limited affine warp.

Karras et al. 2020 (arXiv 2006.06676), appendix B.2. Coordinates are pixels from the image centre, x right, y down.
"""

import functools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from custom_ops import setup_filter, upfirdn2d, upsample2d
from training.augment.draws import Draws
from training.augment.settings import AugmentConfig
from training.augment.wavelets import SYM6

# Half the length of the 12-tap filter at twice the resolution, in pixels.
FILTER_REACH = len(SYM6) // 4

# Padding of the halving filter, less the border of the doubled grid.
_HALVING_CROP = (len(SYM6) - 1) // 2 - 2 * FILTER_REACH

# Up to this image size doubling and halving are products with a matrix per axis: more arithmetic than convolutions and far less time.
MATRIX_SIZE = 64

# The filter's centre of mass lies before its middle, so the doubled image, and what the halving filter expects, lie this many pixels off.
_PHASE = ((len(SYM6) - 1) / 2 - sum(k * tap for k, tap in enumerate(SYM6)) / sum(SYM6)) / 2


@dataclass(frozen=True, slots=True)
class Moves:
    """What happens to each row, in this order: mirror, quarter turns, shift, warp. All [N, ...] on the CPU."""

    mirrored: Tensor  # bool [N]
    quarters: Tensor  # int64 [N], 0..3, as torch.rot90 counts them
    shift: Tensor  # int64 [N, 2], pixels to the right and down
    warp: Tensor  # float64 [N, 3, 3], output point -> input point
    warps: Tensor  # bool [N]: `warp` is not the identity


def draw_moves(config: AugmentConfig, p: float, draws: Draws, size: int) -> Moves:
    """Random moves for images of `size` x `size`."""
    mirrored = draws.happens('xflip', config.xflip * p) & (draws.uniform('xflip') < 0.5)
    quarters = (draws.uniform('rotate90') * 4).long() * draws.happens('rotate90', config.rotate90 * p)
    offset = torch.stack([draws.uniform('xint/x'), draws.uniform('xint/y')], dim=1) * 2 - 1
    shift = (offset * (config.xint_max * size)).round().long() * draws.happens('xint', config.xint * p)[:, None]

    # Two independent chances to rotate, before and after the stretch, which together come to the asked-for probability.
    p_rotate = 1 - math.sqrt(1 - min(config.rotate * p, 1.0))
    scales = draws.happens('scale', config.scale * p)
    before, after = draws.happens('rotate_before', p_rotate), draws.happens('rotate_after', p_rotate)
    stretches = draws.happens('aniso', config.aniso * p)
    slides = draws.happens('xfrac', config.xfrac * p)
    turn = 2 * math.pi * config.rotate_max
    zoom = (-config.scale_std * draws.normal('scale') * scales).exp2()
    stretch = (-config.aniso_std * draws.normal('aniso') * stretches).exp2()
    slide = torch.stack([draws.normal('xfrac/x'), draws.normal('xfrac/y')], dim=1) * (config.xfrac_std * size) * slides[:, None]
    warp = scaling(zoom, zoom) @ rotation((draws.uniform('rotate_before') - 0.5) * turn * before)
    warp = warp @ scaling(stretch, 1 / stretch) @ rotation((draws.uniform('rotate_after') - 0.5) * turn * after) @ translation(-slide)
    return Moves(mirrored, quarters, shift, warp, scales | before | stretches | after | slides)


def move(images: Tensor, moves: Moves) -> Tensor:
    """Apply `moves` to square images [N, C, S, S]. Rows that stay are returned bit for bit."""
    shift = moves.shift * ~moves.warps[:, None]  # of rows that are warped, the warp does the shifting
    if bool((moves.mirrored | (moves.quarters > 0) | (shift != 0).any(dim=1)).any()):
        images = blit(images, moves.mirrored, moves.quarters, shift)
    rows = moves.warps.nonzero()[:, 0]
    if len(rows) == 0:
        return images
    inverse = translation(-moves.shift[rows].double()) @ moves.warp[rows]
    if len(rows) == len(images):
        return warp(images, inverse)
    rows_there = rows.to(images.device)
    return images.index_copy(0, rows_there, warp(images[rows_there], inverse))


def blit(images: Tensor, mirrored: Tensor, quarters: Tensor, shift: Tensor) -> Tensor:
    """Mirror, torch.rot90 `quarters` times, shift with reflection at the edges: one gather, exact. images [N, C, S, S]."""
    n, c, size, _ = images.shape
    positions = torch.arange(size)
    u = reflected(positions - shift[:, :1], size)  # [N, S], the column before the shift for every output column
    v = reflected(positions - shift[:, 1:], size)
    # After an odd number of quarter turns output columns walk along source rows.
    # rot90 by 1, 2, 3 takes (row v, column u) from (u, -v), (-v, -u), (-u, v).
    odd = quarters % 2 == 1
    u_turns = torch.where(odd, quarters == 3, (quarters == 2) ^ mirrored)
    v_turns = torch.where(odd, (quarters == 1) ^ mirrored, quarters == 2)
    u = torch.where(u_turns[:, None], size - 1 - u, u) * torch.where(odd, size, 1)[:, None]
    v = torch.where(v_turns[:, None], size - 1 - v, v) * torch.where(odd, 1, size)[:, None]
    source = (v[:, :, None] + u[:, None, :]).reshape(n, 1, size * size).to(images.device)
    return images.flatten(2).gather(2, source.expand(n, c, size * size)).view_as(images)


def reflected(index: Tensor, size: int) -> Tensor:
    """Integer positions outside 0 .. size - 1 mirrored back inside, the edge pixel not repeated."""
    if size == 1:
        return torch.zeros_like(index)
    return size - 1 - (index.remainder(2 * (size - 1)) - (size - 1)).abs()


def warp(images: Tensor, inverse: Tensor) -> Tensor:
    """Sample images [n, C, S, S] at inverse [n, 3, 3] of every output point; reflection outside, band-limited on both sides.

    The image is padded by reflection, doubled with a wavelet's low-pass filter, sampled bilinearly on a doubled grid and halved with the
    same filter turned round. Those two filters undo each other exactly where nothing moves. Every row gets at least the padding it
    needs, so the padding that other rows need does not change it.
    """
    size = images.shape[-1]
    padding = margins(inverse, size)
    doubled = _double(images, padding)
    theta = _grid_matrix(inverse, size, padding).to(device=images.device, dtype=images.dtype)
    side = 2 * (size + 2 * FILTER_REACH)
    grid = F.affine_grid(theta, [len(images), 1, side, side], align_corners=False)
    return _halve(F.grid_sample(doubled, grid, mode='bilinear', padding_mode='zeros', align_corners=False), size)


def _double(images: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """Pad by reflection (left, right, top, bottom) and upsample by two."""
    size = images.shape[-1]
    if size > MATRIX_SIZE:
        return upsample2d(F.pad(images, padding, mode='reflect'), _filter(images.device))
    left, right, top, bottom = padding
    matrix = _doubling_matrix(size, images.dtype, images.device)
    first, last = 2 * (size - 1), 2 * (2 * size - 1)  # rows of the image itself, between the paddings
    rows, columns = matrix[first - 2 * top : last + 2 * bottom], matrix[first - 2 * left : last + 2 * right]
    return rows @ (images @ columns.t())


def _halve(sampled: Tensor, size: int) -> Tensor:
    """Downsample by two and drop what only the filter needed: [n, C, 2 (size + 6), same] -> [n, C, size, size]."""
    if size > MATRIX_SIZE:
        return upfirdn2d(sampled, _filter(sampled.device), down=2, padding=_HALVING_CROP, flip_filter=True)
    matrix = _halving_matrix(size, sampled.dtype, sampled.device)
    return matrix @ (sampled @ matrix.t())


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _doubling_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[2 (3 size - 2), size]: one axis of _double with the widest padding there is, size - 1 on both sides."""
    padded = F.pad(torch.eye(size)[:, None], (size - 1, size - 1), mode='reflect')[:, None]
    taps = _filter(torch.device('cpu'))[None]
    reach = ((len(SYM6) + 1) // 2, (len(SYM6) - 2) // 2)
    doubled = upfirdn2d(padded, taps, up=(2, 1), padding=(*reach, 0, 0), gain=2)
    return doubled[:, 0, 0].t().contiguous().to(device=device, dtype=dtype)


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _halving_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[size, 2 (size + 6)]: one axis of _halve."""
    unit = torch.eye(2 * (size + 2 * FILTER_REACH))[:, None, None]
    taps = _filter(torch.device('cpu'))[None]
    halved = upfirdn2d(unit, taps, down=(2, 1), padding=(_HALVING_CROP, _HALVING_CROP, 0, 0), flip_filter=True)
    return halved[:, 0, 0].t().contiguous().to(device=device, dtype=dtype)


def margins(inverse: Tensor, size: int) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom), at most size - 1, that covers all that any row of the doubled grid and the filter reach."""
    reach = size / 2 + FILTER_REACH
    corners = inverse.new_tensor([[-reach, -reach, 1], [reach, -reach, 1], [-reach, reach, 1], [reach, reach, 1]]).t()
    points = (inverse @ corners)[:, :2]  # [n, 2, 4]
    # Half a pixel more than the filter for the bilinear taps.
    beyond = torch.stack([-points.amin(dim=(0, 2)), points.amax(dim=(0, 2))]) - size / 2 + FILTER_REACH + 0.5
    (left, top), (right, bottom) = beyond.ceil().clamp(0, size - 1).long().tolist()
    return left, right, top, bottom


def _grid_matrix(inverse: Tensor, size: int, padding: tuple[int, int, int, int]) -> Tensor:
    """[n, 2, 3] for affine_grid: from [-1, 1] over the doubled output grid to [-1, 1] over the doubled padded image."""
    left, right, top, bottom = padding
    phase = inverse.new_tensor([[_PHASE, _PHASE]])
    half = size / 2 + FILTER_REACH
    to_pixels = translation(phase) @ scaling(inverse.new_tensor([half]), inverse.new_tensor([half]))
    centre = inverse.new_tensor([[(right - left) / 2, (bottom - top) / 2]])
    width, height = inverse.new_tensor([2 / (size + left + right)]), inverse.new_tensor([2 / (size + top + bottom)])
    return (scaling(width, height) @ translation(-centre - phase) @ inverse @ to_pixels)[:, :2]


@functools.lru_cache(maxsize=8)
@torch.inference_mode(False)
def _filter(device: torch.device) -> Tensor:
    """sym6 with sum 1, 12 separable taps. A constant per device."""
    return setup_filter(SYM6).to(device)


def translation(by: Tensor) -> Tensor:
    """[n, 2] -> [n, 3, 3]: moves points."""
    matrix = torch.eye(3, dtype=by.dtype).repeat(len(by), 1, 1)
    matrix[:, :2, 2] = by
    return matrix


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """[n], [n] -> [n, 3, 3]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], dim=1))


def rotation(angle: Tensor) -> Tensor:
    """[n] radians -> [n, 3, 3]: from x towards y."""
    matrix = torch.eye(3, dtype=angle.dtype).repeat(len(angle), 1, 1)
    matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos()
    matrix[:, 1, 0] = angle.sin()
    matrix[:, 0, 1] = -angle.sin()
    return matrix
