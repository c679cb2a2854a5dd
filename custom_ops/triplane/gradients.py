"""Where threads and blocks add up the gradients of planes and decoder: as many sums as keep them out of each other's way, in bounded memory."""

import torch
from torch import Tensor

from custom_ops.triplane.parameters import Call

_MOST_DECODER_SUMS = 1 << 22  # 16 MiB: a row for each of 985 blocks of EG3D's decoder


def buffers(call: Call, planes: Tensor, decoder: Tensor, workers: int) -> tuple[Tensor, Tensor]:
    """Zeros for the planes [parts, N, elements of an image in the order of memory] and the decoder [rows, numbers]; the call is told of them.

    On a processor a row for each of `workers` threads. So many blocks of a GPU, which add atomically, share one part and, if they are many, rows.
    """
    if planes.device.type == 'cpu':
        rows, parts = workers, parts_of_an_image(call.images, workers)
    else:
        rows, parts = decoder_rows(workers, decoder.numel()), 1
    grad_planes = torch.zeros(parts, call.images, planes.shape[1:].numel(), device=planes.device)
    grad_decoder = torch.zeros(rows, decoder.numel(), device=planes.device)
    call.grad_planes, call.grad_decoder = grad_planes.data_ptr(), grad_decoder.data_ptr()
    call.grad_parts, call.grad_image_size, call.grad_decoder_rows = parts, grad_planes.shape[2], rows
    return grad_planes, grad_decoder


def parts_of_an_image(images: int, threads: int) -> int:
    """How many threads at most add to one image, if all packets of rays are dealt out in equal runs; 1: threads take whole images.

    All parts of all images take the memory of fewer than `threads + 2 * images` images.
    """
    if images % threads == 0 or images >= 4 * threads:  # no thread is idle for long
        return 1
    # Image i is the work of threads i * threads / images (rounded down) to (i + 1) * threads / images (rounded up, exclusive).
    return max(-(-(i + 1) * threads // images) - i * threads // images for i in range(images))


def decoder_rows(blocks: int, numbers: int) -> int:
    """How many sums of a decoder's gradient of so many numbers the blocks of a GPU add to: one each, as far as memory for them is small."""
    return max(1, min(blocks, _MOST_DECODER_SUMS // numbers))


def of_decoder(rows: Tensor) -> Tensor:
    """[rows, numbers] -> [numbers]; in double, since there may be thousands."""
    return rows[0] if len(rows) == 1 else rows.sum(0, dtype=torch.float64).to(rows.dtype)


def of_planes(parts: Tensor, planes: Tensor) -> Tensor:
    """[parts, N, elements] -> [N, P, C, H, W]: every image of its own, whatever memory the planes of several share."""
    total = parts[0] if len(parts) == 1 else parts.sum(0)
    return total.to(planes.dtype).as_strided(planes.shape, dense_strides(planes))


def dense_strides(planes: Tensor) -> tuple[int, ...]:
    """Those of planes whose images follow one another, each laid out as here."""
    return (planes.shape[1:].numel(), *planes.stride()[1:])
