"""How kernels see a tensor with a channel axis: [samples, rows, columns] in memory, where either the rows or the columns are channels."""

import ctypes
import math

import torch
from torch import Tensor

THREADS = 256  # of a block, as in channels.h
ROWS_PER_THREAD = 4
PACK_BYTES = 16
MAX_PARTS = 1024
GRID_LIMIT = 65535  # in y and z


class Channels(ctypes.Structure):
    """`struct Channels` of channels.h."""

    _fields_ = [(name, ctypes.c_int32) for name in ('samples', 'rows', 'columns', 'last')]


def memory_format(x: Tensor) -> torch.memory_format:
    """The format in which a kernel reads x: channels-last where x is stored so, else contiguous (which may mean a copy)."""
    if x.is_contiguous():
        return torch.contiguous_format
    for ndim, channels_last in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.ndim == ndim and x.is_contiguous(memory_format=channels_last):
            return channels_last
    return torch.contiguous_format


def channels(shape: torch.Size, dim: int | None, stored: torch.memory_format) -> Channels:
    """A tensor of `shape` in memory format `stored`, whose dimension `dim` holds the channels. None: it has no channels; rows are cut
    anywhere.
    """
    count = math.prod(shape)
    if dim is None:
        rows = shape[0] if shape else 1
        return Channels(1, rows, count // max(rows, 1), 0)
    sizes, axis = list(shape), dim % len(shape)
    if stored != torch.contiguous_format:
        sizes.append(sizes.pop(1))
        axis = len(sizes) - 1 if axis == 1 else max(axis - 1, 0)
    before, inside = math.prod(sizes[:axis]), math.prod(sizes[axis + 1 :])
    return Channels(1, before, sizes[axis], 1) if inside == 1 else Channels(before, sizes[axis], inside, 0)


def pack_sizes(dtype: torch.dtype) -> tuple[int, int]:
    """How many neighbours a thread of a GPU moves at once: one, or as many as 16 bytes hold."""
    return 1, PACK_BYTES // dtype.itemsize


def pack_size(c: Channels, first: Tensor, *others: Tensor | None) -> int:
    """Of these tensors, the first of which says the format: several if rows are made of so many and all start at multiples of 16 bytes, else 1."""
    one, several = pack_sizes(first.dtype)
    aligned = all(x is None or x.data_ptr() % PACK_BYTES == 0 for x in (first, *others))
    return several if aligned and c.columns % several == 0 else one


def launch_shape(c: Channels, width: int) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(grid, block) for the loops of channels.h with packs of `width`. It depends on nothing but the shape, and so do all sums."""
    packs = -(-c.columns // width)
    x = min(1 << (packs - 1).bit_length(), THREADS)
    y = THREADS // x
    if c.last:
        row_blocks = min(-(-c.rows // (y * ROWS_PER_THREAD)), MAX_PARTS)
        column_blocks = -(-packs // x)
    else:
        row_blocks = -(-c.rows // y)
        column_blocks = -(-packs // (x * ROWS_PER_THREAD))
    return (row_blocks, min(column_blocks, GRID_LIMIT), min(c.samples, GRID_LIMIT)), (x, y, 1)


def parts(c: Channels, grid: tuple[int, int, int]) -> int:
    """Blocks that share a channel within a sample: each leaves a sum of its own."""
    return grid[0] if c.last else grid[1]
