"""Six pictures on the faces of a far cube around the scene: a colour for every direction, with the same bits on every machine.

The pictures stand upright on the four walls; the cube is turned about the vertical by an angle of the scene, so that its edges say nothing
about the azimuth. Faces are equiangular up to .25 degrees: the arc tangent t (pi/4 + .273 (1 - |t|)) of Rajan, Wang, Inkol and Joyal,
"Efficient approximations for the arctangent function", IEEE Signal Processing Magazine 23(3), 2006, needs no rounding but the correct one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from training.data.image_set import ImageSet
from training.data.toyworld.leaves import draw_leaves
from training.data.toyworld.numbers import Draws

FACE_TEXELS = 72  # of a procedural face; a view of 36 degrees sees 29 of them
FACE_LEAVES = 200
FACE_SIZES = (0.03, 0.25)  # in faces; a face is 2.5 views wide
CROP_SHARE = (0.7, 1.0)
_BEND = 0.3475986  # .273 / (pi / 4)


class Faces(ABC):
    """The pictures of one scene, made when a view sees them."""

    @abstractmethod
    def face(self, number: int) -> np.ndarray:
        """Picture of face 0 .. 5 (walls towards +x, +z, -x, -z of the cube; above; below): float64 [H, W, 3], RGB in [0, 1]."""


@dataclass(frozen=True, slots=True)
class PhotoFaces(Faces):
    """Crops of photographs. Photograph and crop of each face are drawn. Reading may raise DataError, as the set does for a bad file."""

    draws: Draws
    photos: ImageSet

    def face(self, number: int) -> np.ndarray:
        address = f'background/photo/{number}'
        image = self.photos[self.draws.integer(address, len(self.photos))].image
        size = image.shape[1]
        crop = max(1, int(size * self.draws.between(f'{address}/share', *CROP_SHARE)))
        top = self.draws.integer(f'{address}/top', size - crop + 1)
        left = self.draws.integer(f'{address}/left', size - crop + 1)
        return image[:, top : top + crop, left : left + crop].transpose(1, 2, 0) / 255.0


@dataclass(frozen=True, slots=True)
class LeafFaces(Faces):
    """Procedural pictures."""

    draws: Draws

    def face(self, number: int) -> np.ndarray:
        leaves = draw_leaves(self.draws, f'background/texture/{number}', FACE_LEAVES, FACE_SIZES)
        return leaves.painted((np.arange(FACE_TEXELS) + 0.5) / FACE_TEXELS)


@dataclass(frozen=True, slots=True)
class CubeMap:
    """The cube of one scene. `turn`: cosine and sine of its angle about the vertical."""

    turn: tuple[float, float]
    faces: Faces

    def colours(self, directions: np.ndarray) -> np.ndarray:
        """RGB in [0, 1] along directions float64 [R, 3] (any length but 0): float64 [R, 3].

        Bilinear between texels, constant beyond the outermost.
        """
        c, s = self.turn
        x, y, z = c * directions[:, 0] - s * directions[:, 2], directions[:, 1], s * directions[:, 0] + c * directions[:, 2]
        number, across, down = _on_faces(x, y, z)
        out = np.empty_like(directions)
        for k in np.flatnonzero(np.bincount(number, minlength=6)):
            here = number == k
            out[here] = _bilinear(self.faces.face(int(k)), _equiangular(across[here]), _equiangular(down[here]))
        return out


def _on_faces(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face number, and the place on it in [-1, 1]: to the right and downwards for an upright observer in the middle of the cube."""
    size = np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z))
    level = np.abs(y) < size
    on_x = level & (np.abs(x) == size)
    number = np.where(level, np.where(on_x, np.where(x > 0, 0, 2), np.where(z > 0, 1, 3)), np.where(y > 0, 4, 5))
    # Looking along +x, the right is +z; along +z it is -x. Above and below continue the wall towards +z.
    across = np.where(on_x, np.where(x > 0, z, -z), np.where(level & (z < 0), x, -x)) / size
    down = np.where(level, -y, np.where(y > 0, z, -z)) / size
    return number, across, down


def _equiangular(t: np.ndarray) -> np.ndarray:
    """[-1, 1] on a face to [0, 1] on its picture."""
    return (t * (1 + _BEND * (1 - np.abs(t))) + 1) / 2


def _bilinear(picture: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Colours float64 [R, 3] of a picture [H, W, 3] at u to the right and v downwards, both [R] in [0, 1]."""
    height, width = picture.shape[:2]
    column, row = np.clip(u * width - 0.5, 0, width - 1), np.clip(v * height - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (column - left)[:, None], (row - top)[:, None]
    above = picture[top, left] * (1 - a) + picture[top, right] * a
    below = picture[bottom, left] * (1 - a) + picture[bottom, right] * a
    return above * (1 - b) + below * b
