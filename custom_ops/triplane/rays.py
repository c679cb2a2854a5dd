"""Rays through a field of planes: what render_rays defines, as one kernel where there is one."""

from dataclasses import replace

from torch import Tensor

from custom_ops.triplane import kernel
from custom_ops.triplane.field import TriplaneField
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
    """
    if is_fused(field, samples, 0 if u_fine is None else u_fine.shape[-1], backend):
        return kernel.render_planes(field, origins, directions, near, far, samples, u_coarse, u_fine, rule, noise)
    return render_rays(replace(field, backend=backend), origins, directions, near, far, samples, u_coarse, u_fine, rule, noise=noise)


def is_fused(field: TriplaneField, coarse: int, fine: int, backend: str = 'auto') -> bool:
    """Whether render_planes would take a kernel, which needs no memory per sample."""
    return kernel.renders(field, coarse, fine, backend)
