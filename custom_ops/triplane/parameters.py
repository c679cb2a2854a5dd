"""What a triplane kernel is told, and the shared memory that its warps need: parameters.h and scratch.h, seen from Python."""

import ctypes
from collections.abc import Sequence

ACTIVATIONS = ('softplus', 'relu', 'lrelu')  # by number
MOST_LAYERS = 5  # linear layers of the decoder: up to four hidden ones
WARP = 32


class Call(ctypes.Structure):
    """parameters.h, field by field; what each means stands there."""

    _fields_ = (
        [(name, ctypes.c_void_p) for name in (
            'planes', 'axes', 'decoder', 'decoder_transposed', 'origins', 'directions', 'near', 'far', 'u_coarse', 'u_fine', 'noise',
            'features', 'depth', 'opacity', 'depths', 'grad_features', 'grad_depth', 'grad_opacity', 'grad_planes', 'grad_decoder',
            'grad_origins', 'grad_directions', 'grad_near', 'grad_far',
        )]
        + [(name, ctypes.c_int64) for name in (
            'image_stride', 'plane_stride', 'row_stride', 'pixel_stride', 'grad_image_size', 'images', 'rays',
        )]
        + [(name, ctypes.c_float) for name in ('box_side', 'density_shift', 'density_scale')]
        + [(name, ctypes.c_float) for name in ('outside_strength', 'outside_radius', 'core_strength', 'core_radius')]
        + [(name, ctypes.c_int32) for name in ('plane_count', 'channels', 'height', 'width', 'layers')]
        + [('widths', ctypes.c_int32 * (MOST_LAYERS + 1))]
        + [(name, ctypes.c_int32) for name in (
            'activation', 'coarse', 'fine', 'cells', 'median', 'released', 'rays_per_row', 'planes_are_bfloat16', 'grad_parts',
            'grad_decoder_rows',
        )]
    )  # fmt: skip


def shared_bytes(plane_count: int, widths: Sequence[int], coarse: int, fine: int, *, backward: bool) -> int:
    """Shared memory of one warp: what Scratch of scratch.h takes on a GPU."""
    longest = coarse + fine if backward or not fine else max(coarse, fine)
    rays = max(1, WARP // longest)
    columns = _whole_warps(rays * coarse) + _whole_warps(rays * fine)
    samples = columns * (widths[-1] + 2)
    units = WARP * sum(widths[:-1])
    taps = 2 * 4 * plane_count * WARP
    ray = 11 * (_whole_warps(coarse + fine + 2) + WARP)
    floats = samples + units + taps + ray
    if backward:
        floats += WARP * (2 * max([1, *widths[1:-1]]) + widths[0]) + 4 * columns + 4 * plane_count * WARP
    return 4 * floats


def _whole_warps(n: int) -> int:
    return -(-n // WARP) * WARP
