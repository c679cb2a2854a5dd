"""What calling kernels from Python takes, whatever they compute: number formats, pointers, and a short cut past the dispatcher."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import Function

# The types of number_formats.h; the kernels of a processor count them in this order.
FORMATS = {torch.float32: 'float', torch.bfloat16: 'BFloat16', torch.float16: 'Float16'}
ELEMENTS_PER_THREAD = 1 << 18  # on the CPU: fewer do not pay for starting a thread


def takes(x: Tensor) -> bool:
    """Whether kernels take such a tensor."""
    return x.dtype in FORMATS and x.numel() < 2**30


def refusal(op: str, backend: str, x: Tensor) -> ValueError:
    """The error for a kernel that was asked for by name and does not take x."""
    return ValueError(
        f'backend {backend!r} was asked for {op}, whose kernels take fewer than 2^30 numbers of float32, bfloat16 or float16; '
        f"x has {x.numel()} of {str(x.dtype).removeprefix('torch.')}; use backend='auto' or 'reference'"
    )


def pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


def as_floats(x: Tensor | None) -> Tensor | None:
    """Small factors, which kernels read as contiguous float32 whatever the format of the large tensors."""
    return None if x is None else x.to(torch.float32).contiguous()


def check_one_device(op: str, *tensors: Tensor | None) -> None:
    """Raises ValueError unless all tensors are on one device: a kernel reads every address as one of its own."""
    devices = {x.device for x in tensors if x is not None}
    if len(devices) > 1:
        raise ValueError(f'{op} was given tensors on {", ".join(sorted(map(str, devices)))}; move them to one device')


def threads_for(x: Tensor) -> int:
    """Of the CPU, for elementwise work."""
    return min(torch.get_num_threads(), 1 + x.numel() // ELEMENTS_PER_THREAD)


def short_cut(operation: Callable, function: type[Function]) -> Callable:
    """`operation`, registered with torch.library, or for plain tensors outside of torch.compile `function.apply`: the same kernel and the
    same derivative without the dispatcher, whose calls of Python cost as much as a kernel on a small tensor.
    """

    def call(x: Tensor, *rest):
        if torch.compiler.is_compiling() or type(x) not in (Tensor, torch.nn.Parameter):
            return operation(x, *rest)
        return function.apply(x, *rest)

    return call
