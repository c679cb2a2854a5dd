"""Hollow geometry: a face pressed into the wall instead of standing out from it. It turns with the camera, the wrong way round."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.depth_accuracy import Pair, normals
from metrics.measurable import NotMeasurable
from metrics.thickness import MIN_PIXELS
from training.cameras.camera import Camera
from training.cameras.rays import rays

MIN_TILT = 1e-3  # root mean square of the sine between normal and ray: a reference flatter than this cannot be inverted


@dataclass(frozen=True, slots=True)
class Hollow:
    """agreement, correlation: [N] float64 in [-1, 1], NaN where it cannot be measured; share: of the images with r, those with r < 0."""

    agreement: Tensor
    correlation: Tensor
    share: float


def hollow(depth: Tensor, reference_depth: Tensor, mask: Tensor, camera: Camera) -> Hollow:
    """Does the relief of depth have the sign of that of reference_depth (truth, or an oracle's guess) at the pixels of mask?

    All [N, 1, R, R], mask bool. Both depths are distances along the rays of `camera` (N cameras), world units; pixels at which either is
    infinite do not count.

    - correlation: Pearson's r of the two depths along the view axis, as in `depth_accuracy` (0 for a constant one: a frontal card).
    - agreement: sum <g, h> / max(sum |g|^2, sum |h|^2) over the pixels with normals, where g and h are the parts of the two unit normals
      (`depth_accuracy.normals`) across the ray. True depth gives 1; an inverted relief 2c - d about -1; a squashed one less than 1 and a
      flat one about 0 (r is blind to that); noise, which is all tilt, about 0.
    - share: of the images with a correlation, those with r < 0.

    Source: ours. Inverted geometry passes tests of flatness and, where all views agree, of consistency; this is the test that it fails. It
    says nothing else: a wrong shape that bulges is fine here. For flat relief the sign of r is an accident (a constant distance, which is
    what fog shows, is part of a bowl around the camera and has r < 0 on most images), so read `share` only beside `agreement`. With an
    oracle's depth as the reference it is as good as the oracle. Toyworld's truth at 32x32: agreement 1; -.99 inverted; .70, .45, .14
    squashed along the view axis to .5, .25, .04; .08 for a frontal card, 0 for a constant distance.

    NaN: correlation for fewer than 20 pixels, NaN among the depths or a constant reference; agreement also for fewer than 20 pixels with
    normals or a reference without tilt. Raises NotMeasurable when no image has a correlation.
    Cost for N = 500 at 32x32 on one thread: .35 s.
    """
    assert depth.shape == reference_depth.shape == mask.shape and mask.dtype == torch.bool, (depth.shape, mask.shape, mask.dtype)
    pair = Pair(depth, reference_depth, mask, camera)
    known = pair.correlation.isfinite()
    if not bool(known.any()):
        raise NotMeasurable(f'hollow shapes show on {MIN_PIXELS} object pixels with a reference depth that varies; no image has both')
    tilt, inner = _tilt(depth, pair.mask, camera)
    reference_tilt, _ = _tilt(reference_depth, pair.mask, camera)
    count = inner.flatten(1).sum(1)
    own, theirs = tilt.square().flatten(1).sum(1), reference_tilt.square().flatten(1).sum(1)
    agreement = (tilt * reference_tilt).flatten(1).sum(1) / torch.maximum(own, theirs)
    measured = known & (count >= MIN_PIXELS) & (theirs > count * MIN_TILT**2)
    return Hollow(
        agreement=torch.where(measured, agreement, torch.nan),
        correlation=pair.correlation,
        share=float((pair.correlation[known] < 0).double().mean()),
    )


def _tilt(depth: Tensor, mask: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """(part of the normals across the ray [N, 3, R, R], where there is a normal [N, 1, R, R]).

    Across the ray, not the view axis: it is the distance along the ray that is inverted, and a constant distance then has no tilt at all.
    """
    facing, inner = normals(depth, mask, camera)
    along = rays(camera.to(torch.float64), tuple(depth.shape[-2:])).directions.mT.unflatten(2, depth.shape[-2:])
    return torch.where(inner, facing - (facing * along).sum(1, keepdim=True) * along, 0), inner
