"""The backbone: latents -> feature planes of any resolution, by a skip generator (StyleGAN2, arXiv 1912.04958; EG3D, arXiv 2112.07945)."""

from dataclasses import dataclass

from torch import Tensor, nn

from dnnlib.errors import UsageError
from torch_utils.rng import Stream
from training.networks.blocks import ConstantBlock, ExtraBlock, SynthesisBlock
from training.networks.modulated import Noise


def widths(resolution: int, channel_base: int, channel_max: int, channels: tuple[tuple[int, int], ...], what: str) -> dict[int, int]:
    """{4: C, 8: C, ..., resolution: C}: min(channel_base // r, channel_max), or `channels`, pairs (resolution, width), where they say so.

    Raises UsageError for a resolution that is not a power of two >= 4, for a width below 1, and for widths of resolutions not used.
    """
    if resolution < 4 or resolution & (resolution - 1):
        raise UsageError(f'{what}: the resolution must be a power of two and at least 4, not {resolution}')
    result = {4 << i: max(1, min(channel_base // (4 << i), channel_max)) for i in range(resolution.bit_length() - 2)}
    for r, width in channels:
        if r not in result or width < 1:
            raise UsageError(f'{what}: channels has ({r}, {width}); it takes pairs (resolution, width >= 1) for resolutions {list(result)}')
        result[r] = width
    return result


@dataclass(frozen=True, slots=True)
class SynthesisConfig:
    plane_resolution: int = 256
    plane_channels: int = 32
    channel_base: int = 32768
    channel_max: int = 512
    channels: tuple[tuple[int, int], ...] = ()  # (resolution, width) pairs that override channel_base and channel_max
    extra_blocks: tuple[int, ...] = ()  # resolutions after whose block an extra one stands; repeat a resolution for more
    noise: bool = True  # whether the convolutions have noise inputs
    clamp: float | None = None  # activations are clamped to +-clamp: for 16-bit training

    def __post_init__(self) -> None:
        unknown = sorted(set(self.extra_blocks) - set(self.widths()))
        if unknown or self.plane_channels < 1:
            raise UsageError(f'synthesis: extra_blocks {unknown} are not among the resolutions {list(self.widths())}' if unknown else
                             f'synthesis: plane_channels must be at least 1, not {self.plane_channels}')

    def widths(self) -> dict[int, int]:
        return widths(self.plane_resolution, self.channel_base, self.channel_max, self.channels, 'synthesis')


class Synthesis(nn.Module):
    """ws [N, num_ws, w_dim] -> planes [N, P, C, H, W] float32.

    Block r takes two entries of ws for its convolutions and shares the next one, its picture's, with the block above. Extra blocks use the
    entries of the block they follow, so that num_ws = 2 log2(plane_resolution) - 2 whatever their number.
    """

    def __init__(self, w_dim: int, num_planes: int, config: SynthesisConfig):
        super().__init__()
        channels = config.widths()
        image_channels = num_planes * config.plane_channels
        common = {'w_dim': w_dim, 'has_noise': config.noise, 'clamp': config.clamp}
        self.num_planes = num_planes
        self.resolutions = tuple(channels)
        self.num_ws = 2 * len(channels)
        self.r4 = ConstantBlock(channels[4], image_channels, name='synthesis.r4', **common)
        self.blocks = nn.ModuleDict()
        self.extras = nn.ModuleDict()
        for r in self.resolutions:
            if r > 4:
                self.blocks[f'r{r}'] = SynthesisBlock(
                    channels[r // 2], channels[r], image_channels, resolution=r, up=True, name=f'synthesis.r{r}', **common
                )
            self.extras[f'r{r}'] = nn.ModuleList(
                ExtraBlock(channels[r], image_channels, resolution=r, name=f'synthesis.r{r}.extra{i}', **common)
                for i in range(config.extra_blocks.count(r))
            )

    def forward(self, ws: Tensor, noise: Noise = 'const', stream: Stream | None = None) -> Tensor:
        w = ws.unbind(dim=1)
        assert len(w) == self.num_ws, f'{len(w)} latents for a backbone that takes {self.num_ws}'
        for i, r in enumerate(self.resolutions):
            if r == 4:
                x, image = self.r4((w[0], w[1]), noise, stream)
            else:
                x, image = self.blocks[f'r{r}'](x, image, (w[2 * i - 1], w[2 * i], w[2 * i + 1]), noise, stream)
            for extra in self.extras[f'r{r}']:
                x, image = extra(x, image, (w[2 * i], w[2 * i + 1]), noise, stream)
        return image.unflatten(1, (self.num_planes, -1))
