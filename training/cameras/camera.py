"""The camera type that everything else speaks: matrices named after the frames they join, intrinsics in units of the image.

Frames (docs/conventions.md shows them). World: right-handed, y up. Camera: OpenCV, x right, y down, z forward (into the scene).
Image: u to the right and v downwards, both 0 at the top left corner and 1 at the bottom right corner, whatever the resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dnnlib.errors import DataError
from dnnlib.units import format_names

ROTATION_TOLERANCE = 1e-3  # largest entry of |R^T R - 1| that still counts as the rounding of a rotation
FOCAL_RANGE = (0.05, 50.0)  # 169 degrees to 1.1 degrees of view; a focal length in pixels is far above it
ROWS_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A batch of N pinhole cameras.

    world_from_camera [N, 4, 4]: takes points of the camera frame to the world; its columns are the camera's right, down, forward and position.
    intrinsics [N, 3, 3]: takes directions (x, y, 1) of the camera frame to (u, v, 1) in units of the image: `fx = 0.5 / tan(fov_x / 2)`,
    principal point (0.5, 0.5) at the middle of the image.
    """

    world_from_camera: Tensor
    intrinsics: Tensor

    def __post_init__(self) -> None:
        a, b = tuple(self.world_from_camera.shape), tuple(self.intrinsics.shape)
        if len(a) != 3 or a[1:] != (4, 4) or b != (a[0], 3, 3):
            raise DataError(f'A camera needs world_from_camera [N, 4, 4] and intrinsics [N, 3, 3] of the same N; found {list(a)} and {list(b)}.')

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    def __getitem__(self, rows: int | slice | Sequence[int] | Tensor) -> Camera:
        """The cameras of these rows; one integer gives a batch of one."""
        if isinstance(rows, int):
            if not -len(self) <= rows < len(self):
                raise IndexError(f'row {rows} of {len(self)} cameras')
            rows = slice(rows, rows + 1 or None)
        return Camera(self.world_from_camera[rows], self.intrinsics[rows])

    @property
    def device(self) -> torch.device:
        return self.world_from_camera.device

    @property
    def origins(self) -> Tensor:
        """Positions in the world [N, 3]."""
        return self.world_from_camera[:, :3, 3]

    @property
    def forwards(self) -> Tensor:
        """Viewing directions in the world, unit length [N, 3]."""
        return self.world_from_camera[:, :3, 2]

    def to(self, target: torch.device | torch.dtype | str) -> Camera:
        """The same cameras on another device or in another floating-point type."""
        return Camera(self.world_from_camera.to(target), self.intrinsics.to(target))

    def detach(self) -> Camera:
        return Camera(self.world_from_camera.detach(), self.intrinsics.detach())

    def repeat_interleave(self, times: int) -> Camera:
        """Every camera `times` times in a row: a, a, b, b."""
        return Camera(self.world_from_camera.repeat_interleave(times, 0), self.intrinsics.repeat_interleave(times, 0))

    @staticmethod
    def cat(cameras: Sequence[Camera]) -> Camera:
        return Camera(torch.cat([c.world_from_camera for c in cameras]), torch.cat([c.intrinsics for c in cameras]))

    @staticmethod
    def where(rows: Tensor, chosen: Camera, others: Camera) -> Camera:
        """Row by row: of `chosen` where `rows` [N] (bool) is true, else of `others`."""
        rows = rows[:, None, None]
        return Camera(
            torch.where(rows, chosen.world_from_camera, others.world_from_camera), torch.where(rows, chosen.intrinsics, others.intrinsics)
        )

    def mirrored(self) -> Camera:
        """The camera that sees the left-right mirrored scene in the left-right mirrored image.

        The scene is mirrored in the plane x = 0 and the image about u = 0.5. With F = diag(-1, 1, 1) on both sides of the pose the mirror is
        exact for every pose, roll included: a camera rolled clockwise becomes one rolled counter-clockwise. The principal point goes to
        1 - cx and the skew changes sign.
        """
        flip = self.world_from_camera.new_tensor([-1.0, 1.0, 1.0, 1.0])
        sign = self.intrinsics.new_tensor([[1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
        shift = self.intrinsics.new_tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
        return Camera(self.world_from_camera * flip[:, None] * flip, self.intrinsics * sign + shift)

    def checked(self, names: Sequence[str] | None = None) -> Camera:
        """This camera, after looking at every row. Raises DataError that names the rows (by `names` where given) and says what is wrong."""
        for problem, bad in _problems(self.world_from_camera.detach(), self.intrinsics.detach()):
            rows = bad.nonzero().flatten().tolist()
            if rows:
                shown = format_names([str(names[i]) if names is not None else f'row {i}' for i in rows], ROWS_NAMED)
                raise DataError(f'{len(rows)} of {len(self)} cameras cannot be used ({shown}): {problem}.')
        return self


def _problems(pose: Tensor, intrinsics: Tensor):
    """Pairs (what is wrong and what to do, rows that have it [N] bool), the most fundamental first."""
    yield 'they contain NaN or infinity', ~(pose.flatten(1).isfinite().all(1) & intrinsics.flatten(1).isfinite().all(1))
    last_row = pose.new_tensor([0.0, 0.0, 0.0, 1.0])
    yield 'the last row of the pose is not 0 0 0 1; is the matrix transposed?', ((pose[:, 3] - last_row).abs() > 1e-4).any(1)
    rotation = pose[:, :3, :3]
    error = (rotation.mT @ rotation - torch.eye(3, dtype=pose.dtype, device=pose.device)).abs().flatten(1).amax(1)
    yield 'the rotation part is not orthonormal; take the scale out of the matrix', error > ROTATION_TOLERANCE
    yield ('the rotation part has determinant -1, so it mirrors the scene; one axis has the wrong sign '
           '(expected OpenCV: x right, y down, z forward)'), torch.linalg.det(rotation.double()) < 0
    focal = torch.stack([intrinsics[:, 0, 0], intrinsics[:, 1, 1]], 1)
    yield 'the focal length is huge: intrinsics in pixels must be divided by the image size', (focal > FOCAL_RANGE[1]).any(1)
    yield f'the focal length is below {FOCAL_RANGE[0]} image sizes', (focal < FOCAL_RANGE[0]).any(1)
    yield 'the principal point is more than one image size outside the image', ((intrinsics[:, :2, 2] - 0.5).abs() > 1.5).any(1)
    fixed = torch.stack([intrinsics[:, 1, 0], intrinsics[:, 2, 0], intrinsics[:, 2, 1], intrinsics[:, 2, 2] - 1], 1)
    yield 'the intrinsics are not [[fx, s, cx], [0, fy, cy], [0, 0, 1]]', (fixed.abs() > 1e-4).any(1)
