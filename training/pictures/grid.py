"""Image tensors to 8-bit pictures, and many pictures to one grid.

A *picture* is a numpy array uint8 [H, W, 3]; *pictures* are uint8 [N, H, W, 3]. Images are float tensors [N, 3, H, W] in [-1, 1].
"""

import math
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dnnlib.atomic import atomic_write
from dnnlib.errors import NumericalError, UsageError

LARGEST_SIDE_PX = 16384     # beyond this, browsers and image viewers stop opening a picture


def to_pictures(images: Tensor) -> np.ndarray:
    """Images [N, 3 or 1, H, W] in [-1, 1] as pictures uint8 [N, H, W, 3]: floor(127.5 x + 128), values outside are clipped.

    Raises NumericalError for NaN or infinity: a black pixel would hide it.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f'images must be [N, 3, H, W] or [N, 1, H, W], got {list(images.shape)}')
    images = images.detach().float()
    broken = int((~torch.isfinite(images)).sum())
    if broken:
        raise NumericalError(f'{broken} of {images.numel()} values of an image are NaN or infinite: the network that made it has diverged.')
    eight_bit = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return eight_bit.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def parse_shape(text: str) -> tuple[int, int]:
    """'4x2' as (columns, rows) = (4, 2). Raises UsageError for anything else."""
    match = re.fullmatch(r'\s*(\d+)\s*[x×,]\s*(\d+)\s*', text)
    if match is None or 0 in (shape := (int(match[1]), int(match[2]))):
        raise UsageError(f"a grid is written COLUMNSxROWS, such as 4x2; got '{text}'.")
    return shape


def near_square(count: int) -> tuple[int, int]:
    """(columns, rows) for `count` pictures: as square as can be, never higher than wide, no row left empty."""
    columns = max(1, math.ceil(math.sqrt(count)))
    return columns, max(1, math.ceil(count / columns))


def tile(pictures: np.ndarray, columns: int, rows: int, blank: int = 255) -> np.ndarray:
    """Pictures uint8 [N, H, W, 3] laid out row by row: [rows H, columns W, 3]; cells without a picture have the grey value `blank`.

    Raises UsageError when there are more pictures than cells.
    """
    count, height, width, channels = pictures.shape
    if count > columns * rows:
        raise UsageError(f'a grid of {columns}x{rows} has {columns * rows} cells, but there are {count} pictures.')
    cells = np.full((rows * columns, height, width, channels), blank, np.uint8)
    cells[:count] = pictures
    return cells.reshape(rows, columns, height, width, channels).swapaxes(1, 2).reshape(rows * height, columns * width, channels)


def shrink_to_fit(pictures: np.ndarray, columns: int, rows: int, largest_side_px: int = LARGEST_SIDE_PX) -> np.ndarray:
    """The pictures, reduced (area average) when the grid of them would be longer than `largest_side_px`; otherwise as they are."""
    _, height, width, _ = pictures.shape
    scale = largest_side_px / max(columns * width, rows * height)
    if scale >= 1:
        return pictures
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    return np.stack([np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)) for picture in pictures])


def save_picture(path: str | Path, picture: np.ndarray) -> None:
    """Writes a picture uint8 [H, W, 3] (or [H, W]) as .png, .jpg or .webp, atomically: the file is whole or absent."""
    path = Path(path)
    formats = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP'}
    if path.suffix.lower() not in formats:
        raise UsageError(f"'{path.name}': pictures are written as {', '.join(formats)}.")
    with atomic_write(path) as file:
        Image.fromarray(picture).save(file, format=formats[path.suffix.lower()])


def save_grid(path: str | Path, images: Tensor, shape: tuple[int, int] | None = None) -> None:
    """Images [N, 3 or 1, H, W] in [-1, 1] as one picture file; `shape` is (columns, rows), near square when None."""
    columns, rows = near_square(len(images)) if shape is None else shape
    save_picture(path, tile(shrink_to_fit(to_pictures(images), columns, rows), columns, rows))
