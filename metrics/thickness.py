"""Thickness ratio: how deep the visible surface of an object is, compared with its extent. A flat card is thin."""

import torch
from torch import Tensor

from metrics.measurable import NotMeasurable
from training.cameras.camera import Camera
from training.cameras.rays import rays
from training.rendering.reproject import unproject

OBJECT_OPACITY = 0.9  # soft edges float between the object and what lies behind it
MIN_PIXELS = 20


def thickness(depth: Tensor, opacity: Tensor, camera: Camera) -> Tensor:
    """Smallest over largest standard deviation of the object's visible points along their principal axes: per image [N] float64.

    depth [N, 1, R, R] along the rays, world units; opacity [N, 1, R, R] in [0, 1]; N cameras. The object pixels (`object_pixels`) are
    back-projected to the world, and the eigenvalues of the covariance of these points are taken. Source: ours.
    Range [0, 1]: 0 for a plane seen from anywhere, larger for rounder. NaN for an image with fewer than 20 object pixels or with NaN among
    their depths; raises NotMeasurable when that is every image.

    Sees relief that is squashed along the view axis, from one view, without an oracle or a reference: photographs have it too. One-sided:
    it proves flatness, never correctness. Hollow, noisy and collapsed shapes look thick, so judge by a band around the ratio of real
    objects, which differs from class to class. A plane is a card only in z: a constant distance is part of a sphere around the camera.
    Toyworld's scenes at 32x32, squashed along the view axis to 1, .5, .25, .04: .33, .22, .12, .02 on average (cars alone .31, .23, .13,
    .02). A single thin object seen edge-on can get thicker by a mild squash, so compare means. Cost for N = 500 at 32x32 on one thread:
    .07 s.
    """
    mask = object_pixels(depth, opacity).flatten(1)[..., None]
    points = torch.where(mask, world_points(depth, camera).flatten(2).mT, 0)
    count = mask.sum(1)
    centred = torch.where(mask, points - points.sum(1, keepdim=True) / count.clamp(min=1)[..., None], 0)
    covariance = centred.mT @ centred / count.clamp(min=1)[..., None]
    measured = (count[:, 0] >= MIN_PIXELS) & covariance.flatten(1).isfinite().all(1)
    if not bool(measured.any()):
        raise NotMeasurable(f'thickness needs {MIN_PIXELS} object pixels (opacity > {OBJECT_OPACITY}) of finite depth; no image has them')
    # The eigenvalues of NaN are an error, so what cannot be measured takes part as a ball.
    ball = torch.eye(3, dtype=covariance.dtype, device=covariance.device)
    eigenvalues = torch.linalg.eigvalsh(torch.where(measured[:, None, None], covariance, ball)).clamp(min=0)
    return torch.where(measured, (eigenvalues[:, 0] / eigenvalues[:, 2]).sqrt(), torch.nan)


def object_pixels(depth: Tensor, opacity: Tensor) -> Tensor:
    """bool, the shape of both: opacity > .9, and something is there (an infinite depth means that the ray hit nothing)."""
    assert depth.ndim == 4 and depth.shape[1] == 1 and opacity.shape == depth.shape, (depth.shape, opacity.shape)
    return (opacity > OBJECT_OPACITY) & ~depth.isinf()


def world_points(depth: Tensor, camera: Camera) -> Tensor:
    """World points [N, 3, H, W] float64 of the pixels of depth [N, 1, H, W] along the rays; not finite where the depth is not."""
    assert depth.ndim == 4 and depth.shape[1] == 1 and len(depth) == len(camera), (depth.shape, len(camera))
    lines = rays(camera.to(torch.float64), tuple(depth.shape[-2:]))
    return unproject(lines, depth.double().flatten(2).mT).mT.unflatten(2, depth.shape[-2:])
