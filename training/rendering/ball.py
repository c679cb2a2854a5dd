"""Pictures as they would look from a little further round, whatever they show: as if a ball stood in the middle of them.

Whoever walks around a thing sees its near side move against its outline, whatever the thing is. A small ball at the centre of the scene
carries the middle of a picture with it, and the rest stays. No depth and no camera of the picture is needed, only those of the rig.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from training.cameras.convention import fov_to_focal
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.cameras.rig import Rig
from training.rendering.reproject import project


def turned(image: Tensor, yaw_rad: Tensor, pitch_rad: Tensor, rig: Rig, ball: float) -> Tensor:
    """Pictures [N, 3, S, S] from pitch [N], with the camera gone round by yaw [N], both radians. ball: its radius in parts of the rig's.

    A ray that misses the ball meets the point of its own that is nearest to the middle. Not differentiable with respect to the angles.
    """
    with torch.no_grad():
        focal = torch.full_like(yaw_rad, fov_to_focal(rig.fov_x_deg))
        before, after = (orbit(yaw, pitch_rad, rig.radius, focal=focal) for yaw in (torch.zeros_like(yaw_rad), yaw_rad))
        ray = rays(after, image.shape[-1])
        middle = -(ray.origins * ray.directions).sum(dim=-1, keepdim=True)
        half_chord2 = middle.square() - ray.origins.square().sum(dim=-1, keepdim=True) + (ball * rig.radius) ** 2
        points = torch.addcmul(ray.origins, ray.directions, middle - half_chord2.clamp(min=0).sqrt())
        grid = project(before, points)[0].mul(2).sub(1).unflatten(1, image.shape[-2:])
    return F.grid_sample(image, grid, mode='bilinear', padding_mode='border', align_corners=False)
