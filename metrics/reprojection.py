"""Reprojection: do two views of a scene show the same colours at the same points of its surface?

It REWARDS flat geometry. Squashing toyworld's scenes along the view axis to 1, .5, .25, .04 lowers the error (8.9, 8.3, 8.0, 6.9 grey
levels at 32x32) and raises the coverage (.82, .88, .91, .93), because a card has no steep sides and hides nothing. Never use it alone:
only beside the response of the picture to the camera and thickness.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.measurable import NotMeasurable
from metrics.subject import Views
from metrics.thickness import MIN_PIXELS, OBJECT_OPACITY, object_pixels, world_points
from training.rendering.reproject import project

TOLERANCE = 0.08  # world units between the point and the depth that the second view has there
GREY_LEVELS = 127.5  # of 255, per unit of an image in [-1, 1]


@dataclass(frozen=True, slots=True)
class Reprojection:
    """l1 [N] in grey levels of 255, >= 0, smaller is more consistent; coverage [N] in [0, 1]. float64, NaN where it cannot be measured."""

    l1: Tensor
    coverage: Tensor


def reprojection(first: Views, second: Views) -> Reprojection:
    """Colour error and overlap between two views of each of N scenes; both need depth, opacity and camera.

    The object pixels of the first view (opacity > .9) are back-projected with its own depth and projected into the second. A point is
    co-visible if it falls inside the second image, the nearest pixel there is an object pixel, and the point is within .08 world units of
    that pixel's depth. (The nearest pixel, not a bilinear mean: a mean across a silhouette is a depth at which nothing is.) l1: mean
    absolute difference of colour over channels and co-visible points, both colours looked up bilinearly; coverage: co-visible points /
    object pixels of the first view. Images and depths may have different resolutions, and so may the views. Source: ours (a forward form
    of the photometric error with a z-test).

    **It rewards flat geometry, blur and sameness: the flatter, the better the number. Never use it alone.** It sees an identity that
    changes with the view (l1) and an ignored camera (coverage). It does not see the wrong turn of a whole scene, and a scene that is
    hollow in all views alike passes. Colour lookups near silhouettes mix in the background, so true views do not score 0, more so at low
    resolution: compare with true views at the same one. Toyworld's truth over 12, 25 and 40 degrees: 8.7 and .81 at 32x32 (6.1 and .87 at
    64x64); camera ignored 15.7 and .51; another scene 47 and .19.

    NaN: both for fewer than 20 object pixels, l1 also for fewer than 20 co-visible points (then coverage says why). A depth of NaN is
    never co-visible. Raises NotMeasurable when depth, opacity or camera is missing, or when no image has 20 object pixels. Cost for N =
    500 at 32x32 on one thread: .16 s.
    """
    for name, views in (('first', first), ('second', second)):
        if views.depth is None or views.opacity is None or views.camera is None:
            raise NotMeasurable(f'reprojection needs depth, opacity and camera of both views; the {name} lacks one of them')
    assert len(first) == len(second), (len(first), len(second))
    objects = object_pixels(first.depth, first.opacity).flatten(1)
    count = objects.sum(1)
    if not bool((count >= MIN_PIXELS).any()):
        raise NotMeasurable(f'reprojection needs an image with {MIN_PIXELS} object pixels (opacity > {OBJECT_OPACITY}); none has them')
    uv, distance = project(second.camera.to(torch.float64), world_points(first.depth, first.camera).flatten(2).mT)
    found = nearest(torch.cat([second.depth.double(), object_pixels(second.depth, second.opacity).double()], 1), uv)
    near = (distance[..., 0] - found[..., 0]).abs() < TOLERANCE
    shared = objects & inside(uv, distance) & (found[..., 1] == 1) & near
    own = bilinear(first.image, pixel_centres(first.depth))
    error = (own - bilinear(second.image, uv)).abs().mean(-1) * GREY_LEVELS
    num_shared = shared.sum(1)
    l1 = torch.where(shared, error, 0).sum(1) / num_shared.clamp(min=1)
    return Reprojection(
        l1=torch.where((count >= MIN_PIXELS) & (num_shared >= MIN_PIXELS), l1, torch.nan),
        coverage=torch.where(count >= MIN_PIXELS, num_shared / count.clamp(min=1).double(), torch.nan),
    )


def inside(uv: Tensor, distance: Tensor) -> Tensor:
    """bool [N, M]: which projections (uv [N, M, 2], distance [N, M, 1]) lie before the camera and in its image; NaN does not."""
    return (distance[..., 0] > 0) & ((uv >= 0) & (uv < 1)).all(-1)


def nearest(values: Tensor, uv: Tensor) -> Tensor:
    """Values [N, M, C] of the pixels of values [N, C, H, W] that hold uv [N, M, 2]; where uv is outside the image, those of some pixel."""
    size = uv.new_tensor([values.shape[-1], values.shape[-2]])
    place = torch.where((uv >= 0) & (uv < 1), uv * size, 0).long()  # of what is not finite a cast is not defined
    column, row = place.minimum((size - 1).long()).unbind(-1)  # uv just below 1 may round to 1
    index = (row * values.shape[-1] + column)[:, None].expand(-1, values.shape[1], -1)
    return values.flatten(2).gather(2, index).mT


def bilinear(image: Tensor, uv: Tensor) -> Tensor:
    """Colours [N, M, C] float64 of image [N, C, H, W] at uv [N, M, 2]; the border continues outwards."""
    grid = torch.where(uv.isfinite(), uv, 0)[:, None] * 2 - 1
    looked_up = torch.nn.functional.grid_sample(image.double(), grid, mode='bilinear', padding_mode='border', align_corners=False)
    return looked_up[:, :, 0].mT


def pixel_centres(depth: Tensor) -> Tensor:
    """uv [N, H * W, 2] float64 of the pixels of depth [N, 1, H, W], row by row."""
    height, width = depth.shape[-2:]
    v, u = (((torch.arange(size, dtype=torch.float64, device=depth.device) + 0.5) / size) for size in (height, width))
    return torch.stack([u.repeat(height), v.repeat_interleave(width)], -1).expand(len(depth), -1, -1)
