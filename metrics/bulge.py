"""Bulge: does an object come towards the camera in its middle? The sign of relief, without a reference and without an oracle."""

import torch
from torch import Tensor

from metrics.measurable import NotMeasurable
from metrics.thickness import MIN_PIXELS, OBJECT_OPACITY, object_pixels
from training.cameras.camera import Camera
from training.cameras.rays import rays


def bulge(depth: Tensor, opacity: Tensor, camera: Camera) -> Tensor:
    """Correlation, over an object's pixels, of depth with the distance from the object's centre in the picture: per image [N] float64.

    depth [N, 1, R, R] along the rays, world units; opacity [N, 1, R, R] in [0, 1]; N cameras. Depth is taken along the view axis, so that a
    frontal card has a constant one; the centre is the mean of the object's pixels. Source: ours. Range [-1, 1]: what bulges is nearest in
    its middle and farther towards its outline, so it is positive; a hollow face or a bowl is negative; a card, frontal or tilted, is 0.

    Compare means of many pictures: one object can be concave where it is looked at (an open mug from above). It sees only the coarsest
    relief, inverted as a whole; a wrong shape that bulges is fine here. NaN for an image with fewer than 20 object pixels, with NaN among
    their depths, or of constant depth, whose correlation is nothing; raises NotMeasurable when that is every image. A field that is its own
    background has an object in every pixel, and no bulge that means something.
    """
    mask = object_pixels(depth, opacity).flatten(1)
    side = depth.shape[-2:]
    cosine = (rays(camera.to(torch.float64), tuple(side)).directions @ camera.forwards.double()[:, :, None])[..., 0]
    along_axis = torch.where(mask, depth.double().flatten(1) * cosine, 0)
    down, across = torch.meshgrid(*(torch.arange(size, dtype=torch.float64, device=depth.device) for size in side), indexing='ij')
    place = torch.stack([across.flatten(), down.flatten()], dim=-1).expand(len(depth), -1, -1)
    count = mask.sum(1, keepdim=True).clamp(min=1)
    centre = torch.where(mask[..., None], place, 0).sum(1, keepdim=True) / count[..., None]
    away = torch.where(mask, (place - centre).norm(dim=-1), 0)
    relief, outward = (torch.where(mask, values - values.sum(1, keepdim=True) / count, 0) for values in (along_axis, away))
    spread = (relief.square().sum(1) * outward.square().sum(1)).sqrt()
    flat = relief.square().sum(1) <= count[:, 0] * _FLAT**2
    measured = (mask.sum(1) >= MIN_PIXELS) & along_axis.isfinite().all(1) & ~flat
    if not bool(measured.any()):
        raise NotMeasurable(f'bulge needs {MIN_PIXELS} object pixels (opacity > {OBJECT_OPACITY}) whose depth is finite and varies; no image has them')
    return torch.where(measured, (relief * outward).sum(1) / spread, torch.nan)


_FLAT = 1e-4  # world units of relief under which rounding decides the sign
