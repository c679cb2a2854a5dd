"""How well an oracle reads scenes that it never saw, and how far two oracles differ."""

import math

import torch
from torch import Tensor

from metrics.oracle.reading import Oracle, Reading
from metrics.oracle.scenes import Scenes, draw_scenes
from training.data.item import from_uint8
from training.data.toyworld.catalogue import CATALOGUE

FLIP_DEG = 90.0


def quality(oracle: Oracle, count: int, seed: int, background: str, poses: str) -> dict:
    """How `oracle` reads scenes 0 .. count - 1 of its style with this seed, background and law of poses; see `score`."""
    scenes = draw_scenes((background,), (poses,), oracle.recipe.style, seed, count)
    return score(oracle.read(from_uint8(scenes.images)), scenes)


def score(reading: Reading, scenes: Scenes) -> dict:
    """Overall numbers, and under 'per_class' the same for each class that occurs.

    count; class_accuracy and mode_accuracy in [0, 1]; azimuth_median_deg and azimuth_p90_deg of the error; azimuth_flips: the share of
    errors above 90 degrees; elevation_median_deg of the error; depth_mae: mean error in world units over pixels whose centre is on the
    object; mask_iou: mean over pictures of intersection over union with those pixels.
    """
    overall = _scored(reading, scenes, torch.arange(len(scenes)))
    rows_of = {name: torch.nonzero(scenes.classes == number).squeeze(1) for number, name in enumerate(CATALOGUE)}
    return overall | {'per_class': {name: _scored(reading, scenes, rows) for name, rows in rows_of.items() if len(rows)}}


def _scored(reading: Reading, scenes: Scenes, rows: Tensor) -> dict:
    azimuth = angle_between_deg(reading.azimuth_rad[rows], scenes.azimuth_rad[rows])
    elevation = angle_between_deg(reading.elevation_rad[rows], scenes.elevation_rad[rows])
    distance = scenes.distance[rows].float()
    hit = torch.isfinite(distance)
    return {
        'count': len(rows),
        'class_accuracy': _share(reading.classes[rows] == scenes.classes[rows]),
        'mode_accuracy': _share(reading.modes[rows] == scenes.modes[rows]),
        'azimuth_median_deg': float(azimuth.median()),
        'azimuth_p90_deg': float(azimuth.quantile(0.9)),
        'azimuth_flips': _share(azimuth > FLIP_DEG),
        'elevation_median_deg': float(elevation.median()),
        'depth_mae': float((reading.depth[rows] - distance)[hit].abs().double().mean()),
        'mask_iou': _overlap(reading.mask[rows] > 0.5, hit),
    }


def disagreement(a: Oracle, b: Oracle, images: Tensor) -> dict:
    """How far two oracles differ on images [N, 3, S, S] in [-1, 1]: an error that no truth is needed for.

    class_disagreement and mode_disagreement: shares; azimuth_median_deg, azimuth_p90_deg, azimuth_flips (> 90 degrees) and
    elevation_median_deg of the differences; depth_mae in world units over pixels that both hold for the object's (NaN if there is none);
    mask_iou of the two masks.
    """
    one, other = a.read(images), b.read(images)
    azimuth = angle_between_deg(one.azimuth_rad, other.azimuth_rad)
    both = (one.mask > 0.5) & (other.mask > 0.5)
    return {
        'count': len(images),
        'class_disagreement': _share(one.classes != other.classes),
        'mode_disagreement': _share(one.modes != other.modes),
        'azimuth_median_deg': float(azimuth.median()),
        'azimuth_p90_deg': float(azimuth.quantile(0.9)),
        'azimuth_flips': _share(azimuth > FLIP_DEG),
        'elevation_median_deg': float(angle_between_deg(one.elevation_rad, other.elevation_rad).median()),
        'depth_mae': float((one.depth - other.depth)[both].abs().double().mean()),
        'mask_iou': _overlap(one.mask > 0.5, other.mask > 0.5),
    }


def angle_between_deg(a_rad: Tensor, b_rad: Tensor) -> Tensor:
    """|a - b| the short way round, in degrees, 0 .. 180."""
    return (torch.remainder(a_rad - b_rad + math.pi, 2 * math.pi) - math.pi).abs().rad2deg()


def _share(flags: Tensor) -> float:
    return float(flags.double().mean())


def _overlap(a: Tensor, b: Tensor) -> float:
    """Mean over pictures of |a and b| / |a or b|; two empty masks agree."""
    both, either = (a & b).flatten(1).sum(1).double(), (a | b).flatten(1).sum(1).double()
    return float(torch.where(either > 0, both / either.clamp(min=1), torch.ones_like(both)).mean())
