"""What is seen past the object. A background is a function of the viewing direction, so it is consistent between views.

Levels: L0 `white`; L1 `env`, an environment gradient. Harder levels (L2, crops of photographs on a far sphere; L3, clutter that is not
3-D consistent) become entries of BACKGROUNDS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.toyworld.colour import hsv
from training.data.toyworld.numbers import Draws, cos_sin_turns


@dataclass(frozen=True, slots=True)
class Background:
    """The background of one scene. `sky`, `horizon`, `ground`, `glow`: RGB; `towards`: unit direction of the glow."""

    kind: str
    sky: tuple[float, float, float] = (1.0, 1.0, 1.0)
    horizon: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ground: tuple[float, float, float] = (1.0, 1.0, 1.0)
    glow: tuple[float, float, float] = (1.0, 1.0, 1.0)
    towards: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def colours(self, directions: np.ndarray) -> np.ndarray:
        """RGB in [0, 1] seen along unit world directions float64 [R, 3]: float64 [R, 3]."""
        if self.kind == 'white':
            return np.ones_like(directions)
        up = directions[:, 1:2]
        steep = np.sqrt(np.abs(up))
        side = np.where(up >= 0, np.array(self.sky), np.array(self.ground))
        base = np.array(self.horizon) * (1 - steep) + side * steep
        facing = directions[:, 0:1] * self.towards[0] + up * self.towards[1] + directions[:, 2:3] * self.towards[2]
        lobe = 0.25 * (1 + facing) * (1 + facing)  # 1 towards the glow, 0 away from it
        return base * (1 - 0.6 * lobe) + np.array(self.glow) * (0.6 * lobe)


def _white(draws: Draws) -> Background:
    return Background('white')


def _environment(draws: Draws) -> Background:
    hue = draws.unit('background/hue')
    c, s = cos_sin_turns(draws.unit('background/towards'))
    return Background(
        kind='env',
        sky=hsv(hue, draws.between('background/sky/saturation', 0.3, 0.6), draws.between('background/sky/value', 0.6, 0.95)),
        horizon=hsv(hue + 0.05, 0.12, draws.between('background/horizon/value', 0.75, 0.95)),
        ground=hsv(hue + draws.between('background/ground/hue', 0.3, 0.7), 0.35, draws.between('background/ground/value', 0.25, 0.5)),
        glow=hsv(hue + draws.between('background/glow/hue', 0.3, 0.7), 0.5, 0.9),
        towards=(0.96 * s, 0.28, 0.96 * c),
    )


BACKGROUNDS: dict[str, Callable[[Draws], Background]] = {'white': _white, 'env': _environment}
