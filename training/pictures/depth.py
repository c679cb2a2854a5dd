"""Depth maps as pictures: near is bright, what no ray hit is black."""

import numpy as np
import torch
from torch import Tensor

EMPTY_BELOW_OPACITY = 0.5       # a ray that kept more than half its light saw nothing whose depth means something


def depth_limits(depth: Tensor, opacity: Tensor | None = None) -> Tensor:
    """Nearest and farthest depth seen in each image: depth [N, 1, H, W] -> [N, 2].

    Rays of opacity [N, 1, H, W] below one half do not count (their depth is where the ray ends, not where anything is). An image that has
    no other rays is measured by all of them.
    """
    flat = depth.detach().float().flatten(1)
    seen = torch.ones_like(flat, dtype=torch.bool) if opacity is None else opacity.detach().flatten(1) >= EMPTY_BELOW_OPACITY
    seen = seen | ~seen.any(dim=1, keepdim=True)
    near = flat.masked_fill(~seen, torch.inf).amin(dim=1)
    far = flat.masked_fill(~seen, -torch.inf).amax(dim=1)
    return torch.stack([near, far], dim=1)


def depth_pictures(depth: Tensor, opacity: Tensor | None = None, *, limits: tuple[float, float] | None = None,
                   shared_range: bool = False) -> np.ndarray:
    """Depth [N, 1, H, W] as grey pictures uint8 [N, H, W, 3].

    The nearest depth is white and the farthest black. The range is each image's own; with `shared_range` one range for all of them (pictures
    of a grid are then comparable); with `limits` = (near, far) the caller's (frames of a video do not flicker). Opacity [N, 1, H, W], when
    given, fades what is see-through to black.
    """
    if limits is not None:
        near, far = (torch.full((len(depth),), value, device=depth.device) for value in limits)
    else:
        near, far = depth_limits(depth, opacity).unbind(1)
        if shared_range:
            near, far = near.min().expand_as(near), far.max().expand_as(far)
    near, far = near.reshape(-1, 1, 1, 1), far.reshape(-1, 1, 1, 1)
    # A flat wall (near = far) is as near as anything in its picture: bright.
    closeness = 1 - ((depth.detach().float() - near) / (far - near).clamp_min(torch.finfo(torch.float32).tiny)).clamp(0, 1)
    if opacity is not None:
        # The darkest fifth is left to the background, so that the farthest surface still stands out from it.
        closeness = (0.2 + 0.8 * closeness) * opacity.detach().float().clamp(0, 1)
    grey = (closeness[:, 0] * 255 + 0.5).to(torch.uint8).cpu().numpy()
    return np.repeat(grey[..., None], 3, axis=3)
