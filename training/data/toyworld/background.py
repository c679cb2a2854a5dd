"""What is seen past the object, in levels of difficulty.

L0 `white`. L1 `env`, an environment gradient. L2 `photo`, crops of photographs that the user gives, on a far sphere, and `texture`, the
same with procedural pictures instead of photographs, which needs no data. L3 `clutter`, a procedural picture in the image plane that is
another one for every camera, as the backgrounds of unposed photographs are.

L0 to L2 are functions of the viewing direction alone, hence consistent between views; L3 is a function of scene, camera and place in the
image. Neither depends on the resolution.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.data.image_set import ImageSet
from training.data.toyworld.colour import hsv
from training.data.toyworld.cubemap import CubeMap, LeafFaces, PhotoFaces
from training.data.toyworld.leaves import draw_leaves
from training.data.toyworld.numbers import Draws, cos_sin_turns
from training.data.toyworld.tracer import View, ray_directions

CLUTTER_LEAVES = 64
CLUTTER_SIZES = (0.06, 0.5)  # half widths of the smallest and the largest leaf, in images


class Background(ABC):
    """The background of one scene. `kind`: its name among BACKGROUNDS."""

    kind: str

    @abstractmethod
    def seen(self, view: View, side: int) -> np.ndarray:
        """RGB in [0, 1] along the rays through the centres of a side x side grid, row by row: float64 [side * side, 3]."""


class Far(Background):
    """A background at infinity: what is seen depends on the direction alone."""

    @abstractmethod
    def colours(self, directions: np.ndarray) -> np.ndarray:
        """RGB in [0, 1] seen along unit world directions float64 [R, 3]: float64 [R, 3]."""

    def seen(self, view: View, side: int) -> np.ndarray:
        return self.colours(ray_directions(view, side))


@dataclass(frozen=True, slots=True)
class White(Far):
    """L0."""

    kind: str = 'white'

    def colours(self, directions: np.ndarray) -> np.ndarray:
        return np.ones_like(directions)

    def seen(self, view: View, side: int) -> np.ndarray:
        return np.ones((side * side, 3))


@dataclass(frozen=True, slots=True)
class Environment(Far):
    """L1. `sky`, `horizon`, `ground`, `glow`: RGB; `towards`: unit direction of the glow."""

    sky: tuple[float, float, float]
    horizon: tuple[float, float, float]
    ground: tuple[float, float, float]
    glow: tuple[float, float, float]
    towards: tuple[float, float, float]
    kind: str = 'env'

    def colours(self, directions: np.ndarray) -> np.ndarray:
        up = directions[:, 1:2]
        steep = np.sqrt(np.abs(up))
        side = np.where(up >= 0, np.array(self.sky), np.array(self.ground))
        base = np.array(self.horizon) * (1 - steep) + side * steep
        facing = directions[:, 0:1] * self.towards[0] + up * self.towards[1] + directions[:, 2:3] * self.towards[2]
        lobe = 0.25 * (1 + facing) * (1 + facing)  # 1 towards the glow, 0 away from it
        return base * (1 - 0.6 * lobe) + np.array(self.glow) * (0.6 * lobe)


@dataclass(frozen=True, slots=True)
class Sphere(Far):
    """L2: six pictures around the scene."""

    kind: str
    map: CubeMap

    def colours(self, directions: np.ndarray) -> np.ndarray:
        return self.map.colours(directions)


@dataclass(frozen=True, slots=True)
class Clutter(Background):
    """L3: a picture of its own for every camera. `draws`: those of the scene."""

    draws: Draws
    kind: str = 'clutter'

    def seen(self, view: View, side: int) -> np.ndarray:
        camera = np.concatenate([view.world_from_camera.ravel(), view.intrinsics.ravel()]).astype('<f4')
        # Adding zero turns -0 into 0: equal cameras must have equal bytes.
        address = hashlib.blake2b((camera + np.float32(0)).tobytes(), digest_size=16).hexdigest()
        centres = (np.arange(side) + 0.5) / side
        return draw_leaves(self.draws, f'background/clutter/{address}', CLUTTER_LEAVES, CLUTTER_SIZES).painted(centres).reshape(-1, 3)


def _white(draws: Draws, photos: ImageSet | None) -> Background:
    return White()


def _environment(draws: Draws, photos: ImageSet | None) -> Background:
    hue = draws.unit('background/hue')
    c, s = cos_sin_turns(draws.unit('background/towards'))
    return Environment(
        sky=hsv(hue, draws.between('background/sky/saturation', 0.3, 0.6), draws.between('background/sky/value', 0.6, 0.95)),
        horizon=hsv(hue + 0.05, 0.12, draws.between('background/horizon/value', 0.75, 0.95)),
        ground=hsv(hue + draws.between('background/ground/hue', 0.3, 0.7), 0.35, draws.between('background/ground/value', 0.25, 0.5)),
        glow=hsv(hue + draws.between('background/glow/hue', 0.3, 0.7), 0.5, 0.9),
        towards=(0.96 * s, 0.28, 0.96 * c),
    )


def _photo(draws: Draws, photos: ImageSet | None) -> Background:
    assert photos is not None, 'Toyworld refuses background=photo without photographs'
    return Sphere('photo', CubeMap(cos_sin_turns(draws.unit('background/turn')), PhotoFaces(draws, photos)))


def _texture(draws: Draws, photos: ImageSet | None) -> Background:
    return Sphere('texture', CubeMap(cos_sin_turns(draws.unit('background/turn')), LeafFaces(draws)))


def _clutter(draws: Draws, photos: ImageSet | None) -> Background:
    return Clutter(draws)


BACKGROUNDS: dict[str, Callable[[Draws, ImageSet | None], Background]] = {
    'white': _white, 'env': _environment, 'photo': _photo, 'texture': _texture, 'clutter': _clutter,
}
