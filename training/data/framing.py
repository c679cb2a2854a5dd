"""How a picture of any shape becomes one of the wanted size, and what that does to the camera's intrinsics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Transform = Literal['center-crop', 'center-crop-wide', 'pad']
TRANSFORMS: tuple[Transform, ...] = ('center-crop', 'center-crop-wide', 'pad')


@dataclass(frozen=True, slots=True)
class Framing:
    """Cut `crop` out of a picture of `size`, scale it to `scaled`, put it at `place` on a canvas. All in pixels, (x, y) or (w, h)."""

    size: tuple[int, int]
    crop: tuple[int, int, int, int]  # left, top, width, height
    scaled: tuple[int, int]
    place: tuple[int, int]
    canvas: tuple[int, int]

    def apply(self, image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
        """The framed picture (Lanczos). A picture that already fits keeps its pixels. Bars have the colour of `background`."""
        left, top, width, height = self.crop
        if self.scaled == (width, height):
            out = image.crop((left, top, left + width, top + height))
        else:
            out = image.resize(self.scaled, Image.Resampling.LANCZOS, box=(left, top, left + width, top + height))
        if out.size == self.canvas:
            return out
        canvas = Image.new('RGB', self.canvas, background)
        canvas.paste(out, self.place)
        return canvas

    def intrinsics(self, k: np.ndarray) -> np.ndarray:
        """Intrinsics [3, 3] in units of the framed picture, from those in units of the original one."""
        out = np.array(k, dtype=np.float64)
        for axis in (0, 1):
            scale = self.scaled[axis] / self.crop[axis + 2]
            out[axis] *= self.size[axis] * scale / self.canvas[axis]
            out[axis, 2] += (self.place[axis] - self.crop[axis] * scale) / self.canvas[axis]
        return out


def frame(size: tuple[int, int], transform: Transform, resolution: tuple[int, int] | None) -> Framing:
    """The framing of a picture of `size` (width, height). `resolution` None keeps the size of what is cut out.

    center-crop: the largest centred square. center-crop-wide: the largest centred rectangle of the aspect of `resolution`, between bars
    on a square canvas. pad: everything, between bars on a square canvas.
    """
    width, height = size
    if transform == 'center-crop':
        side = min(size)
        out = resolution or (side, side)
        return Framing(size, ((width - side) // 2, (height - side) // 2, side, side), out, (0, 0), out)
    if transform == 'center-crop-wide':
        assert resolution is not None and resolution[0] >= resolution[1], resolution
        crop_w = min(width, max(1, round(height * resolution[0] / resolution[1])))
        crop_h = min(height, max(1, round(width * resolution[1] / resolution[0])))
        side = resolution[0]
        crop = ((width - crop_w) // 2, (height - crop_h) // 2, crop_w, crop_h)
        return Framing(size, crop, resolution, (0, (side - resolution[1]) // 2), (side, side))
    side = max(size) if resolution is None else resolution[0]
    scaled = (max(1, round(width * side / max(size))), max(1, round(height * side / max(size))))
    return Framing(size, (0, 0, width, height), scaled, ((side - scaled[0]) // 2, (side - scaled[1]) // 2), (side, side))
