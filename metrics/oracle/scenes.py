"""Pictures of toyworld with everything that an oracle is asked about them."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from metrics.oracle.network import RESOLUTION
from training.data.synthetic import SyntheticConfig, SyntheticImages
from training.data.toyworld.catalogue import CATALOGUE


@dataclass(frozen=True, slots=True)
class Scenes:
    """N pictures and the truth."""

    images: Tensor  # uint8 [N, 3, S, S]
    classes: Tensor  # int64 [N], numbers of toyworld8
    modes: Tensor  # int64 [N]
    azimuth_rad: Tensor  # float32 [N]
    elevation_rad: Tensor  # float32 [N]
    distance: Tensor  # float16 [N, 1, S, S] along the ray through the pixel's centre, world units (to 0.001); inf where it hits nothing

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, rows: Tensor) -> 'Scenes':
        """Those scenes, in that order; `rows` int64 [n]."""
        return Scenes(*(getattr(self, name)[rows] for name in self.__slots__))


def draw_scenes(backgrounds: tuple[str, ...], poses: tuple[str, ...], style: str, seed: int, count: int, quiet: bool = True) -> Scenes:
    """Scenes 0 .. count - 1 of toyworld8 with this seed; scene i has the background and law of poses number i, counted round (2 ms each).

    Raises UsageError for a word that toyworld does not know.
    """
    names = tuple(CATALOGUE)
    configs = [SyntheticConfig(names, law, background, RESOLUTION, count, seed, style) for background, law in product(backgrounds, poses)]
    worlds = [SyntheticImages(config).world for config in configs]
    images = np.empty((count, 3, RESOLUTION, RESOLUTION), np.uint8)
    distance = np.empty((count, 1, RESOLUTION, RESOLUTION), np.float16)
    numbers = np.empty((count, 4), np.float64)
    for i in tqdm(range(count), desc='drawing scenes', unit='img', disable=quiet, leave=False):
        world = worlds[i % len(worlds)]
        truth, pose = world.truth([i], RESOLUTION), world.pose(i)
        images[i], distance[i] = truth.image[0], truth.distance[0]
        numbers[i] = world.class_id(i), world.scene(i).mode, pose.azimuth_deg, pose.elevation_deg
    classes, modes, azimuth_deg, elevation_deg = torch.from_numpy(numbers).T
    azimuth, elevation = azimuth_deg.deg2rad().float(), elevation_deg.deg2rad().float()
    return Scenes(torch.from_numpy(images), classes.long(), modes.long(), azimuth, elevation, torch.from_numpy(distance))
