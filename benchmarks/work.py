"""Work that a function has to do, counted by hand: the same for every contestant, however many operations it takes for it.

flops: multiplications and additions of matrix products, convolutions, filters and interpolation; activations, whose cost nobody agrees on,
are left out (a softplus counts nothing here and a fifth of the renderer's time). bytes: what must cross between memory and processor at
least, every layer reading its input and its weights once and writing its output once, in float32 unless it says otherwise; the renderer is one layer, because nothing
of the size [rays x samples x channels] has to exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from training.networks.discriminator import DiscriminatorConfig
from training.networks.generator3d import GeneratorConfig
from training.networks.radiance import RadianceConfig
from training.rendering.planes import PLANE_AXES
from training.rendering.renderer import RenderingConfig
from training.tasks.gan_config import GanConfig

FLOAT = 4  # bytes
SHORT = 2  # bytes of bfloat16
FIR = 2 * 16  # operations of the 4x4 filter per output


@dataclass(frozen=True, slots=True)
class Work:
    """Operations and bytes; works add up and are repeated like numbers."""

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float) -> Work:
        return Work(self.flops * times, self.bytes * times)


def samples_of(config: RenderingConfig) -> int:
    """Points per ray at which the field is asked."""
    return config.samples_coarse + config.samples_fine + (config.background == 'field')


def renderer(config: GeneratorConfig, rays: int, *, backward: bool = False) -> Work:
    """Volume rendering of one image: planes and `rays` rays -> features, depth, opacity."""
    points = rays * samples_of(config.rendering)
    channels, resolution = config.synthesis.plane_channels, config.synthesis.plane_resolution
    planes = len(PLANE_AXES[config.rendering.axes])
    # Per point: a multiplication and an addition for each of four texels, per plane and channel; a row of the decoder; C additions to the ray.
    taps = 2 * 4 * planes * channels
    # 6 numbers per ray come in, the features, depth and opacity go out.
    read = FLOAT * (planes * channels * resolution**2 + 6 * rays)
    written = FLOAT * rays * (config.radiance.features + 2)
    forward = Work(points * (taps + decoder_flops(channels, config.radiance) + 2 * config.radiance.features), read + written)
    if not backward:
        return forward
    # The gradients of a product with respect to both factors cost twice the product, those of an interpolation with respect to the planes
    # as much as itself. The planes are read again and their gradient is written.
    back = points * (taps + 2 * decoder_flops(channels, config.radiance) + 2 * 2 * config.radiance.features)
    return forward + Work(back, written + 2 * read)


def decoder_flops(channels: int, config: RadianceConfig) -> int:
    """Of one point."""
    return sum(2 * a * b for a, b in pairwise([channels, *config.hidden, 1 + config.features]))


def convolution(inputs: int, outputs: int, kernel: int, side_in: int, side_out: int) -> Work:
    """One image; a stride divides the outputs, a transposed convolution spends its products on the inputs."""
    products = kernel**2 * inputs * outputs * min(side_in, side_out) ** 2
    return Work(2 * products, FLOAT * (inputs * side_in**2 + outputs * side_out**2 + kernel**2 * inputs * outputs))


def synthesis_block(inputs: int, width: int, image_channels: int, side: int, up: bool) -> Work:
    """Two convolutions and a picture at `side`; the filters of the first convolution and of the enlarged picture where it goes up."""
    below = side // 2 if up else side
    filters = FIR * (width + image_channels) * side**2 if up else 0
    return (
        convolution(inputs, width, 3, below, side)
        + convolution(width, width, 3, side, side)
        + convolution(width, image_channels, 1, side, side)
        + Work(filters, 0)  # of one pass with the convolution before
    )


def backbone(config: GeneratorConfig) -> Work:
    """Latent -> planes of one image. The mapping network and the style layers, some millionths of it, are left out."""
    widths = config.synthesis.widths()
    image_channels = len(PLANE_AXES[config.rendering.axes]) * config.synthesis.plane_channels
    first = convolution(widths[4], widths[4], 3, 4, 4) + convolution(widths[4], image_channels, 1, 4, 4)
    return sum((synthesis_block(widths[r // 2], widths[r], image_channels, r, up=True) for r in widths if r > 4), first)


def superres(config: GeneratorConfig) -> Work:
    """Features -> picture of one image."""
    if config.superres is None:
        return Work()
    side, layout = config.superres.layout(config.render_resolution, config.image_resolution)
    total, inputs = Work(), config.radiance.features
    for width, up in layout:
        side *= 2 if up else 1
        total, inputs = total + synthesis_block(inputs, width, 3, side, up), width
    return total


def generator(config: GeneratorConfig, rays: int) -> Work:
    """All of it, forward, one image."""
    return backbone(config) + renderer(config, rays) + superres(config)


def discriminator(config: DiscriminatorConfig) -> Work:
    """Forward, one image."""
    widths = config.widths()
    side = config.image_resolution
    total = convolution(6 if config.see == 'dual' else 3, widths[side], 1, side, side)
    for r in sorted(widths, reverse=True):
        if r > 4:
            inputs, outputs = widths[r], widths[r // 2]
            total += convolution(inputs, inputs, 3, r, r) + convolution(inputs, outputs, 3, r, r // 2)
            total += convolution(inputs, outputs, 1, r // 2, r // 2) + Work(FIR * inputs * (r**2 + (r // 2) ** 2), 0)
    return total + convolution(widths[4] + 1, widths[4], 3, 4, 4) + Work(2 * 16 * widths[4] ** 2, FLOAT * 16 * widths[4] ** 2)


def training_step(generator_config: GeneratorConfig, discriminator_config: DiscriminatorConfig, gan: GanConfig, batch: int) -> Work:
    """One iteration as the papers describe it, regularisers at their mean frequency; one that shares passes does less.

    A backward pass costs twice the forward pass, half of that where weights are frozen. R1 goes forward (1) and back to the image (1), and
    back through both (2 + 2).
    """
    rays = generator_config.render_resolution**2
    g, d, planes = generator(generator_config, rays), discriminator(discriminator_config), backbone(generator_config)
    rendering = renderer(generator_config, rays, backward=True)
    main = (planes + superres(generator_config)) * 3 + rendering + d * 2 + g + d * 6
    density = planes * (3 / gan.density_every) if gan.density_weight > 0 else Work()
    r1 = d * (6 / gan.r1_every) if gan.r1_gamma > 0 else Work()
    return (main + density + r1) * batch
