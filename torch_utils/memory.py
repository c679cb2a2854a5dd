"""Memory that a training step frees and wants back at once is kept by the process, instead of being returned to the kernel in between."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_FREE_BYTES = 2**31 - 1
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tell the C library's allocator to serve large tensors from its heap and not to shrink it. Return whether it could be told.

    By default glibc maps every block above 32 MiB anew and unmaps it when it is freed, and the kernel hands out zeroed pages one by one as
    they are touched: a sixth of a small training step on a CPU. What is kept is not given back before the end of the process.
    Only glibc on Linux has these knobs; elsewhere nothing happens. Call it before the first large tensor.
    """
    if not sys.platform.startswith('linux'):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    mallopt.argtypes, mallopt.restype = [ctypes.c_int, ctypes.c_int], ctypes.c_int
    settings = ((_M_TRIM_THRESHOLD, _KEEP_FREE_BYTES), (_M_TOP_PAD, _TOP_PAD_BYTES), (_M_MMAP_THRESHOLD, _KEEP_FREE_BYTES))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)  # the last one is what some C libraries refuse
