"""Generated depth against a true one: does it rise and fall in the right places, by the right amount, and does it face the right way?

Numbers that mean something only together. Aligning scale and shift first, as monocular depth estimators are judged (Ranftl et al.
2020, arXiv 1907.01341), removes the very defect of a squashed relief; the fitted scale is where that defect then shows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.measurable import NotMeasurable
from metrics.thickness import MIN_PIXELS, world_points
from training.cameras.camera import Camera
from training.cameras.rays import rays

CONSTANT = 1e-6  # of the mean depth: a smaller standard deviation is the rounding of float32


@dataclass(frozen=True, slots=True)
class DepthAccuracy:
    """Per image [N] float64, NaN where it cannot be measured; `depth_accuracy` defines them."""

    correlation: Tensor  # in [-1, 1]: 1 right up to scale and shift, below 0 hollow
    residual: Tensor  # >= 0: mean relative error after alignment, 0 right up to scale and shift (of either sign)
    scale: Tensor  # relief: 1 right, .04 flat, below 0 hollow
    std_ratio: Tensor  # >= 0: the relief without its sign and with its noise; never below |scale|
    normals_deg: Tensor  # in [0, 180]: median angle between the normals


def depth_accuracy(depth: Tensor, true_depth: Tensor, mask: Tensor, camera: Camera) -> DepthAccuracy:
    """Of depth and true_depth [N, 1, R, R], distances along the rays of `camera` (N cameras) in world units, at the pixels of mask.

    mask: bool [N, 1, R, R], the object pixels. Distances are first turned into depths d, t along the view axis (distance times the cosine
    between ray and axis), so that a frontal card is constant. With means, variances and covariance over the pixels of the mask at which
    neither is infinite (an infinite depth hit nothing):

    - correlation: Pearson's r of d and t. A constant d explains nothing: r = 0.
    - scale: of the least-squares fit d ~ scale * t + shift, that is cov(d, t) / var(t).
    - std_ratio: std(d) / std(t); scale = correlation * std_ratio.
    - residual: mean of |a d + b - t| / t after the least-squares fit of a, b (abs-rel, after alignment of the prediction to the truth).
    - normals_deg: median angle between `normals` of d and `normals` of t, over the pixels that have both (of two in the middle the
      smaller).

    Source: ours; abs-rel from Eigen et al. 2014 (arXiv 1406.2283), section 4. Read them together or not at all: correlation and residual
    do not see a squashed relief (r = 1 at a twenty-fifth of the depth), the residual does not see an inverted one, noise leaves the scale
    alone, and std_ratio takes noise for relief. Toyworld's scenes at 32x32, squashed along the view axis to .5, .25, .04: r .96, .94, .92,
    residual .007, .010, .013, scale .48, .24, .04, normals 14, 24, 32 degrees. Silhouettes weigh on correlation and scale: a mask of soft
    edges spoils both. Depths are compared in place: an object that is right but elsewhere is wrong.

    NaN: the first four for fewer than 20 pixels, NaN among the generated depths, or a constant truth; normals_deg also for fewer than
    20 pixels with normals. Raises NotMeasurable when no image has a correlation.
    Cost for N = 500 at 32x32 on one thread: .3 s.
    """
    assert depth.shape == true_depth.shape == mask.shape and mask.dtype == torch.bool, (depth.shape, true_depth.shape, mask.dtype)
    pair = Pair(depth, true_depth, mask, camera)
    if not bool(pair.correlation.isfinite().any()):
        raise NotMeasurable(f'depth accuracy needs {MIN_PIXELS} object pixels and a true depth that varies; no image has both')
    facing, both = normals(depth, pair.mask, camera)
    true_facing, _ = normals(true_depth, pair.mask, camera)
    angles = torch.rad2deg((facing * true_facing).sum(1, keepdim=True).clamp(-1, 1).acos())
    middle = torch.where(both, angles, torch.nan).flatten(1).nanmedian(1).values
    measured = pair.correlation.isfinite() & (both.flatten(1).sum(1) >= MIN_PIXELS)
    return DepthAccuracy(pair.correlation, pair.residual, pair.scale, pair.std_ratio, torch.where(measured, middle, torch.nan))


class Pair:
    """First and second moments of two depths along the view axis, and what follows from them: `depth_accuracy` says the formulas."""

    def __init__(self, depth: Tensor, true_depth: Tensor, mask: Tensor, camera: Camera) -> None:
        """Of distances depth, true_depth and mask [N, 1, R, R] and N cameras. `self.mask`: less the pixels at which either is infinite."""
        camera = camera.to(torch.float64)
        cosine = (rays(camera, tuple(depth.shape[-2:])).directions @ camera.forwards[..., None])[..., 0]
        self.mask = mask & ~depth.isinf() & ~true_depth.isinf()
        self._inside = self.mask.flatten(1)
        self._count = self._inside.sum(1)
        self._true = torch.where(self._inside, true_depth.flatten(1) * cosine, 0)
        mean, self._deviation, variance = self._moments(torch.where(self._inside, depth.flatten(1) * cosine, 0))
        self._true_mean, self._true_deviation, true_variance = self._moments(self._true)
        covariance = self._mean(self._deviation * self._true_deviation)
        constant = variance.sqrt() <= CONSTANT * mean.abs()
        measured = (self._count >= MIN_PIXELS) & (true_variance.sqrt() > CONSTANT * self._true_mean.abs()) & variance.isfinite()
        self._measured, self._gain = measured, torch.where(constant, 0, covariance / variance)
        self.std_ratio = self._told((variance / true_variance).sqrt())
        self.scale = self._told(covariance / true_variance)
        self.correlation = self._told(torch.where(constant, 0, covariance / (variance * true_variance).sqrt()).clamp(-1, 1))

    @property
    def residual(self) -> Tensor:
        """Mean relative error [N] of the aligned depth."""
        error = (self._true_mean[:, None] + self._gain[:, None] * self._deviation - self._true).abs()
        return self._told(self._mean(torch.where(self._inside, error / self._true, 0)))

    def _mean(self, values: Tensor) -> Tensor:
        return values.sum(1) / self._count.clamp(min=1)

    def _moments(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self._mean(values)
        deviation = torch.where(self._inside, values - mean[:, None], 0)
        return mean, deviation, self._mean(deviation.square())

    def _told(self, values: Tensor) -> Tensor:
        return torch.where(self._measured, values, torch.nan)


def normals(depth: Tensor, mask: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """(unit normals [N, 3, R, R] float64 in the world, towards the camera, 0 where there is none; bool [N, 1, R, R] where there is one).

    The cross product of the central differences of the back-projected points, downwards times rightwards. A pixel has a normal if it and
    its four neighbours are in the mask; so a normal never reaches across a silhouette, but it does across a crease or a jump inside the
    object.
    """
    inner = torch.zeros_like(mask)
    right, left, below, above = mask[..., 1:-1, 2:], mask[..., 1:-1, :-2], mask[..., 2:, 1:-1], mask[..., :-2, 1:-1]
    inner[..., 1:-1, 1:-1] = mask[..., 1:-1, 1:-1] & right & left & below & above
    points = torch.where(mask, world_points(depth, camera), 0)
    across = points[..., 1:-1, 2:] - points[..., 1:-1, :-2]
    down = points[..., 2:, 1:-1] - points[..., :-2, 1:-1]
    facing = torch.zeros_like(points)
    facing[..., 1:-1, 1:-1] = torch.nn.functional.normalize(torch.linalg.cross(down, across, dim=1), dim=1, eps=1e-30)
    return torch.where(inner, facing, 0), inner
