"""What the discriminator is shown of a picture, real or generated: blurred at first, augmented alike, and with its raw companion if it compares the two."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from torch_utils.rng import Stream
from training import schedules
from training.augment.blur import blur
from training.augment.controller import AdaController
from training.augment.pipe import AugmentPipe
from training.networks.discriminator import companion
from training.networks.outputs import Output
from training.tasks.gan_config import GanConfig


@dataclass(frozen=True, slots=True)
class Showing:
    """Pictures [N, 3, S, S] in [-1, 1]; raw companions [N, 3, R, R], None unless the discriminator is `dual` (EG3D, arXiv 2112.07945, section 4.3).

    nimg: real images that training has seen; render_resolution: rays per side when it begins.
    """

    config: GanConfig
    augment: AugmentPipe
    ada: AdaController
    dual: bool
    render_resolution: int

    def resolution(self, nimg: int) -> int:
        """Rays per side now, R."""
        start, config = self.render_resolution, self.config
        final = start if config.render_resolution_final is None else config.render_resolution_final
        return schedules.render_resolution(nimg, start, final, config.render_resolution_fade_kimg)

    def raw_of_fake(self, fake: Output) -> Tensor | None:
        """What was rendered, before super-resolution."""
        return fake.image_raw if self.dual else None

    def raw_of_real(self, image: Tensor, nimg: int) -> Tensor | None:
        """A photograph, as small as a rendering is now."""
        if not self.dual:
            return None
        return companion(image, self.resolution(nimg))

    def __call__(self, image: Tensor, raw: Tensor | None, nimg: int, stream: Stream, is_real: bool) -> tuple[Tensor, Tensor | None]:
        """Both as they are shown; a stream row per picture."""
        sigma = schedules.blur_sigma_px(nimg, self.config.blur_sigma_px, self.config.blur_fade_kimg)
        image = blur(image, sigma)
        if raw is not None and self.config.blur_raw == 'both':
            raw = blur(raw, sigma * raw.shape[-1] / image.shape[-1])
        elif raw is not None and is_real:
            raw = blur(raw, sigma)
        return self._augmented(image, raw, stream.within('real' if is_real else 'fake'))

    def _augmented(self, image: Tensor, raw: Tensor | None, stream: Stream) -> tuple[Tensor, Tensor | None]:
        if self.ada.p == 0 or self.augment.is_identity:
            return image, raw
        if raw is None:
            return self.augment(image, self.ada.p, stream), None
        # One transform for the pair: the discriminator compares the two pictures with each other.
        pair = torch.cat([image, F.interpolate(raw, image.shape[-2:], mode='bilinear', antialias=True)], dim=1)
        image, enlarged_raw = self.augment(pair, self.ada.p, stream).split(image.shape[1], dim=1)
        return image, F.interpolate(enlarged_raw, raw.shape[-2:], mode='bilinear', antialias=True)
