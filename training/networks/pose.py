"""Networks that find cameras: one invents the pose of a generated picture (PoF3D, arXiv 2301.07702, section 3.2), one reads it off a picture."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnnlib.errors import UsageError
from torch_utils.layout import channels_last
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.convention import fov_to_focal, from_eg3d_angles
from training.cameras.rig import POSE_NUMBERS, Rig, as_read, bounded
from training.networks.layers import Conv, Dense

# What the numbers that networks give for a pose mean. 'bounded': training.cameras.rig makes them a code, by `bounded` where one is invented and
# by `as_read` where one is read. 'PoF3D_2023': they are yaw and pitch as published, radians without bound, and a code as they are (see
# published_camera): for published weights, not for training.
PoseLaw = Literal['bounded', 'PoF3D_2023']
NUMBERS: dict[PoseLaw, int] = {'bounded': POSE_NUMBERS, 'PoF3D_2023': 2}


def code_of(numbers: Tensor, law: PoseLaw) -> Tensor:
    """Pose numbers [N, NUMBERS[law]] of a reader -> pose codes, of the same shape."""
    return as_read(numbers) if law == 'bounded' else numbers


def published_camera(angles: Tensor, rig: Rig) -> Camera:
    """N cameras of the published angles [N, 2], yaw and pitch in radians, with the radius, target and field of view of `rig`.

    They stand around the world's origin and look at the target; training.cameras.convention.from_eg3d_angles says what a pitch is. A pitch
    outside of (0, pi), for which the published code has a NaN camera, stands 0.2 degrees off the pole. Numbers that are not finite raise
    DataError; looking for them waits for the device, which is fine for a law that nothing is trained under.
    """
    yaw, pitch = angles.unbind(dim=1)
    return from_eg3d_angles(yaw, pitch, rig.radius, rig.target, focal=fov_to_focal(rig.fov_x_deg)).checked()


@dataclass(frozen=True, slots=True)
class PoseLearnerConfig:
    """How a generator invents cameras. `rig` is filled in from the law of cameras, whose radius, field of view, target and pitches it keeps."""

    law: PoseLaw = 'bounded'
    lr_multiplier: float = 0.05  # poses must not run ahead of the scenes that they look at
    spread: float = 2.0  # of the pitch, distance and target at the start, in standard deviations of an ordinary layer; yaw is a direction
    radius_range: float = 0.0  # world units by which a learned distance may differ from the rig's; 0: it is fixed
    target_range: float = 0.0  # the same for each coordinate of the point that is looked at
    yaw_mean_rad: float = math.pi / 2  # this and the next two: of 'PoF3D_2023' alone; pi / 2 is the front
    yaw_clip_rad: tuple[float, float] | None = None
    pitch_clip_rad: tuple[float, float] | None = None
    rig: Rig = field(default_factory=Rig)

    def __post_init__(self) -> None:
        if self.law == 'PoF3D_2023' and (self.radius_range or self.target_range):
            raise UsageError("generator.pose.law=PoF3D_2023 has two angles; a distance or a target is learned under 'bounded' only.")
        if self.lr_multiplier <= 0 or self.spread <= 0:
            raise UsageError(f'generator.pose: lr_multiplier and spread must be positive; found {self.lr_multiplier} and {self.spread}.')
        if not 0 <= self.radius_range < self.rig.radius or self.target_range < 0:
            raise UsageError(
                f'generator.pose.radius_range must lie between 0 and the radius {self.rig.radius:g}, target_range cannot be negative; found '
                f'{self.radius_range:g} and {self.target_range:g}.'
            )


class PoseLearner(nn.Module):
    """w [N, w_dim] -> codes [N, 3] of training.cameras.rig, followed by a column for the distance and three for the target if these are learned.

    Two layers, as published. Its output is bounded and without a seam, where the released code has angles that leave the domain of their
    arccos: most of its first batches hold a camera that is NaN. Under the law 'PoF3D_2023' it gives those angles, [N, 2].
    """

    def __init__(self, w_dim: int, config: PoseLearnerConfig):
        super().__init__()
        self.config = config
        extra = (config.radius_range > 0) + 3 * (config.target_range > 0)
        self.hidden = Dense(w_dim, w_dim, lrelu=True, lr_multiplier=config.lr_multiplier)
        self.out = Dense(w_dim, NUMBERS[config.law] + extra, lr_multiplier=config.lr_multiplier)
        with torch.no_grad():
            # What leaves an lrelu has a positive mean, with which random weights would favour one direction for all latents.
            self.hidden.weight.sub_(self.hidden.weight.mean(dim=1, keepdim=True))
            self.out.weight.sub_(self.out.weight.mean(dim=1, keepdim=True)).mul_(config.spread)

    def forward(self, w: Tensor) -> Tensor:
        config, numbers = self.config, self.out(self.hidden(w))
        if config.law == 'bounded':
            return bounded(numbers)
        yaw, pitch = numbers[:, 0] + config.yaw_mean_rad, numbers[:, 1] + math.pi / 2
        return torch.stack([_clipped(yaw, config.yaw_clip_rad), _clipped(pitch, config.pitch_clip_rad)], dim=1)

    def camera(self, code: Tensor) -> Camera:
        """N cameras at codes that this network gave."""
        if self.config.law == 'PoF3D_2023':
            return published_camera(code, self.config.rig)
        config, rig, free = self.config, self.config.rig, list(code[:, POSE_NUMBERS:].unbind(dim=1))
        radius = target = None
        if config.radius_range > 0:
            radius = rig.radius + config.radius_range * free.pop(0)
        if config.target_range > 0:
            target = torch.stack(free, dim=1) * config.target_range + code.new_tensor(rig.target)
        return rig.camera(code, radius, target)


@dataclass(frozen=True, slots=True)
class PoseReaderConfig:
    """How a discriminator reads cameras off pictures. Codes are those of `rig`, which is filled in from the law of cameras."""

    law: PoseLaw = 'bounded'
    sees: Literal['trunk', 'grey'] = 'trunk'  # a head on the discriminator's features, or a network of its own that sees no colours
    hidden: int | None = None  # width of the layer before the last; None: half of the features for 'trunk' as published, 128 for 'grey'
    channels: tuple[int, ...] = (24, 32, 48, 64)  # of 'grey', at full, half ... resolution
    rig: Rig = field(default_factory=Rig)

    def __post_init__(self) -> None:
        if self.law == 'PoF3D_2023' and self.sees != 'trunk':
            raise UsageError('discriminator.pose.law=PoF3D_2023 is for published weights, which read poses off the trunk; set sees=trunk.')
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise UsageError(f'discriminator.pose.channels needs two widths or more, each at least 1; found {self.channels}.')


class TrunkReader(nn.Module):
    """Features of the discriminator's trunk [N, F] -> pose numbers [N, 3], or [N, 2] under the published law (PoF3D, section 3.3).

    What it learns shapes the trunk.
    """

    def __init__(self, features: int, config: PoseReaderConfig):
        super().__init__()
        hidden = features // 2 if config.hidden is None else config.hidden
        self.hidden = Dense(features, hidden, lrelu=True)
        self.out = Dense(hidden, NUMBERS[config.law])

    def forward(self, features: Tensor) -> Tensor:
        return self.out(self.hidden(features))


class GreyReader(nn.Module):
    """image [N, 3, S, S] -> pose numbers [N, 3], from brightness alone and whatever its sign: a colour cannot become the name of a direction.

    A generator that is asked for pictures whose camera can be read writes the answer where it costs least; a reader of colours is answered in
    colours (all backs blue), one of grey pictures with random weights of the channels must be answered in shape.
    """

    def __init__(self, resolution: int, config: PoseReaderConfig):
        super().__init__()
        widths = config.channels
        side = resolution >> (len(widths) - 1)
        if side < 2:
            raise UsageError(f'discriminator.pose.channels: {len(widths)} widths halve a picture of {resolution} pixels to less than 2; give fewer.')
        self.from_image = Conv(1, widths[0], 3)
        self.blocks = nn.ModuleList(nn.ModuleList([Conv(a, a, 3), Conv(a, b, 3)]) for a, b in pairwise(widths))
        self.hidden = Dense(widths[-1] * side**2, 128 if config.hidden is None else config.hidden, lrelu=True)
        self.out = Dense(self.hidden.weight.shape[0], POSE_NUMBERS)

    def forward(self, image: Tensor, stream: Stream | None = None) -> Tensor:
        """Without a stream the channels have equal weights."""
        x = self.from_image(channels_last(grey(image, stream)))
        for first, second in self.blocks:
            x = F.avg_pool2d(second(first(x)), 2)
        return self.out(self.hidden(x.flatten(1)))


def _clipped(angle_rad: Tensor, limits: tuple[float, float] | None) -> Tensor:
    return angle_rad if limits is None else angle_rad.clamp(*limits)


def grey(image: Tensor, stream: Stream | None) -> Tensor:
    """[N, 3, S, S] -> [N, 1, S, S]: the channels' mean, or with a stream a random mixture of random sign and contrast per picture."""
    if stream is None:
        return image.mean(dim=1, keepdim=True)
    # Minus the logarithms of uniform numbers, normalised, are uniform on the simplex of three weights.
    weights = -stream.uniform('grey/weights', 3, device=image.device).clamp(min=1e-6).log()
    weights = weights / weights.sum(dim=1, keepdim=True)
    sign = 1 - 2 * stream.bernoulli('grey/sign', 0.5, device=image.device).float()
    contrast = 0.7 + 0.6 * stream.uniform('grey/contrast', device=image.device)
    return (image * weights[:, :, None, None]).sum(dim=1, keepdim=True) * (sign * contrast)[:, None, None, None]
