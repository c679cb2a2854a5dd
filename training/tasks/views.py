"""Several views of each generated scene in one batch of the discriminator: their cameras, their weights, and the order in which they stand."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from torch_utils.rng import Stream
from training.cameras.camera import Camera

Order = Literal['apart', 'together']
Mirror = Literal['left_right', 'PoF3D_2023']


@dataclass(frozen=True, slots=True)
class View:
    """N scenes from N cameras, their pose codes [N, 3], and what a view's loss weighs in that of its scene."""

    camera: Camera
    code: Tensor
    weight: float
    is_mirrored: bool = False

    def detached(self) -> Self:
        """The same view, as if nobody had invented its cameras."""
        camera = Camera(self.camera.world_from_camera.detach(), self.camera.intrinsics.detach())
        return replace(self, camera=camera, code=self.code.detach())


def stacked(views: Sequence[Tensor], order: Order) -> Tensor:
    """V tensors [N, ...] -> [V N, ...]. 'apart': all scenes from the first camera, then from the next; 'together': all views of a scene in a row."""
    return torch.cat(list(views)) if order == 'apart' else torch.stack(list(views), dim=1).flatten(0, 1)


def unstacked(tensor: Tensor, count: int, order: Order) -> Tensor:
    """[V N, ...] -> [V, N, ...], back from `stacked`."""
    return tensor.unflatten(0, (count, -1)) if order == 'apart' else tensor.unflatten(0, (-1, count)).transpose(0, 1)


def stacked_stream(stream: Stream, count: int, order: Order) -> Stream:
    """One row for each row of `stacked`; view v of row r is addressed by r V + v, in whatever batch it stands."""
    if count == 1:
        return stream
    addresses = [(v, row) for v in range(count) for row in stream.rows] if order == 'apart' else [(v, row) for row in stream.rows for v in range(count)]
    return replace(stream, rows=tuple(row * count + v for v, row in addresses))


def mirrored(camera: Camera, mirror: Mirror, stream: Stream) -> Camera:
    """The cameras that see mirrored scenes as these see the scenes, so that a scene judged from both must be as good as its mirror image.

    'left_right': in the plane x = 0, exact with roll. 'PoF3D_2023': that or the plane y = 0, a coin per row; the latter asks for views from
    below wherever there are some from above.
    """
    left_right = camera.mirrored()
    if mirror == 'left_right':
        return left_right
    flip = camera.world_from_camera.new_tensor([1.0, -1.0, 1.0, 1.0])
    upside_down = Camera(camera.world_from_camera * flip[:, None] * flip, camera.intrinsics)
    return Camera.where(stream.bernoulli('mirror/axis', 0.5, device=camera.device), left_right, upside_down)
