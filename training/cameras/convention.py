"""Strangers' cameras, converted at the door: EG3D's 25 numbers and angles, OpenGL, COLMAP, NeRF's transforms.json, fields of view.

Every `from_*` gives an unchecked Camera (`.checked(names)` looks at the values); every format that can be written has a `to_*` that undoes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dnnlib.errors import DataError, MissingInputError
from training.cameras.camera import Camera
from training.cameras.orbit import centred_intrinsics, look_at

EG3D_NUMBERS = 25  # 4x4 pose and 3x3 intrinsics, both row by row
# Blender's world has z up and -y in front; ours has y up and +z in front: (x, y, z) -> (x, z, -y).
Y_UP_FROM_Z_UP = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
DISTORTION_KEYS = ('k1', 'k2', 'k3', 'k4', 'p1', 'p2')


def fov_to_focal(fov_x_deg: float | Tensor) -> float | Tensor:
    """Focal length in image widths of a horizontal field of view in degrees: 0.5 / tan(fov / 2). A float gives a float."""
    if isinstance(fov_x_deg, Tensor):
        return 0.5 / torch.tan(torch.deg2rad(fov_x_deg) / 2)
    return 0.5 / math.tan(math.radians(fov_x_deg) / 2)


def focal_to_fov(focal: float) -> float:
    """Horizontal field of view in degrees of a focal length in image widths."""
    return math.degrees(2 * math.atan(0.5 / focal))


def eg3d_diagonal_fov_to_focal(fov_deg: float) -> float:
    """Focal length in image widths as EG3D's tools compute it: `fov_deg` is the *diagonal* field of view, with their rounded constants.

    18.837 degrees there are 13.4 degrees horizontally here.
    """
    return 1 / (math.tan(fov_deg * 3.14159 / 360) * 1.414)


def from_eg3d(numbers: Tensor) -> Camera:
    """EG3D's label [N, 25]: world_from_camera 4x4 (OpenCV, y-up world), then intrinsics 3x3 in units of the image, both row-major."""
    if numbers.ndim != 2 or numbers.shape[1] != EG3D_NUMBERS:
        raise DataError(f'An EG3D camera has {EG3D_NUMBERS} numbers (a 4x4 pose, then 3x3 intrinsics); found a tensor of shape {list(numbers.shape)}.')
    return Camera(numbers[:, :16].unflatten(1, (4, 4)), numbers[:, 16:].unflatten(1, (3, 3)))


def to_eg3d(camera: Camera) -> Tensor:
    """The label [N, 25] that `from_eg3d` reads."""
    return torch.cat([camera.world_from_camera.flatten(1), camera.intrinsics.flatten(1)], 1)


def from_eg3d_angles(
    h_rad: Tensor,
    v_rad: Tensor,
    radius: Tensor | float,
    pivot: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    focal: Tensor | float,
    clamp_v: bool = True,
) -> Camera:
    """Camera of the angles of EG3D and PoF3D, h and v [N], both pi/2 for the front.

    h - pi/2 is our yaw, but v is not an angle: the polar angle is arccos(1 - 2 v / pi), so that a uniform v is uniform on the sphere.
    The camera stands on a sphere around the world's *origin* and looks at `pivot`. `clamp_v` keeps v in [1e-5, pi - 1e-5], as EG3D does;
    without it (PoF3D) a v outside [0, pi] gives NaN.
    """
    v = v_rad.clamp(1e-5, math.pi - 1e-5) if clamp_v else v_rad
    polar = torch.arccos(1 - 2 * v / math.pi)
    direction = torch.stack([polar.sin() * torch.cos(math.pi - h_rad), polar.cos(), polar.sin() * torch.sin(math.pi - h_rad)], -1)
    origins = direction * torch.as_tensor(radius, dtype=h_rad.dtype, device=h_rad.device).expand_as(h_rad)[:, None]
    focal = torch.as_tensor(focal, dtype=h_rad.dtype, device=h_rad.device).expand_as(h_rad)
    return Camera(look_at(origins, h_rad.new_tensor(pivot)), centred_intrinsics(focal))


def from_opengl(world_from_camera: Tensor, intrinsics: Tensor) -> Camera:
    """Poses [N, 4, 4] of cameras with x right, y up, z backward (OpenGL, Blender); intrinsics [N, 3, 3] in units of the image."""
    return Camera(_flip_y_and_z(world_from_camera), intrinsics)


def to_opengl(camera: Camera) -> Tensor:
    """Poses [N, 4, 4] of cameras with x right, y up, z backward."""
    return _flip_y_and_z(camera.world_from_camera)


def from_colmap(qvec: Tensor, tvec: Tensor, intrinsics_px: Tensor, width: int, height: int) -> Camera:
    """COLMAP's images.txt: unit quaternions [N, 4] (w, x, y, z) and translations [N, 3] of *camera from world*, intrinsics [N, 3, 3] in pixels.

    COLMAP, like us, puts the centre of the first pixel at (0.5, 0.5). Its world is as the reconstruction left it: nothing is rotated here.
    """
    rotation = _rotation_of(torch.nn.functional.normalize(qvec, dim=-1)).mT  # world from camera
    pose = torch.eye(4, dtype=qvec.dtype, device=qvec.device).repeat(qvec.shape[0], 1, 1)
    pose[:, :3, :3] = rotation
    pose[:, :3, 3] = -(rotation @ tvec[..., None]).squeeze(-1)
    return Camera(pose, intrinsics_px / intrinsics_px.new_tensor([width, height, 1.0])[:, None])


def to_colmap(camera: Camera, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """(qvec [N, 4] with w >= 0, tvec [N, 3], intrinsics in pixels [N, 3, 3]) that `from_colmap` reads."""
    camera_from_world = camera.world_from_camera[:, :3, :3].mT
    tvec = -(camera_from_world @ camera.origins[..., None]).squeeze(-1)
    return _quaternion_of(camera_from_world), tvec, camera.intrinsics * camera.intrinsics.new_tensor([width, height, 1.0])[:, None]


def from_nerf_json(source: str | Path | Mapping[str, Any], *, world_up: str = 'z') -> Camera:
    """NeRF's transforms.json (a path or the parsed document): one camera per frame, in the order of the file.

    Intrinsics come from fl_x, fl_y, cx, cy with w, h (pixels; per frame or for all), else from camera_angle_x (radians). Without w and h the
    image is taken to be square. `world_up='z'` (Blender, the format's habit) turns the world so that y is up; 'y' leaves it as it is.
    Raises DataError for a missing key, a wrong shape, or lens distortion, which a pinhole camera cannot express.
    """
    document = _read(source)
    frames = document.get('frames')
    if not frames:
        raise DataError("A transforms.json needs a non-empty list 'frames'.")
    poses, intrinsics = [], []
    for number, frame in enumerate(frames):
        name = f"frame {number} ({frame.get('file_path', 'no file_path')})"
        pose = torch.tensor(_require(frame, 'transform_matrix', name), dtype=torch.float32)
        if pose.shape != (4, 4):
            raise DataError(f'{name}: transform_matrix is {list(pose.shape)}, expected 4x4.')
        poses.append(pose)
        intrinsics.append(_nerf_intrinsics({**document, **frame}, name))
    world = torch.stack(poses)
    return from_opengl(Y_UP_FROM_Z_UP @ world if world_up == 'z' else world, torch.tensor(intrinsics, dtype=torch.float32))


def to_nerf_json(camera: Camera, names: Sequence[str], width: int, height: int, *, world_up: str = 'z') -> dict[str, Any]:
    """A transforms.json document that `from_nerf_json` reads, with the intrinsics in every frame."""
    poses = to_opengl(camera).detach().cpu()
    poses = Y_UP_FROM_Z_UP.to(poses.dtype).mT @ poses if world_up == 'z' else poses
    frames = []
    for name, pose, k in zip(names, poses.tolist(), camera.intrinsics.detach().cpu().tolist(), strict=True):
        frames.append({
            'file_path': name, 'transform_matrix': pose, 'w': width, 'h': height,
            'fl_x': k[0][0] * width, 'fl_y': k[1][1] * height, 'cx': k[0][2] * width, 'cy': k[1][2] * height,
        })
    angle = 2 * math.atan(0.5 / camera.intrinsics[0, 0, 0].item())
    return {'camera_angle_x': angle, 'frames': frames}


def _nerf_intrinsics(values: Mapping[str, Any], name: str) -> list[list[float]]:
    distorted = [key for key in DISTORTION_KEYS if values.get(key)]
    if distorted:
        raise DataError(f"{name} has lens distortion ({', '.join(distorted)}). Undistort the images first (COLMAP's image_undistorter does it).")
    width, height = values.get('w'), values.get('h')
    if 'fl_x' in values:
        width = _require(values, 'w', f'{name}, which has fl_x,')
        height = height or width
        fx = values['fl_x'] / width
        fy = values.get('fl_y', values['fl_x']) / height
    else:
        fx = 0.5 / math.tan(_require(values, 'camera_angle_x', f'{name}, which has no fl_x,') / 2)
        fy = fx * width / height if width and height else fx  # square pixels
    cx = values['cx'] / _require(values, 'w', f'{name}, which has cx,') if 'cx' in values else 0.5
    cy = values['cy'] / _require(values, 'h', f'{name}, which has cy,') if 'cy' in values else 0.5
    return [[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]


def _read(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        return json.loads(Path(source).read_text(encoding='utf-8'))
    except FileNotFoundError:
        raise MissingInputError(f'There is no camera file {source}.') from None
    except ValueError as error:
        raise DataError(f'{source} is not JSON: {error}.') from None


def _require(values: Mapping[str, Any], key: str, owner: str) -> Any:
    if key not in values:
        raise DataError(f"transforms.json: {owner} lacks '{key}'.")
    return values[key]


def _flip_y_and_z(pose: Tensor) -> Tensor:
    return pose * pose.new_tensor([1.0, -1.0, -1.0, 1.0])


def _rotation_of(q: Tensor) -> Tensor:
    """Rotation matrices [N, 3, 3] of unit quaternions [N, 4] (w, x, y, z): (w^2 - |v|^2) 1 + 2 v v^T + 2 w [v]x."""
    w, v = q[:, :1, None], q[:, 1:]
    zero = torch.zeros_like(v[:, 0])
    cross = torch.stack([zero, -v[:, 2], v[:, 1], v[:, 2], zero, -v[:, 0], -v[:, 1], v[:, 0], zero], -1).unflatten(-1, (3, 3))
    one = torch.eye(3, dtype=q.dtype, device=q.device)
    return (w * w - v.square().sum(-1)[:, None, None]) * one + 2 * v[:, :, None] * v[:, None, :] + 2 * w * cross


def _quaternion_of(rotation: Tensor) -> Tensor:
    """Unit quaternions [N, 4] (w, x, y, z), w >= 0, of rotation matrices [N, 3, 3].

    4 q q^T is linear in the matrix; its column with the largest diagonal entry is q up to scale, so nothing small is ever divided by.
    """
    r = rotation.unbind(-2)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(-1) for row in r)
    outer = torch.stack([
        1 + xx + yy + zz, zy - yz, xz - zx, yx - xy,
        zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx,
        xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy,
        yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz,
    ], -1).unflatten(-1, (4, 4))
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = torch.nn.functional.normalize(outer[torch.arange(len(outer), device=outer.device), best], dim=-1)
    return torch.where(q[:, :1] < 0, -q, q)
