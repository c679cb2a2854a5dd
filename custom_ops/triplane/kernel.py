"""The triplane kernels as operations of torch: what they are told, what comes back, and their gradients."""

import ctypes
import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from custom_ops.backend import choose, register_device_source, register_kernel
from custom_ops.calling import FORMATS, as_floats, pointer
from custom_ops.jit import DeviceModule, load_device, load_host
from custom_ops.triplane import gradients
from custom_ops.triplane.parameters import ACTIVATIONS, MOST_LAYERS, Call, shared_bytes
from custom_ops.volume import LightRule, RayResult

if TYPE_CHECKING:
    from custom_ops.triplane.field import TriplaneField

PLANE_DTYPES = (torch.float32, torch.bfloat16)

_HERE = Path(__file__).parent
_WARPS_PER_MULTIPROCESSOR = 32  # blocks of one warp; more than fit at once even out rays of different length


def _load_cpu(device: torch.device, *variant: torch.dtype) -> ctypes.CDLL:
    library = load_host('triplane', [_HERE / 'cpu.cpp'])
    assert library.triplane_call_bytes() == ctypes.sizeof(Call), 'parameters.py and parameters.h disagree'
    return library


def _load_cuda(device: torch.device, dtype: torch.dtype = torch.float32) -> DeviceModule:
    return load_device('triplane', _HERE / 'cuda.cu', device, defines={'TEXEL': FORMATS[dtype]})


for _op in ('render_planes', 'decode_planes'):
    register_kernel(_op, 'cpu', _load_cpu)
    register_kernel(_op, 'cuda', _load_cuda)
register_device_source('render_planes', 'triplane', _HERE / 'cuda.cu', [{'TEXEL': FORMATS[dtype]} for dtype in PLANE_DTYPES])


def refusal(planes: Tensor, widths: Sequence[int], activation: str, coarse: int, fine: int, *, backward: bool) -> str | None:
    """Why the kernels cannot take such a field and so many samples per ray, with gradients or without, or None."""
    if activation not in ACTIVATIONS:
        return f'activation {activation!r}; the kernels know {", ".join(ACTIVATIONS)}'
    if len(widths) - 1 > MOST_LAYERS:
        return f'{len(widths) - 2} hidden layers; the kernels know up to {MOST_LAYERS - 1}'
    if planes.dtype not in PLANE_DTYPES:
        return f'planes of {planes.dtype}; the kernels know {", ".join(map(str, PLANE_DTYPES))}'
    if planes.device.type == 'cuda':
        need = shared_bytes(planes.shape[1], widths, coarse, fine, backward=backward)
        have = torch.cuda.get_device_properties(planes.device).shared_memory_per_block_optin
        if need > have:
            gradients = 'with gradients' if backward else 'without gradients'
            return f'{need} bytes of shared memory for a ray of {coarse + fine} samples and layers of {widths}, {gradients}; this GPU has {have}'
    return None


def _run(job: str, call: Call, planes: Tensor, *, backward: bool, threads: int = 1) -> None:
    """Starts a kernel on the device of the planes; on a processor, with so many threads, it is done when this returns."""
    if call.images * call.rays == 0:  # results have no elements then, and gradients are zeros already
        return
    if planes.device.type == 'cpu':
        getattr(_load_cpu(planes.device), f'triplane_{job}')(ctypes.byref(call), threads)
        return
    shared = shared_bytes(call.plane_count, call.widths[: call.layers + 1], call.coarse, call.fine, backward=backward)
    _load_cuda(planes.device, planes.dtype).launch(job, grid=_blocks(call, planes.device), block=32, parameters=call, shared_bytes=shared)


def _workers(call: Call, device: torch.device) -> int:
    """Threads of a processor, or blocks of a GPU, that share the work of a backward pass."""
    return max(1, min(torch.get_num_threads(), call.images * call.rays)) if device.type == 'cpu' else _blocks(call, device)


def _blocks(call: Call, device: torch.device) -> int:
    warps = torch.cuda.get_device_properties(device).multi_processor_count * _WARPS_PER_MULTIPROCESSOR
    return min(warps, call.images * call.rays)


def renders(field: 'TriplaneField', coarse: int, fine: int, backend: str, *, backward: bool) -> bool:
    """Whether a kernel renders this field, with gradients or without; says once why one that exists does not."""
    why_not = refusal(field.planes, _widths(field.planes, field.weights), field.activation, coarse, fine, backward=backward)
    return _takes('render_planes', field.planes, why_not, backend)


def decodes(planes: Tensor, weights: Sequence[Tensor], activation: str, backend: str, *, backward: bool) -> bool:
    """Whether a kernel decodes free points of these planes, with gradients or without."""
    return _takes('decode_planes', planes, refusal(planes, _widths(planes, weights), activation, 1, 0, backward=backward), backend)


def wants_gradients(*tensors: Tensor) -> bool:
    """Whether autograd will ask for the gradient of a result of these."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def _takes(op: str, planes: Tensor, why_not: str | None, backend: str) -> bool:
    if why_not is None:
        return choose(op, backend, planes.device, (planes.dtype,)) != 'reference'
    if backend not in ('auto', 'reference'):
        raise ValueError(f"backend {backend!r} was asked for {op} with {why_not}; use backend='auto' or 'reference'")
    if backend == 'auto' and op not in _told and planes.dtype != torch.float64:
        _told.add(op)
        logging.getLogger('custom_ops').warning('%s: reference, for %s', op, why_not)
    return False


_told: set[str] = set()


def render_planes(
    field: 'TriplaneField',
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    samples: int,
    u_coarse: Tensor | None,
    u_fine: Tensor | None,
    rule: LightRule,
    noise: Tensor | None,
) -> RayResult:
    """custom_ops.triplane.render_planes by the kernel of the planes' device."""
    features, depth, opacity, depths = torch.ops.unposed.render_planes(
        field.planes, field.axes, _packed(field.weights, field.biases), origins, directions, near[..., 0], far[..., 0], u_coarse, u_fine,
        noise, _widths(field.planes, field.weights), samples, field.activation, field.box_side, field.outside_strength, field.outside_radius,
        field.core_strength, field.core_radius, rule.density_shift, rule.density_scale, rule.quadrature == 'cells', rule.depth == 'median', rule.released,
    )  # fmt: skip
    return RayResult(features, depth[..., None], opacity[..., None], depths)


def decode_planes(
    planes: Tensor, points: Tensor, axes: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str
) -> Tensor:
    """custom_ops.decode_planes by the kernel of the planes' device."""
    return torch.ops.unposed.decode_points(planes, points, axes, _packed(weights, biases), _widths(planes, weights), activation)


def _widths(planes: Tensor, weights: Sequence[Tensor]) -> list[int]:
    return [planes.shape[2], *(weight.shape[0] for weight in weights)]


def _packed(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The decoder as the kernels read it: every layer's weight [in, out], then its bias."""
    return torch.cat([part for weight, bias in zip(weights, biases, strict=True) for part in (weight.t().reshape(-1), bias)])


def _transposed(decoder: Tensor, widths: Sequence[int]) -> Tensor:
    """Every layer's weight as [out, in], without biases."""
    parts, at = [], 0
    for inputs, outputs in pairwise(widths):
        parts.append(decoder[at : at + inputs * outputs].view(inputs, outputs).t().reshape(-1))
        at += (inputs + 1) * outputs
    return torch.cat(parts)


def _channels_innermost(planes: Tensor) -> Tensor:
    """The planes [N, P, C, H, W] with the channels of a texel side by side in memory. Images may lie anywhere, also all in one place."""
    shape, strides = planes.shape[1:], planes.stride()[1:]
    # The kernels take any order of planes, rows and texels, as long as nothing overlaps: an image of the gradient has the same strides.
    if planes.stride(2) == 1 and sum((size - 1) * stride for size, stride in zip(shape, strides)) + 1 == shape.numel():
        return planes
    own = planes[:1] if planes.stride(0) == 0 else planes
    return own.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).expand_as(planes)


def _describe(planes: Tensor, axes: Tensor, decoder: Tensor, widths: Sequence[int], activation: str) -> Call:
    """What every job is told."""
    if planes.shape[1:].numel() + sum(planes.stride()[1:]) >= 2**31:
        raise ValueError(f'planes of shape {tuple(planes.shape)} are too large: an image may have 2^31 elements')
    n, p, c, h, w = planes.shape
    call = Call(
        planes=planes.data_ptr(), axes=axes.data_ptr(), decoder=decoder.data_ptr(), image_stride=planes.stride(0),
        plane_stride=planes.stride(1), row_stride=planes.stride(3), pixel_stride=planes.stride(4), images=n,
        plane_count=p, channels=c, height=h, width=w, layers=len(widths) - 1, activation=ACTIVATIONS.index(activation),
        planes_are_bfloat16=planes.dtype == torch.bfloat16,
    )  # fmt: skip
    call.widths[: len(widths)] = list(widths)
    return call


class _Rendering:
    """Arguments of unposed::render_planes, made ready for a kernel; keeps alive what the Call points at."""

    def __init__(
        self, planes, axes, decoder, origins, directions, near, far, u_coarse, u_fine, noise, widths, samples, activation, box_side,
        outside_strength, outside_radius, core_strength, core_radius, shift, scale, cells, median, released,
    ):  # fmt: skip
        self.planes = _channels_innermost(planes.detach())
        self.widths = widths
        rays = (axes, decoder, origins, directions, near, far, u_coarse, u_fine, noise)
        self.tensors = axes, self.decoder, origins, directions, near, far, u_coarse, u_fine, noise = [as_floats(tensor) for tensor in rays]
        self.call = call = _describe(self.planes, axes, self.decoder, widths, activation)
        for name, tensor in (
            ('origins', origins), ('directions', directions), ('near', near), ('far', far), ('u_coarse', u_coarse), ('u_fine', u_fine),
            ('noise', noise),
        ):  # fmt: skip
            setattr(call, name, pointer(tensor))
        call.rays = origins.shape[1]
        call.coarse, call.fine = samples, 0 if u_fine is None else u_fine.shape[-1]
        call.box_side, call.outside_strength, call.outside_radius = box_side, outside_strength, outside_radius
        call.core_strength, call.core_radius = core_strength, core_radius
        call.density_shift, call.density_scale = shift, scale
        call.cells, call.median, call.released = cells, median, released
        side = int(call.rays**0.5)
        call.rays_per_row = side if side * side == call.rays else 0

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(self.call.images, self.call.rays, *shape, device=self.planes.device)


def _render(*arguments) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rendering = _Rendering(*arguments)
    call = rendering.call
    features, depth, opacity = rendering.empty(rendering.widths[-1] - 1), rendering.empty(), rendering.empty()
    depths = rendering.empty(call.coarse + call.fine)
    call.features, call.depth, call.opacity, call.depths = map(pointer, (features, depth, opacity, depths))
    _run('render', call, rendering.planes, backward=False, threads=torch.get_num_threads())
    return features, depth, opacity, depths


def _render_backward(
    grad_features: Tensor, grad_depth: Tensor, grad_opacity: Tensor, depths: Tensor, wants_rays: bool, *arguments
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    rendering = _Rendering(*arguments)
    call = rendering.call
    given = [as_floats(tensor) for tensor in (grad_features, grad_depth, grad_opacity, depths)]
    call.grad_features, call.grad_depth, call.grad_opacity, call.depths = map(pointer, given)
    transposed = _transposed(rendering.decoder, rendering.widths)
    call.decoder_transposed = transposed.data_ptr()
    grad_planes, grad_decoder = gradients.buffers(call, rendering.planes, rendering.decoder, _workers(call, rendering.planes.device))
    rays = [rendering.empty(*shape) if wants_rays else rendering.planes.new_empty(0, dtype=torch.float32) for shape in ((3,), (3,), (), ())]
    if wants_rays:
        call.grad_origins, call.grad_directions, call.grad_near, call.grad_far = map(pointer, rays)
    _run('render_backward', call, rendering.planes, backward=True, threads=len(grad_decoder))
    return gradients.of_planes(grad_planes, rendering.planes), gradients.of_decoder(grad_decoder), *rays


class _Query:
    """Arguments of unposed::decode_points, made ready for a kernel."""

    def __init__(self, planes, points, axes, decoder, widths, activation):
        self.planes = _channels_innermost(planes.detach())
        self.axes, self.decoder, self.points, self.widths = as_floats(axes), as_floats(decoder), as_floats(points), widths
        self.call = call = _describe(self.planes, self.axes, self.decoder, widths, activation)
        call.origins, call.rays, call.coarse, call.box_side = self.points.data_ptr(), points.shape[1], 1, 2.0


def _decode(planes, points, axes, decoder, widths, activation) -> Tensor:
    query = _Query(planes, points, axes, decoder, widths, activation)
    outputs = torch.empty(*points.shape[:2], widths[-1], device=planes.device)
    query.call.features = outputs.data_ptr()
    _run('query', query.call, query.planes, backward=False, threads=torch.get_num_threads())
    return outputs


def _decode_backward(grad, wants_points, planes, points, axes, decoder, widths, activation) -> tuple[Tensor, Tensor, Tensor]:
    query = _Query(planes, points, axes, decoder, widths, activation)
    call = query.call
    grad, transposed = as_floats(grad), _transposed(query.decoder, widths)
    call.grad_features, call.decoder_transposed = grad.data_ptr(), transposed.data_ptr()
    grad_planes, grad_decoder = gradients.buffers(call, query.planes, query.decoder, _workers(call, query.planes.device))
    grad_points = torch.empty_like(query.points) if wants_points else query.points.new_empty(0)
    call.grad_origins = grad_points.data_ptr() if wants_points else None
    _run('query_backward', call, query.planes, backward=True, threads=len(grad_decoder))
    return gradients.of_planes(grad_planes, query.planes), gradients.of_decoder(grad_decoder), grad_points


_RENDERING = (
    'Tensor planes, Tensor axes, Tensor decoder, Tensor origins, Tensor directions, Tensor near, Tensor far, Tensor? u_coarse, '
    'Tensor? u_fine, Tensor? noise, int[] widths, int samples, str activation, float box_side, float outside_strength, '
    'float outside_radius, float core_strength, float core_radius, float density_shift, float density_scale, bool cells, bool median, bool released'
)
_QUERY = 'Tensor planes, Tensor points, Tensor axes, Tensor decoder, int[] widths, str activation'
_library = torch.library.Library('unposed', 'FRAGMENT')
_library.define(f'render_planes({_RENDERING}) -> (Tensor features, Tensor depth, Tensor opacity, Tensor depths)')
_library.define(
    'render_planes_backward(Tensor grad_features, Tensor grad_depth, Tensor grad_opacity, Tensor depths, bool wants_rays, '
    f'{_RENDERING}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)'
)
_library.define(f'decode_points({_QUERY}) -> Tensor')
_library.define(f'decode_points_backward(Tensor grad, bool wants_points, {_QUERY}) -> (Tensor, Tensor, Tensor)')
for _device in ('CPU', 'CUDA'):
    _library.impl('render_planes', _render, _device)
    _library.impl('render_planes_backward', _render_backward, _device)
    _library.impl('decode_points', _decode, _device)
    _library.impl('decode_points_backward', _decode_backward, _device)


@torch.library.register_fake('unposed::render_planes', lib=_library)
def _(planes, axes, decoder, origins, directions, near, far, u_coarse, u_fine, noise, widths, samples, *rest):
    n, r = near.shape
    def like(*shape: int) -> Tensor:
        return origins.new_empty(shape, dtype=torch.float32)

    total = samples + (0 if u_fine is None else u_fine.shape[-1])
    return like(n, r, widths[-1] - 1), like(n, r), like(n, r), like(n, r, total)


@torch.library.register_fake('unposed::render_planes_backward', lib=_library)
def _(grad_features, grad_depth, grad_opacity, depths, wants_rays, planes, axes, decoder, origins, *rest):
    n, r = origins.shape[:2]
    rays = [origins.new_empty(shape if wants_rays else 0, dtype=torch.float32) for shape in ((n, r, 3), (n, r, 3), (n, r), (n, r))]
    return _like_planes(planes), decoder.new_empty(decoder.shape, dtype=torch.float32), *rays


@torch.library.register_fake('unposed::decode_points', lib=_library)
def _(planes, points, axes, decoder, widths, activation):
    return points.new_empty(*points.shape[:2], widths[-1], dtype=torch.float32)


@torch.library.register_fake('unposed::decode_points_backward', lib=_library)
def _(grad, wants_points, planes, points, axes, decoder, widths, activation):
    grad_points = points.new_empty(points.shape if wants_points else 0, dtype=torch.float32)
    return _like_planes(planes), decoder.new_empty(decoder.shape, dtype=torch.float32), grad_points


def _like_planes(planes: Tensor) -> Tensor:
    inner = _channels_innermost(planes)
    return torch.empty_strided(inner.shape, gradients.dense_strides(inner), dtype=planes.dtype, device=planes.device)


def _keep_rendering(ctx, inputs, output) -> None:
    tensors, ctx.settings = inputs[:10], inputs[10:]
    ctx.given = [tensor is not None for tensor in tensors]
    ctx.save_for_backward(output[3], *(tensor for tensor in tensors if tensor is not None))
    ctx.mark_non_differentiable(output[3])


def _render_gradients(ctx, grad_features, grad_depth, grad_opacity, _):
    depths, *present = ctx.saved_tensors
    present = iter(present)
    tensors = [next(present) if given else None for given in ctx.given]
    wants_rays = any(ctx.needs_input_grad[3:7])
    planes, decoder, origins, directions, near, far = torch.ops.unposed.render_planes_backward(
        grad_features, grad_depth, grad_opacity, depths, wants_rays, *tensors, *ctx.settings
    )
    rays = (origins, directions, near, far) if wants_rays else (None,) * 4
    return planes, None, decoder, *rays, *(None,) * (len(tensors) - 7 + len(ctx.settings))


def _keep_query(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.settings = inputs[4:]


def _query_gradients(ctx, grad):
    wants_points = ctx.needs_input_grad[1]
    planes, decoder, points = torch.ops.unposed.decode_points_backward(grad, wants_points, *ctx.saved_tensors, *ctx.settings)
    return planes, points if wants_points else None, None, decoder, None, None


def _no_second_derivative(ctx, *gradients):
    raise NotImplementedError("a second derivative of the triplane renderer was asked for, and kernels have one; call it with backend='reference'")


for _first in ('render_planes_backward', 'decode_points_backward'):
    torch.library.register_autograd(f'unposed::{_first}', _no_second_derivative, lib=_library)
torch.library.register_autograd('unposed::render_planes', _render_gradients, setup_context=_keep_rendering, lib=_library)
torch.library.register_autograd('unposed::decode_points', _query_gradients, setup_context=_keep_query, lib=_library)
