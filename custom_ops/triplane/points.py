"""What free points see of a few axis-aligned feature planes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from custom_ops.backend import choose
from custom_ops.calling import check_one_device
from custom_ops.triplane import kernel
from custom_ops.triplane.reference import check_decoder, check_points, decode_planes_reference, sample_planes_reference


def sample_planes(planes: Tensor, points: Tensor, axes: Tensor, *, backend: str = 'auto') -> Tensor:
    """Mean over planes of the bilinear sample at each point's projection (EG3D, arXiv 2112.07945, section 4.1).

    planes  [N, P, C, H, W]; fastest on a CPU when C is innermost in memory
    points  [N, M, 3] in box units: -1 and 1 are the outer edges of the planes; outside, a plane is zero
    axes    [P, 2, 3]: rows are unit vectors; the first coordinate (axes[p, 0] . point) indexes width, the second height
    result  [N, M, C], float32 at least; differentiable in planes and points, twice

    Raises ValueError for shapes that do not fit.
    """
    choose('sample_planes', backend, planes.device)
    return sample_planes_reference(planes, points, axes)


def decode_planes(
    planes: Tensor,
    points: Tensor,
    axes: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str = 'softplus',
    *,
    backend: str = 'auto',
) -> Tensor:
    """A small network on sample_planes: activation between layers, none after the last.

    weights     [C1, C], [C2, C1], ... as torch.nn.functional.linear takes them (all scales folded in)
    biases      [C1], [C2], ...
    activation  'softplus', 'relu', 'lrelu' (slope 0.2) or 'silu'; no gain
    result      [N, M, C_last], raw, float32 at least (the reference under autocast: what that says)

    A kernel is differentiable once; differentiate twice with backend='reference'.

    Raises ValueError for shapes or an activation that do not fit.
    """
    check_points(planes, points, axes)
    check_decoder(planes.shape[2], weights, biases, activation)
    check_one_device('decode_planes', planes, points, axes, *weights, *biases)
    backward = kernel.wants_gradients(planes, points, *weights, *biases)
    if kernel.decodes(planes, weights, activation, backend, backward=backward):
        return kernel.decode_planes(planes, points, axes, weights, biases, activation)
    return decode_planes_reference(planes, points, axes, weights, biases, activation)


_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define('sample_planes(Tensor planes, Tensor points, Tensor axes) -> Tensor')
_library.impl('sample_planes', sample_planes_reference, 'CompositeImplicitAutograd')
_library.define(
    "decode_planes(Tensor planes, Tensor points, Tensor axes, Tensor[] weights, Tensor[] biases, str activation='softplus') -> Tensor"
)
_library.impl('decode_planes', decode_planes, 'CompositeImplicitAutograd')
