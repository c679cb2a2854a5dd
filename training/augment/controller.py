"""Adaptive augmentation strength: raise p while the discriminator is too sure of the training images, lower it otherwise."""

import math
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from dnnlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class AdaConfig:
    """Strength p of augmentation over training (Karras et al. 2020, arXiv 2006.06676, section 3.2)."""

    mode: Literal['noaug', 'ada', 'fixed'] = 'ada'
    initial: float = 0.0  # p at the start ('ada'), or for good ('fixed')
    target: float = 0.6  # of the mean sign of the logits of real images
    speed_kimg: float = 500.0  # thousands of images in which p can go from 0 to 1
    interval: int = 4  # iterations between adjustments

    def __post_init__(self) -> None:
        if not 0 <= self.initial <= 1:
            raise UsageError(f'ada.initial is a probability between 0 and 1; found {self.initial}.')
        if not self.speed_kimg > 0 or self.interval < 1:
            raise UsageError(f'ada.speed_kimg must be positive and ada.interval at least 1; found {self.speed_kimg} and {self.interval}.')


class AdaController:
    """Holds p. It is told what the discriminator said; it reads no log."""

    def __init__(self, config: AdaConfig) -> None:
        self.config = config
        self.p = 0.0 if config.mode == 'noaug' else config.initial
        self._signs: float | Tensor = 0.0  # sum of signs since the last adjustment; on the device where they arose until they are needed
        self._images = 0
        self._observations = 0

    @property
    def adapts(self) -> bool:
        """Whether p ever changes."""
        return self.config.mode == 'ada'

    def observe(self, mean_sign: float | Tensor, images: int) -> float:
        """Note the mean sign of the logits of `images` real images (over all ranks); every `interval` calls adjust p. Returns p.

        A tensor is fetched from its device only when p is adjusted.
        """
        if not self.adapts:
            return self.p
        self._signs = self._signs + mean_sign * images
        self._images += images
        self._observations += 1
        if self._observations >= self.config.interval and self._images > 0:
            self.update(float(self._signs) / self._images, self._images)
            self._signs, self._images, self._observations = 0.0, 0, 0
        return self.p

    def update(self, mean_sign: float, images: int) -> float:
        """Move p towards the target by images / (1000 speed_kimg), within [0, 1]. Returns p. Raises ValueError if mean_sign is not finite.
        """
        if not math.isfinite(mean_sign):
            raise ValueError(f'the mean sign of the logits of real images is {mean_sign}; the discriminator has diverged')
        if self.adapts and mean_sign != self.config.target:
            step = math.copysign(images / (1000 * self.config.speed_kimg), mean_sign - self.config.target)
            self.p = min(max(self.p + step, 0.0), 1.0)
        return self.p

    def state_dict(self) -> dict[str, float]:
        """Plain numbers."""
        return {'p': self.p, 'signs': float(self._signs), 'images': float(self._images), 'observations': float(self._observations)}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue where `state_dict` was taken. Under 'noaug' and 'fixed' the configured p stands."""
        if not self.adapts:
            return
        self.p, self._signs = state['p'], state['signs']
        self._images, self._observations = int(state['images']), int(state['observations'])
