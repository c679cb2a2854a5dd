"""The discriminator is see + trunk + heads: what it looks at, a residual pyramid that runs once, and what it is asked about the result.

Residual StyleGAN2 discriminator (arXiv 1912.04958), dual discrimination (EG3D, arXiv 2112.07945, section 4.3), conditions by projection
(arXiv 1802.05637).
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnnlib.errors import UsageError
from torch_utils.layout import channels_last
from torch_utils.precision import autocast
from torch_utils.rng import Stream
from training.cameras.camera import Camera
from training.cameras.rig import jittered
from training.networks.layers import LRELU_GAIN, Conv, Dense, lrelu
from training.networks.mapping import Mapping, MappingConfig
from training.networks.pose import NUMBERS, GreyReader, PoseReaderConfig, TrunkReader, code_of
from training.networks.resample import conv_down, downsample
from training.networks.synthesis import widths

BRANCH_SCALE = math.sqrt(0.5)  # keeps the variance of a sum of two branches at 1


@dataclass(frozen=True, slots=True)
class DiscriminatorConfig:
    image_resolution: int = 128
    see: Literal['single', 'dual'] = 'dual'
    num_classes: int = 0  # 0: no class
    conditions_on_camera: bool = False
    conditions_on_pose: bool = False  # on what its own reader says of the picture, or on a pose code that it is told
    pose: PoseReaderConfig | None = None  # None: it reads no poses
    views_together: int = 1  # more than 1: so many pictures are judged side by side, with one answer for them all
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[tuple[int, int], ...] = ()  # (resolution, width) pairs that override channel_base and channel_max
    clamp: float | None = None  # activations are clamped to +-clamp: for 16-bit training
    mbstd_group: int = 4  # samples per group of the minibatch standard deviation; 0: none
    mbstd_grouping: Literal['strided', 'consecutive'] = 'consecutive'  # consecutive: micro-batches and ranks see the groups of the whole batch
    mapping: MappingConfig = field(default_factory=lambda: MappingConfig(layers=8))
    # Whether a conditional discriminator also has a say without looking at the condition, as in arXiv 1802.05637 (equation 3). The published
    # StyleGAN2 and EG3D have the projection alone; with many classes it learns what is real from each class's pictures almost by itself.
    unconditional_term: bool = False

    def __post_init__(self) -> None:
        self.widths()
        if self.mbstd_group < 0 or self.num_classes < 0:
            raise UsageError('discriminator: mbstd_group and num_classes must be at least 0')
        if self.conditions_on_pose and self.pose is None:
            raise UsageError('discriminator.conditions_on_pose needs a reader of poses, and discriminator.pose is none; start from demo-pof3d or demo-unposed.')
        if self.views_together < 1:
            raise UsageError(f'discriminator.views_together counts pictures and is at least 1; found {self.views_together}.')
        if self.views_together > 1 and (self.conditions_on_pose or self.conditions_on_camera):
            raise UsageError('discriminator.views_together: views that are judged with one answer have no common camera; condition on none.')

    def widths(self) -> dict[int, int]:
        return widths(self.image_resolution, self.channel_base, self.channel_max, self.channels, 'discriminator')


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a discriminator says of N pictures. pose: what it reads, numbers [N, 3] that training.cameras.rig.as_read makes a code, or those
    of published weights, [N, 2], which are one; None without a reader. logits: [N]; with views_together V, [N / V], one for each run of V
    neighbours."""

    logits: Tensor
    pose: Tensor | None


class Discriminator(nn.Module):
    """forward(image [N, 3, S, S], image_raw [N, 3, r, r] for a dual one, classes int64 [N], camera of N) -> logits; `judge` says more."""

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        channels = config.widths()
        self.config = config
        self.trunk = Trunk(6 if config.see == 'dual' else 3, channels, config)
        self.realness = Realness(channels[4], config)
        self.reader: TrunkReader | GreyReader | None = None
        if config.pose is not None:
            self.reader = (
                TrunkReader(16 * channels[4], config.pose) if config.pose.sees == 'trunk' else GreyReader(config.image_resolution, config.pose)
            )

    def forward(
        self, image: Tensor, image_raw: Tensor | None = None, classes: Tensor | None = None, camera: Camera | None = None
    ) -> Tensor:
        return self.judge(image, image_raw, classes, camera).logits

    def judge(
        self,
        image: Tensor,
        image_raw: Tensor | None = None,
        classes: Tensor | None = None,
        camera: Camera | None = None,
        pose: Tensor | None = None,
        pose_jitter: Tensor | None = None,
        stream: Stream | None = None,
    ) -> Judgement:
        """One pass of the trunk for all that is asked about the pictures.

        A discriminator that conditions on poses takes `pose`, codes [N, 3], and where none is given what it reads itself; no gradient reaches
        the reader by that way, or it would learn to name the pose under which a picture passes. `pose_jitter` [N, 2] (rig.jittered) makes the
        condition vague. `stream`: draws the grey reader's mixtures.
        """
        features = self.trunk(self.see(image, image_raw))
        # What is said about the features is small work on few numbers; it keeps all digits where the pyramid below runs in 16 bits.
        with autocast('fp32', features.device):
            features = features.to(self.realness.out.weight.dtype)
            read = self._read(image, features, stream)
            condition = None
            if self.config.conditions_on_pose:
                condition = (code_of(read, self.config.pose.law) if pose is None else pose).detach()
                if pose_jitter is not None:
                    condition = jittered(condition, pose_jitter)
            return Judgement(self.realness(features, classes, camera, condition), read)

    def read_pose(self, image: Tensor, image_raw: Tensor | None = None) -> Tensor:
        """Codes [N, 3 or 2] of where pictures were taken from. Raises UsageError for a discriminator that reads no poses."""
        return code_of(self.read(image, image_raw), self.config.pose.law)

    def read(self, image: Tensor, image_raw: Tensor | None = None, stream: Stream | None = None) -> Tensor:
        """Pose numbers of pictures as in a Judgement, which is not passed. Raises UsageError for a discriminator that reads no poses."""
        if self.reader is None:
            raise UsageError('this discriminator reads no poses: it was trained without discriminator.pose')
        features = self.trunk(self.see(image, image_raw)) if isinstance(self.reader, TrunkReader) else None
        with autocast('fp32', image.device):  # as in `judge`
            return self._read(image, None if features is None else features.to(self.realness.out.weight.dtype), stream)

    def _read(self, image: Tensor, features: Tensor | None, stream: Stream | None) -> Tensor | None:
        if isinstance(self.reader, GreyReader):
            return self.reader(image, stream)
        return None if self.reader is None else self.reader(features)

    def see(self, image: Tensor, image_raw: Tensor | None = None) -> Tensor:
        """[N, 3 or 6, S, S]: the picture, and for a dual discriminator the raw one at the same size beside it."""
        if self.config.see == 'single':
            return image
        if image_raw is None:
            raise UsageError('this discriminator is dual: it needs image_raw beside image')
        if image_raw.shape[-2:] != image.shape[-2:]:
            image_raw = F.interpolate(image_raw, size=image.shape[-2:], mode='bilinear', align_corners=False, antialias=True)
        return torch.cat([image, image_raw], dim=1)


def companion(image: Tensor, side: int) -> Tensor:
    """[N, 3, S, S] -> [N, 3, side, side]: what a dual discriminator sees beside a photograph, which is as small as a rendering."""
    return F.interpolate(image, (side, side), mode='bilinear', antialias=True)


class Trunk(nn.Module):
    """x [N, K, S, S] -> features [N, 16 C4], flattened from [C4, 4, 4]; only the minibatch deviation looks across samples."""

    def __init__(self, in_channels: int, channels: dict[int, int], config: DiscriminatorConfig):
        super().__init__()
        self.from_image = Conv(in_channels, channels[config.image_resolution], 1, clamp=config.clamp)
        self.blocks = nn.ModuleDict(
            {f'r{r}': ResidualBlock(channels[r], channels[r // 2], config.clamp) for r in sorted(channels, reverse=True) if r > 4}
        )
        self.group, self.grouping = config.mbstd_group, config.mbstd_grouping
        self.conv = Conv(channels[4] + (self.group > 0), channels[4], 3, clamp=config.clamp)

    def forward(self, x: Tensor) -> Tensor:
        x = self.from_image(channels_last(x))
        for block in self.blocks.values():
            x = block(x)
        if self.group:
            x = channels_last(torch.cat([x, minibatch_deviation(x, self.group, self.grouping)], dim=1))
        return self.conv(x).flatten(1)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, and half the resolution; [N, I, R, R] -> [N, O, R/2, R/2]. Each branch is scaled by sqrt(1/2)."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None):
        super().__init__()
        self.conv0 = Conv(in_channels, in_channels, 3, clamp=clamp)
        self.conv1 = ConvDown(in_channels, out_channels, clamp)
        self.skip = SkipDown(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv1(self.conv0(x))


class ConvDown(nn.Module):
    """Filter, stride-2 3x3 convolution, lrelu of total gain 1, clamp to sqrt(1/2) of the usual: the branch scale is in the weights."""

    def __init__(self, in_channels: int, out_channels: int, clamp: float | None):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = LRELU_GAIN * BRANCH_SCALE
        self.scale = 1 / math.sqrt(in_channels * 9)
        self.clamp = None if clamp is None else clamp * BRANCH_SCALE

    def forward(self, x: Tensor) -> Tensor:
        return lrelu(conv_down(x, self.weight * (self.scale * self.gain), self.bias * self.gain), self.clamp)


class SkipDown(nn.Module):
    """Filter, every second sample, 1x1 convolution without bias, scaled by sqrt(1/2)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1))
        self.scale = BRANCH_SCALE / math.sqrt(in_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(downsample(x), self.weight * self.scale)


class Realness(nn.Module):
    """features [N, 16 C4], classes, camera, pose codes [N, 3] -> logits: a scalar, or with conditions a projection on what they map to.

    [N] logits, or with views_together V [N / V]: the hidden features of V neighbours stand side by side under the mean of their conditions.
    """

    def __init__(self, width: int, config: DiscriminatorConfig):
        super().__init__()
        conditional = config.num_classes > 0 or config.conditions_on_camera or config.conditions_on_pose
        self.views = config.views_together
        self.dense = Dense(16 * width, width, lrelu=True)
        self.together = Dense(self.views * width, width, lrelu=True) if self.views > 1 else None
        self.out = Dense(width, width if conditional else 1)
        self.mapping_network = None
        self.unconditional = Dense(width, 1) if conditional and config.unconditional_term else None
        if conditional:
            self.mapping_network = Mapping(
                z_dim=0, num_classes=config.num_classes, conditions_on_camera=config.conditions_on_camera,
                pose_numbers=NUMBERS[config.pose.law] if config.conditions_on_pose else 0, out_features=width, config=config.mapping,
            )

    def forward(
        self, features: Tensor, classes: Tensor | None = None, camera: Camera | None = None, pose: Tensor | None = None
    ) -> Tensor:
        hidden = self.dense(features)
        if self.together is not None:
            hidden = self.together(hidden.unflatten(0, (-1, self.views)).flatten(1))
        out = self.out(hidden)
        if self.mapping_network is None:
            return out[:, 0]
        condition = self.mapping_network(None, classes, camera, pose).unflatten(0, (-1, self.views)).mean(dim=1)
        logits = (out * condition).sum(dim=1) / math.sqrt(out.shape[1])
        return logits if self.unconditional is None else logits + self.unconditional(hidden)[:, 0]


def minibatch_deviation(x: Tensor, group: int, grouping: Literal['strided', 'consecutive']) -> Tensor:
    """x [N, C, H, W] -> [N, 1, H, W]: how much the members of a sample's group differ, one number per group.

    Biased standard deviation over the group, averaged over C, H, W (Progressive GAN, arXiv 1710.10196, section 3). A group has the largest
    number of members that divides N and is not above `group`. 'strided': sample i is in group i mod (number of groups), as published;
    'consecutive': neighbours are together. Which of the two separates several views of one scene depends on the batch's order.
    """
    rows = len(x)
    members = max(g for g in range(1, min(group, rows) + 1) if rows % g == 0)
    shape = (members, rows // members) if grouping == 'strided' else (rows // members, members)
    axis = 0 if grouping == 'strided' else 1
    groups = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(0, shape)
    centred = groups - groups.mean(dim=axis, keepdim=True)  # Tensor.var is an order of magnitude slower on a CPU
    deviation = (centred.square().mean(dim=axis) + 1e-8).sqrt().mean(dim=(1, 2, 3)).to(x.dtype)
    per_sample = deviation.repeat(members) if grouping == 'strided' else deviation.repeat_interleave(members)
    return per_sample[:, None, None, None].expand(-1, 1, *x.shape[2:])
