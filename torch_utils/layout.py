"""How pictures lie in memory. Convolutions compute in the format that their input's strides spell."""

from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """x [N, C, H, W] with channels innermost, and the strides that PyTorch takes for that format; a view wherever no number has to move.

    A batch of one or a single channel leaves strides open, `contiguous` and `is_contiguous` are content with any, and a convolution that is
    given the wrong ones computes in the other format, as does everything after it: on a processor up to twice as slowly.
    """
    n, c, h, w = x.shape
    return x.permute(0, 2, 3, 1).reshape(-1).view(n, h, w, c).permute(0, 3, 1, 2)
