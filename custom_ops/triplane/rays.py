"""Rays through a field of planes: what render_rays defines, as one kernel where there is one."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from custom_ops.calling import check_one_device
from custom_ops.triplane import kernel
from custom_ops.triplane.field import TriplaneField
from custom_ops.triplane.reference import check_decoder, check_points
from custom_ops.volume import LightRule, RayResult, render_rays


def render_planes(
    field: TriplaneField,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    u_coarse: Tensor | None,
    u_fine: Tensor | None,
    rule: LightRule,
    *,
    noise: Tensor | None = None,
    backend: str = 'auto',
) -> RayResult:
    """`custom_ops.volume.render_rays` of a field of planes; arguments and result as there.

    A kernel keeps nothing per sample but its depth and computes the rest again for the gradients. It is differentiable once, in the planes,
    the decoder, origins, directions, near, far and noise-free densities, through features, depth and opacity; differentiate twice with
    backend='reference'. Fields that it does not know (kernel.refusal) are rendered by the reference, which is said once.

    Raises ValueError for shapes that do not fit, too few samples, or tensors on different devices.
    """
    _check(field, origins, directions, near, far, samples, u_coarse, u_fine, rule, noise)
    if is_fused(field, samples, 0 if u_fine is None else u_fine.shape[-1], backend, (origins, directions, near, far)):
        return kernel.render_planes(field, origins, directions, near, far, samples, u_coarse, u_fine, rule, noise)
    return render_rays(replace(field, backend=backend), origins, directions, near, far, samples, u_coarse, u_fine, rule, noise=noise)


def is_fused(field: TriplaneField, coarse: int, fine: int, backend: str = 'auto', rays: Sequence[Tensor] = ()) -> bool:
    """Whether render_planes would take a kernel, which needs no memory per sample. Gradients, of the field or of `rays`, may be too much."""
    backward = kernel.wants_gradients(field.planes, *field.weights, *field.biases, *rays)
    return kernel.renders(field, coarse, fine, backend, backward=backward)


def _check(
    field: TriplaneField,
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    u_coarse: Tensor | None,
    u_fine: Tensor | None,
    rule: LightRule,
    noise: Tensor | None,
) -> None:
    check_points(field.planes, origins, field.axes)
    check_decoder(field.planes.shape[2], field.weights, field.biases, field.activation)
    n, r = origins.shape[:2]
    fine = 0 if u_fine is None else u_fine.shape[-1]
    least = 4 if rule.released and fine else 2  # the released rule drops bins at both ends
    if samples < least:
        raise ValueError(f'{samples} coarse samples were asked for; this rule needs at least {least}')
    for name, tensor, shape in (
        ('directions', directions, (n, r, 3)),
        ('near', near, (n, r, 1)),
        ('far', far, (n, r, 1)),
        ('u_coarse', u_coarse, (n, r, samples)),
        ('u_fine', u_fine, (n, r, fine)),
        ('noise', noise, (n, r, samples + fine)),
    ):
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f'{name} of shape {tuple(tensor.shape)} does not fit origins {tuple(origins.shape)}; it must be {shape}')
    rays = (origins, directions, near, far, u_coarse, u_fine, noise)
    check_one_device('render_planes', field.planes, field.axes, *field.weights, *field.biases, *rays)
