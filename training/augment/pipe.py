"""The augmentation pipe of ADA: what a discriminator is shown of real and generated images (arXiv 2006.06676)."""

from torch import Tensor

from torch_utils.rng import Stream
from training.augment.colour import draw_colours, recolour
from training.augment.corruption import add_noise, cut_out, filter_bands
from training.augment.draws import Draws
from training.augment.geometry import draw_moves, move
from training.augment.settings import AUGMENT_PRESETS, AugmentConfig

__all__ = ['AUGMENT_PRESETS', 'AugmentConfig', 'AugmentPipe']


class AugmentPipe:
    """Random transforms, each with probability p times its strength: rare enough that the distribution of images still shows through.

    All draws belong to rows of the stream: a sample is augmented alike in whatever batch it appears. Differentiable twice.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self.config = config
        self._moves = any((config.xflip, config.rotate90, config.xint, config.scale, config.rotate, config.aniso, config.xfrac))
        self._recolours = any((config.brightness, config.contrast, config.lumaflip, config.hue, config.saturation))

    @property
    def is_identity(self) -> bool:
        """Whether every strength is zero, so that images pass unchanged at any p."""
        config = self.config
        return not (self._moves or self._recolours or config.imgfilter or config.noise or config.cutout)

    def __call__(self, images: Tensor, p: float | Tensor, stream: Stream) -> Tensor:
        """Augmented images, same shape; the argument itself when p is 0.

        images  [N, 3, S, S] in [-1, 1], or [N, 6, S, S]: an image and its raw companion, which are moved, coloured and cut alike
        p       overall probability, 0..1
        stream  N rows; real and generated images of one step need streams of different phases

        Raises ValueError for another number of channels or rows, p outside 0..1, or images that are not square when geometry is on.
        """
        p = float(p)
        n, c, h, w = images.shape
        if not 0 <= p <= 1:
            raise ValueError(f'the augmentation probability must lie in 0..1; found {p}')
        if c not in (3, 6) or len(stream) != n:
            found = f'{tuple(images.shape)} and {len(stream)} rows'
            raise ValueError(f'images must be [N, 3 or 6, S, S] with one row of the stream each; found {found}')
        if p == 0 or self.is_identity:
            return images
        config, draws = self.config, Draws(stream)
        if self._moves:
            if h != w:
                raise ValueError(f'geometric augmentation turns images, which must be square; found {h}x{w}')
            images = move(images, draw_moves(config, p, draws, w))
        if self._recolours:
            matrices, recoloured = draw_colours(config, p, draws)
            if bool(recoloured.any()):
                images = recolour(images, matrices)
        if config.imgfilter:
            images = filter_bands(images, config, p, draws)
        if config.noise:
            images = add_noise(images, config, p, draws)
        return cut_out(images, config, p, draws) if config.cutout else images
