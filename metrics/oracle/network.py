"""The oracle's network, a small U-Net: the contracting half answers questions about the picture, the expanding half about every pixel."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.data.toyworld.catalogue import CATALOGUE
from training.data.toyworld.colour import MODE_WEIGHTS
from training.data.toyworld.poses import RADIUS

# Raised whenever the same recipe would give another network: other layers, losses, data or damage. Part of every recipe's digest.
MEANING = 1
RESOLUTION = 32
NUM_CLASSES = len(CATALOGUE)
NUM_MODES = len(MODE_WEIGHTS)
NUM_SECTORS = 12  # of azimuth; their centres are 30 degrees apart
SECTOR_RAD = 2 * math.pi / NUM_SECTORS


@dataclass(frozen=True, slots=True)
class Answers:
    """What the network says about N pictures. Sector k is centred on the azimuth k * SECTOR_RAD; logits are without softmax."""

    class_logits: Tensor  # [N, NUM_CLASSES]
    mode_logits: Tensor  # [N, NUM_MODES]
    sector_logits: Tensor  # [N, NUM_SECTORS]
    sector_offset_rad: Tensor  # [N, NUM_SECTORS], azimuth minus the centre, supposing that it is that sector
    elevation_rad: Tensor  # [N]
    mask_logits: Tensor  # [N, 1, S, S], does the ray through the pixel's centre hit the object
    depth: Tensor  # [N, 1, S, S], distance along the ray in world units, supposing that it does
    features: Tensor  # [N, F], not negative

    def azimuth_rad(self) -> Tensor:
        """The azimuth in [-pi, pi): [N].

        A boat seen through blur may face either way. The mean of (sin, cos), which a regression of the two learns, then points to its side,
        where it certainly does not face; so the likeliest sector is taken (sectors as in Mousavian et al. 2017, arXiv 1612.00496). Only it
        and its two neighbours are averaged, by their probabilities, so that the reading is continuous where sectors meet.
        """
        best = self.sector_logits.argmax(1, keepdim=True)
        near = (best + torch.arange(-1, 2, device=best.device)) % NUM_SECTORS
        weight = self.sector_logits.gather(1, near).softmax(1)
        angle = near * SECTOR_RAD + self.sector_offset_rad.gather(1, near)
        return torch.atan2((weight * angle.sin()).sum(1), (weight * angle.cos()).sum(1))


def sector_weights(azimuth_rad: Tensor) -> tuple[Tensor, Tensor]:
    """(weights, offset_rad), each [N, NUM_SECTORS], of azimuths [N]: the two nearest sectors share one by nearness; offsets are wrapped."""
    centres = torch.arange(NUM_SECTORS, device=azimuth_rad.device) * SECTOR_RAD
    offset = torch.remainder(azimuth_rad[:, None] - centres + math.pi, 2 * math.pi) - math.pi
    return (1 - offset.abs() / SECTOR_RAD).clamp(min=0), offset


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
    )


class OracleNetwork(nn.Module):
    """Widths w, 2w, 4w, 5w at 32, 16, 8 and 4 pixels (Ronneberger et al. 2015, with added instead of concatenated skips). `width` is w."""

    def __init__(self, width: int, num_features: int) -> None:
        super().__init__()
        w = width
        self.width, self.num_features = width, num_features
        self.contract = nn.ModuleList([
            nn.Sequential(_convolution(3, w), _convolution(w, w)),
            nn.Sequential(_convolution(w, 2 * w, stride=2), _convolution(2 * w, 2 * w)),
            nn.Sequential(_convolution(2 * w, 4 * w, stride=2), _convolution(4 * w, 4 * w)),
            _convolution(4 * w, 5 * w, stride=2),
        ])
        self.narrow = nn.Conv2d(5 * w, w, 1)
        self.gather = nn.Linear(w * (RESOLUTION // 8) ** 2, num_features)
        self.answer = nn.Linear(num_features, NUM_CLASSES + NUM_MODES + 2 * NUM_SECTORS + 1)
        coarse_to_fine = ((5 * w, 4 * w, 2 * w), (2 * w, 2 * w, 2 * w), (2 * w, w, w))  # channels from below, of the skip, of their sum
        self.lift = nn.ModuleList([nn.Conv2d(below, out, 1) for below, _, out in coarse_to_fine])
        self.skip = nn.ModuleList([nn.Conv2d(beside, out, 1) for _, beside, out in coarse_to_fine])
        self.expand = nn.ModuleList([_convolution(out, out) for _, _, out in coarse_to_fine])
        self.pixels = nn.Conv2d(w, 2, 1)

    def forward(self, images: Tensor) -> Answers:
        """images [N, 3, 32, 32] in [-1, 1]."""
        levels, x = [], images
        for stage in self.contract:
            x = stage(x)
            levels.append(x)
        features = F.relu(self.gather(F.relu(self.narrow(x)).flatten(1)))
        numbers = (NUM_CLASSES, NUM_MODES, NUM_SECTORS, NUM_SECTORS, 1)
        classes, modes, sectors, offsets, elevation = self.answer(features).split(numbers, dim=1)
        for lift, skip, stage, beside in zip(self.lift, self.skip, self.expand, levels[-2::-1], strict=True):
            x = stage(F.relu(F.interpolate(lift(x), scale_factor=2.0, mode='nearest') + skip(beside)))
        mask, nearness = self.pixels(x).split(1, dim=1)
        return Answers(classes, modes, sectors, offsets, elevation[:, 0], mask, RADIUS - nearness, features)


def new_network(width: int, num_features: int, seed: int = 0) -> OracleNetwork:
    """He-normal weights drawn from a generator of their own; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):  # modules draw first weights of their own when they are made
        network = OracleNetwork(width, num_features)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity='relu', generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for head in (network.answer, network.pixels):
        nn.init.normal_(head.weight, std=0.01, generator=generator)
    return network.to(memory_format=torch.channels_last)  # a third faster on a CPU
