"""Super-resolution: rendered features -> the final picture, by blocks that share the last latent (EG3D, arXiv 2112.07945, 4.3)."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from dnnlib.errors import UsageError
from torch_utils.precision import Precision, autocast
from torch_utils.rng import Stream
from training.networks.blocks import SynthesisBlock
from training.networks.modulated import Noise


@dataclass(frozen=True, slots=True)
class SuperresConfig:
    """Which layouts this spells, beside any other: the published 2X and 4X are channels (128, 64) with input_resolution half the image's,
    8X is (128, 64) and 8XDC (256, 128) with a quarter of it."""

    channels: tuple[int, ...] = ()  # width of each block; () : two blocks, or one per factor of two, of 128, 64, 32, 32...
    input_resolution: int | None = None  # rendered features are resized to this before the first block; None: the render resolution
    antialias: bool = True  # of that resizing
    noise: Noise = 'none'  # 'random' is 'const' in evaluation, where there is no stream
    clamp: float | None = None
    precision: Precision = 'fp32'  # of its products, in training and evaluation; the picture itself is summed up in float32
    # The published 2X and 4X networks add the first block's picture to image_raw itself when nothing is resized before it.
    # Only their weights want that.
    raw_includes_first_block: bool = False

    def layout(self, render_resolution: int, image_resolution: int) -> tuple[int, list[tuple[int, bool]]]:
        """The input resolution and (width, upsamples) for each block; the last blocks are the ones that upsample.

        Raises UsageError where the factor is not a power of two or wants more blocks than `channels` has.
        """
        start = self.input_resolution or render_resolution
        factor, rest = divmod(image_resolution, start)
        if rest or factor < 1 or factor & (factor - 1):
            raise UsageError(
                f'superres: from {start} to {image_resolution} pixels is not a power of two; '
                'choose superres.input_resolution so that image_resolution is 1, 2, 4, 8... times as much'
            )
        ups = factor.bit_length() - 1
        channels = self.channels or tuple(max(128 >> i, 32) for i in range(max(2, ups)))
        if len(channels) < ups:
            raise UsageError(f'superres: from {start} to {image_resolution} pixels takes {ups} blocks, and channels has {len(channels)}')
        return start, [(width, i >= len(channels) - ups) for i, width in enumerate(channels)]


class Superres(nn.Module):
    """image_raw [N, 3, r, r], features [N, F, r, r], w [N, w_dim] -> image [N, 3, S, S], image_raw [N, 3, r, r]."""

    def __init__(self, features: int, w_dim: int, render_resolution: int, image_resolution: int, config: SuperresConfig):
        super().__init__()
        self.input_resolution, layout = config.layout(render_resolution, image_resolution)
        self.config = config
        self.blocks = nn.ModuleList()
        width_in, resolution = features, self.input_resolution
        for i, (width, up) in enumerate(layout):
            resolution *= 2 if up else 1
            self.blocks.append(
                SynthesisBlock(
                    width_in, width, 3, w_dim=w_dim, resolution=resolution, up=up, name=f'superres.{i}',
                    has_noise=config.noise != 'none', clamp=config.clamp,
                )
            )
            width_in = width

    def forward(self, image_raw: Tensor, features: Tensor, w: Tensor, stream: Stream | None = None) -> tuple[Tensor, Tensor]:
        noise = 'const' if self.config.noise == 'random' and stream is None else self.config.noise
        resized = image_raw.shape[-1] != self.input_resolution
        x, image = (self._resize(t) for t in (features, image_raw)) if resized else (features, image_raw)
        for i, block in enumerate(self.blocks):
            with autocast(self.config.precision, x.device):
                x, image = block(x, image, (w, w, w), noise, stream)
            if i == 0 and self.config.raw_includes_first_block and not resized and not block.up:
                image_raw = image
        return image, image_raw

    def _resize(self, x: Tensor) -> Tensor:
        side = self.input_resolution
        return F.interpolate(x, size=(side, side), mode='bilinear', align_corners=False, antialias=self.config.antialias)
