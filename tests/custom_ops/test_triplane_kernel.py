"""The triplane kernels against their definition: on this processor, on the emulated GPU, and as registered operations."""

import ctypes
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from custom_ops import TriplaneField, decode_planes, render_planes
from custom_ops.jit import load_host
from custom_ops.jit.host import build_host, isa_here
from custom_ops.testing import check_errors, check_registration, rms
from custom_ops.triplane import gradients, kernel
from custom_ops.triplane.parameters import Call, shared_bytes
from custom_ops.volume import LightRule, sampling

SOURCE = Path(kernel.__file__).parent / 'cpu.cpp'
EMULATED = Path(__file__).parent / 'emulator' / 'triplane.cpp'
AXES = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[1.0, 0, 0], [0, 0, 1]], [[0, 0, 1.0], [0, 1, 0]]])


@dataclass(frozen=True)
class Case:
    """Sizes and rules of one comparison."""

    images: int = 2
    channels: int = 8
    hidden: tuple[int, ...] = (24,)
    features: int = 3
    texels: int = 12
    rays: int = 21
    coarse: int = 16
    fine: int = 0
    planes: int = 3
    activation: str = 'softplus'
    rule: LightRule = field(default_factory=lambda: LightRule(density_scale=8.0))
    outside: float = 0.0
    core: float = 0.0
    noise: bool = False
    jitter: bool = True
    bfloat16: bool = False  # planes


CASES = {
    'demo': Case(rule=LightRule(density_scale=8.0, quadrature='cells'), outside=6.0),
    'EG3D': Case(images=1, channels=32, hidden=(64,), features=32, coarse=48, fine=48, rays=9, rule=LightRule(rule='EG3D_2022')),
    'no hidden layer, no jitter': Case(hidden=(), jitter=False, coarse=5),
    'deep, odd sizes': Case(channels=13, hidden=(24, 20, 7, 9), features=5, coarse=12, fine=13, noise=True, outside=4.0, core=5.0),
    'bi-plane, median': Case(planes=2, rule=LightRule(density_scale=8.0, depth='median'), coarse=20, fine=9, activation='lrelu'),
    'cells, median, relu': Case(rule=LightRule(density_scale=3.0, quadrature='cells', depth='median'), activation='relu', channels=4, core=7.0),
    'many samples': Case(images=1, coarse=100, fine=70, rays=5, features=4),
    'walks in tiles': Case(images=1, coarse=64, fine=64, rays=256, features=3, texels=5),
    'nothing there': Case(rule=LightRule(density_shift=60.0), coarse=8),
    'bfloat16': Case(bfloat16=True, coarse=12, fine=9),
}
SMALL = ['demo', 'no hidden layer, no jitter', 'deep, odd sizes', 'bi-plane, median', 'cells, median, relu', 'nothing there', 'bfloat16']


@dataclass
class Problem:
    case: Case
    leaves: list[Tensor]  # planes, weights, biases, origins, directions, near, far; all differentiated
    u_coarse: Tensor | None
    u_fine: Tensor | None
    noise: Tensor | None

    def field(self, leaves: list[Tensor]) -> TriplaneField:
        layers = len(self.case.hidden) + 1
        axes = AXES[: self.case.planes].to(leaves[0])
        weights, biases = leaves[1 : 1 + layers], leaves[1 + layers : 1 + 2 * layers]
        return TriplaneField(leaves[0], axes, weights, biases, 1.8, self.case.activation, self.case.outside, 0.5, self.case.core, 0.4)

    def results(self, backend: str, dtype: torch.dtype, device: str = 'cpu') -> dict[str, Tensor]:
        """Outputs and gradients of a fixed mixture of them."""
        leaves = [x.to(device, dtype).requires_grad_() for x in self.leaves]
        if self.case.bfloat16 and dtype == torch.float32:
            leaves[0] = self.leaves[0].to(device, torch.bfloat16).requires_grad_()
        uniform = [None if x is None else x.to(device, dtype) for x in (self.u_coarse, self.u_fine, self.noise)]
        seen = render_planes(
            self.field(leaves), *leaves[-4:], self.case.coarse, *uniform[:2], self.case.rule, noise=uniform[2], backend=backend
        )
        outputs = {'features': seen.features, 'depth': seen.depth.masked_fill(~seen.depth.isfinite(), 0), 'opacity': seen.opacity}
        draw = torch.Generator().manual_seed(1)
        loss = sum((x * torch.randn(x.shape, generator=draw).to(x)).sum() for x in outputs.values())
        names = ['planes', *(f'{kind} {i}' for kind in ('weight', 'bias') for i in range(len(self.case.hidden) + 1))]
        names += ['origins', 'directions', 'near', 'far']
        gradients = torch.autograd.grad(loss, leaves)
        found = {**outputs, 'depths': seen.depths} | {f'gradient of {name}': g for name, g in zip(names, gradients, strict=True)}
        assert all(x.dtype == dtype for x in (*outputs.values(), seen.depths)) and gradients[0].dtype == leaves[0].dtype
        return {name: x.cpu() for name, x in found.items()}


def problem(case: Case) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    n, r, c = case.images, case.rays, case.channels
    planes = normal(n, case.planes * c, case.texels, case.texels + 1) * 2
    if case.bfloat16:
        planes = planes.bfloat16().float()
    widths = [c, *case.hidden, 1 + case.features]
    weights = [1.5 * normal(b, a) / a**0.5 for a, b in pairwise(widths)]
    biases = [0.3 * normal(b) for b in widths[1:]]
    origins = torch.nn.functional.normalize(normal(n, r, 3), dim=-1) * 2.7
    directions = torch.nn.functional.normalize(-origins + 0.4 * normal(n, r, 3), dim=-1)
    near, far = 1.75 + 0.1 * uniform(n, r, 1), torch.full((n, r, 1), 3.65)
    return Problem(
        case,
        [planes.to(memory_format=torch.channels_last).unflatten(1, (case.planes, c)), *weights, *biases, origins, directions, near, far],
        uniform(n, r, case.coarse) if case.jitter else None,
        sampling.strata(case.fine, uniform(n, r, case.fine)) if case.fine else None,
        0.5 * normal(n, r, case.coarse + case.fine) if case.noise else None,
    )


def check(case: Case, device: str = 'cpu') -> None:
    """The law: at most twice as wrong as PyTorch in float32, and no more biased, both against float64."""
    given = problem(case)
    how = (('reference', torch.float64), ('reference', torch.float32), (device, torch.float32))
    truth, theirs, ours = (given.results(*each, device) for each in how)
    # Each number of the decoder's gradients is a sum over all rays, whose errors it shares with the others: they are judged together.
    decoder = [name for name in truth if name.startswith(('gradient of weight', 'gradient of bias'))]
    sizes = {name: rms(truth[name]).item() or 1.0 for name in decoder}
    for found in (truth, theirs, ours):
        found['gradient of the decoder'] = torch.cat([(found.pop(name) / sizes[name]).flatten() for name in decoder])
    for name, exact in truth.items():
        independent = case.images * case.rays if name == 'gradient of the decoder' else exact.numel()
        check_errors(name, ours[name], theirs[name], exact, independent=min(independent, exact.numel()))


@pytest.mark.parametrize('name', CASES)
def test_twin(name: str) -> None:
    check(CASES[name])


@pytest.mark.parametrize('isa', ['baseline', 'avx512'])
def test_twin_with_other_instructions(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes of another width. What this processor cannot run is at least built."""
    if isa == 'avx512' and isa_here() != isa:
        assert build_host('triplane', [SOURCE], isa=isa).path.exists()
        return
    library = load_host('triplane', [SOURCE], isa=isa)
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: library)
    for name in SMALL:
        check(CASES[name])


@pytest.fixture(scope='module')
def emulated() -> ctypes.CDLL:
    return load_host('emulator_triplane', [EMULATED])


@pytest.mark.parametrize('name', ['EG3D', 'many samples'])
def test_rays_longer_than_a_warp_on_the_emulated_gpu(name: str, emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    emulated.set_thread_order(7)
    check(replace(CASES[name], rays=3))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('name', CASES)
def test_twin_on_the_gpu(name: str) -> None:
    check(CASES[name], device='cuda')


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
def test_points_on_the_gpu() -> None:
    check_points(200, 'cuda')


@pytest.mark.parametrize('order', [0, -1, 7], ids=['in order', 'reversed', 'shuffled'])
@pytest.mark.parametrize('name', SMALL[:-1])  # whose planes are floats
def test_twin_on_the_emulated_gpu(name: str, order: int, emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    emulated.set_thread_order(order)
    check(replace(CASES[name], rays=7))


@pytest.mark.parametrize('rows', [3, 2])
def test_blocks_of_the_emulated_gpu_have_rows_of_their_own(rows: int, emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks work on five packets of 32 points, in turn; where there are rows for two, the third shares the first's."""
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: rows)
    buffers = []
    monkeypatch.setattr(gradients, 'of_decoder', lambda found, total=gradients.of_decoder: buffers.append(found) or total(found))
    emulated.set_thread_order(0)
    given = problem(replace(CASES['demo'], images=1))
    planes, weights, biases = given.leaves[0], given.leaves[1:3], given.leaves[3:5]
    packets = (torch.rand(1, 150, 3, generator=torch.Generator().manual_seed(4)) * 2 - 1).split(32, 1)

    def gradient(which: list[int], backend: str) -> Tensor:
        leaves = [x.detach().requires_grad_() for x in (*weights, *biases)]
        raw = decode_planes(planes, torch.cat([packets[i] for i in which], 1), AXES, leaves[:2], leaves[2:], backend=backend)
        gradients = torch.autograd.grad(raw.square().sum(), leaves)
        return kernel._packed(gradients[:2], gradients[2:])

    total = gradient([0, 1, 2, 3, 4], 'cpu')
    work = [[0, 3], [1, 4], [2]] if rows == 3 else [[0, 2, 3], [1, 4]]
    for found, which in zip(buffers[0], work, strict=True):
        torch.testing.assert_close(found, gradient(which, 'reference'), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(total, gradient([0, 1, 2, 3, 4], 'reference'), rtol=1e-4, atol=1e-3)


def test_rows_for_the_blocks_of_a_gpu() -> None:
    assert gradients.decoder_rows(4224, 316) == 4224, 'one each'
    assert gradients.decoder_rows(4224, 4257) == 985, '16 MiB of a decoder as published'
    assert gradients.decoder_rows(4224, 10**8) == gradients.decoder_rows(0, 10) == 1


def test_points_on_the_emulated_gpu(emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    emulated.set_thread_order(3)
    check_points(45)


def check_points(count: int, device: str = 'cpu', dtype: torch.dtype = torch.float32) -> None:
    """dtype  of the planes, where they are not float64"""
    given = problem(CASES['deep, odd sizes'])
    layers = len(given.case.hidden) + 1
    given.leaves[0] = given.leaves[0].to(dtype).float()
    points = torch.rand(2, count, 3, generator=torch.Generator().manual_seed(4)) * 2.4 - 1.2

    def results(backend: str, precision: torch.dtype) -> list[Tensor]:
        leaves = [x.to(device, precision).requires_grad_() for x in (points, *given.leaves[: 1 + 2 * layers])]
        if precision == torch.float32:
            leaves[1] = leaves[1].detach().to(dtype).requires_grad_()
        weights, biases = leaves[2 : 2 + layers], leaves[2 + layers :]
        out = decode_planes(leaves[1], leaves[0], AXES.to(leaves[0]), weights, biases, backend=backend)
        assert out.dtype == precision
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(5)).to(out)
        return [x.cpu() for x in (out, *torch.autograd.grad((out * weight).sum(), leaves))]

    truth, theirs, ours = (results(*how) for how in (('reference', torch.float64), ('reference', torch.float32), (device, torch.float32)))
    for index, results in enumerate(zip(ours, theirs, truth, strict=True)):
        check_errors(f'result {index}', *results)


@pytest.mark.parametrize('count', [1, 7, 200])
def test_points(count: int) -> None:
    check_points(count)
    check_points(count, dtype=torch.bfloat16)


@pytest.mark.parametrize('backend', ['reference', 'cpu'])
def test_planes_in_16_bits_are_asked_where_the_points_are(backend: str) -> None:
    """Not at the nearest of the 256 places that bfloat16 knows between 0.5 and 1; and whatever else is in 16 bits is widened as well."""
    planes = torch.arange(1024.0)[None, None, None, None] * 0.25  # every texel a bfloat16 or half way to the next
    planes = planes.bfloat16().expand(1, 3, 1, 1024, 1024)
    x = torch.tensor([0.7001, 0.7003, 0.7005, 0.7007])
    found = decode_planes(planes, torch.stack([x, x * 0, x], -1)[None], AXES, [torch.ones(1, 1)], [torch.zeros(1)], backend=backend)
    wide = decode_planes(planes.float(), torch.stack([x, x * 0, x], -1)[None], AXES, [torch.ones(1, 1)], [torch.zeros(1)], backend='reference')
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wide, rtol=1e-5, atol=0)
    narrow = [x.bfloat16() for x in (planes, torch.rand(1, 5, 3), AXES, torch.ones(1, 1), torch.zeros(1))]
    assert decode_planes(*narrow[:3], narrow[3:4], narrow[4:], backend=backend).dtype == torch.float32


def rendered_empty(images: int, rays: int, fine: int, backend: str) -> list[Tensor]:
    """Results of no rays at all, and their gradients."""
    given = problem(replace(CASES['demo'], images=images, rays=rays, fine=fine))
    return list(given.results(backend, torch.float32).values())


@pytest.mark.parametrize(('images', 'rays'), [(2, 0), (0, 5), (0, 0)])
def test_nothing_to_do(images: int, rays: int) -> None:
    """Empty results, and zeros as gradients of what is not empty."""
    for fine in (0, 4):
        for ours, theirs in zip(rendered_empty(images, rays, fine, 'cpu'), rendered_empty(images, rays, fine, 'reference'), strict=True):
            assert torch.equal(ours, theirs) and not ours.any()
    results = []
    for backend in ('cpu', 'reference'):
        leaves = [x.requires_grad_() for x in problem(replace(CASES['demo'], images=images)).leaves[:5]]
        points = torch.zeros(images, rays, 3, requires_grad=True)
        raw = decode_planes(leaves[0], points, AXES, leaves[1:3], leaves[3:5], backend=backend)
        results.append([raw, *torch.autograd.grad(raw.sum(), [*leaves, points])])
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


def test_what_lies_beyond_the_reach_of_a_point_is_not_read() -> None:
    """A plane that a point misses gives it nothing, also where its border holds no numbers."""
    given = problem(CASES['demo'])
    planes = given.leaves[0].clone()
    planes[..., 0], planes[..., -1], planes[..., 0, :], planes[..., -1, :] = float('nan'), float('inf'), float('nan'), float('inf')
    points = torch.tensor([[1.9, 1.8, -1.7], [1.5, 0.2, 0.1], [0.1, -1.4, 0.3], [0.2, 0.1, 7.0]]).expand(2, -1, -1)
    results = []
    for backend in ('cpu', 'reference'):
        leaves = [x.detach().requires_grad_() for x in (planes, points, *given.leaves[1:5])]
        raw = decode_planes(leaves[0], leaves[1], AXES, leaves[2:4], leaves[4:6], backend=backend)
        results.append([raw, *torch.autograd.grad(raw.sum(), leaves)])
    for ours, theirs in zip(*results, strict=True):
        assert ours.isfinite().all()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_planes_beyond_reach_on_the_emulated_gpu(emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    emulated.set_thread_order(0)
    test_what_lies_beyond_the_reach_of_a_point_is_not_read()


def test_shared_memory_is_what_the_kernels_take(emulated: ctypes.CDLL) -> None:
    for case in CASES.values():
        widths = [case.channels, *case.hidden, 1 + case.features]
        for coarse, fine in ((case.coarse, case.fine), (1, 0)):
            call = Call(plane_count=case.planes, channels=case.channels, layers=len(widths) - 1, coarse=coarse, fine=fine)
            call.widths[: len(widths)] = widths
            for backward in (False, True):
                ours = shared_bytes(case.planes, widths, coarse, fine, backward=backward)
                assert ours == emulated.triplane_scratch_bytes(ctypes.byref(call), backward)


def test_bfloat16_planes_are_widened_exactly() -> None:
    given = problem(CASES['EG3D'])
    given.leaves[0] = given.leaves[0].bfloat16().float()
    narrow = problem(CASES['EG3D'])
    narrow.leaves[0] = given.leaves[0].bfloat16()

    def run(planes: Tensor) -> tuple[Tensor, Tensor]:
        planes = planes.detach().requires_grad_()
        planes_field = given.field([planes, *given.leaves[1:]])
        seen = render_planes(planes_field, *given.leaves[-4:], given.case.coarse, given.u_coarse, given.u_fine, given.case.rule, backend='cpu')
        return seen.features, torch.autograd.grad(seen.features.sum(), planes)[0]

    wide, wide_gradient = run(given.leaves[0])
    features, gradient = run(narrow.leaves[0])
    assert torch.equal(features, wide)
    assert gradient.dtype == torch.bfloat16 and torch.equal(gradient, wide_gradient.bfloat16())


def test_a_ray_is_the_same_in_every_company() -> None:
    """Alone or among others, on one thread or on two: the bits of a ray do not change."""
    given = problem(CASES['demo'])

    def features(rays: slice, image: slice = slice(None)) -> Tensor:
        leaves = [given.leaves[0][image], *given.leaves[1:-4], *(x[image, rays] for x in given.leaves[-4:])]
        u = given.u_coarse[image, rays]
        return render_planes(given.field(leaves), *leaves[-4:], given.case.coarse, u, None, given.case.rule, backend='cpu').features

    together = features(slice(None))
    assert torch.equal(features(slice(4, 5)), together[:, 4:5])
    assert torch.equal(features(slice(None), slice(1, 2)), together[1:])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(features(slice(None)), together)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('images', [1, 3, 4])
def test_gradients_on_two_threads(images: int) -> None:
    """They share an image, or have whole ones each."""
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        check(replace(CASES['demo'], images=images))
        check_points(7)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize('images', [1, 2, 3, 5])
def test_gradients_on_any_number_of_threads(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread adds to what another one adds to, or past the end, and every part is counted."""
    given = problem(replace(CASES['demo'], images=images, rays=6, coarse=4))
    found = {}
    for threads in (1, 2, 3, 4, 5, 7, 8, 12):
        monkeypatch.setattr(torch, 'get_num_threads', lambda count=threads: count)
        found[threads] = given.results('cpu', torch.float32)
    for threads, results in found.items():
        for name, alone in found[1].items():
            torch.testing.assert_close(results[name], alone, rtol=1e-4, atol=1e-4 * alone.abs().max().item(), msg=f'{name}, {threads} threads')


@pytest.mark.parametrize(
    ('threads', 'images', 'parts'),
    [(1, 5, 1), (8, 4, 2), (8, 1, 8), (24, 16, 2), (64, 32, 2), (8, 16, 1), (8, 33, 1), (8, 9, 2), (12, 5, 4), (3, 2, 2), (5, 0, 1)],
)
def test_memory_for_gradients(threads: int, images: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded by threads plus images, not by their product."""
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    call, planes, decoder = Call(images=images, rays=100), torch.zeros(images, 3, 2, 4, 5), torch.zeros(7)
    grad_planes, grad_decoder = gradients.buffers(call, planes, decoder, kernel._workers(call, planes.device))
    rows = threads if images else 1
    assert grad_planes.shape == (parts, images, 120) and grad_decoder.shape == (rows, 7)
    assert parts * images <= max(images, threads + 2 * images - 1)
    assert (call.grad_parts, call.grad_image_size, call.grad_decoder_rows) == (parts, 120, rows)


def check_not_finite() -> None:
    given = problem(replace(CASES['demo'], fine=9))
    for index in (0, -4, -2):
        leaves = [x.clone() for x in given.leaves]
        leaves[index].fill_(float('nan'))
        leaves = [x.requires_grad_() for x in leaves]
        seen = render_planes(
            given.field(leaves), *leaves[-4:], given.case.coarse, given.u_coarse, given.u_fine, given.case.rule, backend='cpu'
        )
        assert seen.features.isnan().all() and seen.opacity.isnan().all(), index
        gradients = torch.autograd.grad(seen.features.sum(), leaves)
        assert gradients[1].isnan().any(), index


def test_a_number_that_is_not_finite_comes_through() -> None:
    check_not_finite()


def test_a_number_that_is_not_finite_harms_nothing_on_the_emulated_gpu(emulated: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depths without an order leave places empty; what shared memory held before must not become an address (the emulator aborts)."""
    monkeypatch.setattr(kernel, '_load_cpu', lambda device: emulated)
    emulated.set_thread_order(0)
    check_not_finite()


@pytest.mark.parametrize('backend', ['reference', 'cpu'])
def test_shapes_that_do_not_fit_are_refused(backend: str) -> None:
    """A kernel reads memory by what it is told, so nothing wrong may reach it."""
    given = problem(replace(CASES['demo'], fine=4, noise=True))
    leaves, case = given.leaves, given.case
    planes_field = given.field(leaves)
    good = {
        'field': planes_field, 'origins': leaves[-4], 'directions': leaves[-3], 'near': leaves[-2], 'far': leaves[-1],
        'samples': case.coarse, 'u_coarse': given.u_coarse, 'u_fine': given.u_fine, 'noise': given.noise,
    }  # fmt: skip

    def render(**changes: object) -> None:
        arguments = {**good, **changes}
        render_planes(**arguments, rule=case.rule, backend=backend)

    render()
    wrong = [
        ({'origins': leaves[-4][:1]}, 'points'),
        ({'directions': leaves[-3][:, :2]}, 'directions of shape'),
        ({'near': leaves[-2][..., 0]}, 'near of shape'),
        ({'far': leaves[-1][:, :3]}, 'far of shape'),
        ({'u_coarse': given.u_coarse[..., 1:]}, 'u_coarse of shape'),
        ({'u_fine': given.u_fine[:1]}, 'u_fine of shape'),
        ({'noise': given.noise[..., 1:]}, 'noise of shape'),
        ({'samples': 0}, '0 coarse samples were asked for; this rule needs at least 2'),
        ({'field': replace(planes_field, axes=AXES[:2])}, 'axes of shape'),
        ({'field': replace(planes_field, weights=planes_field.weights[::-1])}, 'a layer on 8 channels'),
        ({'near': leaves[-2].to('meta')}, 'tensors on cpu, meta'),
    ]
    for changes, message in wrong:
        with pytest.raises(ValueError, match=message):
            render(**changes)


def test_many_cameras_may_share_one_scene() -> None:
    given = problem(CASES['demo'])
    rays = given.leaves[-4:]
    results = []
    for share in (lambda one: one.expand(2, -1, -1, -1, -1), lambda one: one.repeat(2, 1, 1, 1, 1)):
        one = given.leaves[0][:1].clone().requires_grad_()
        seen = render_planes(given.field([share(one), *given.leaves[1:]]), *rays, 16, None, None, given.case.rule, backend='cpu')
        raw = decode_planes(share(one), rays[0], AXES, given.leaves[1:3], given.leaves[3:5], backend='cpu')
        results.append((seen.features, raw, *(torch.autograd.grad(out.square().sum(), one)[0] for out in (seen.features, raw))))
    for shared, copied in zip(*results, strict=True):
        torch.testing.assert_close(shared, copied, rtol=1e-5, atol=1e-5)
    assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize('shared', [True, False])
def test_images_that_lie_in_one_place_have_gradients_of_their_own(shared: bool) -> None:
    """Of planes that are themselves an expanded tensor, and of a part of a batch whose images do not follow one another."""
    given = problem(replace(CASES['demo'], images=4))
    planes = given.leaves[0][:1].expand(2, -1, -1, -1, -1) if shared else given.leaves[0][::2]
    rays = [x[::2] for x in given.leaves[-4:]]
    for image in (0, 1):
        results = []
        for backend in ('cpu', 'reference'):
            leaf = planes.detach().requires_grad_()
            assert leaf.stride() == planes.stride()
            seen = render_planes(given.field([leaf, *given.leaves[1:]]), *rays, 16, None, None, given.case.rule, backend=backend)
            raw = decode_planes(leaf, rays[0], AXES, given.leaves[1:3], given.leaves[3:5], backend=backend)
            results.append([torch.autograd.grad(out[image].square().sum(), leaf)[0] for out in (seen.features, raw)])
        for ours, theirs in zip(*results, strict=True):
            assert not ours[1 - image].any() and ours[image].any()
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_second_derivative_is_refused() -> None:
    given = problem(CASES['demo'])
    origins, planes = given.leaves[-4].requires_grad_(), given.leaves[0].requires_grad_()
    raw = decode_planes(planes, origins, AXES, given.leaves[1:3], given.leaves[3:5], backend='cpu')
    slope = torch.autograd.grad(raw.sum(), origins, create_graph=True)[0]
    with pytest.raises(NotImplementedError, match='second derivative'):
        slope.square().sum().backward()


def test_planes_in_any_layout() -> None:
    given = problem(CASES['demo'])
    results = []
    for planes in (given.leaves[0], given.leaves[0].contiguous(), given.leaves[0].permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)):
        planes = planes.detach().requires_grad_()
        seen = render_planes(given.field([planes, *given.leaves[1:]]), *given.leaves[-4:], 16, None, None, given.case.rule, backend='cpu')
        results.append((seen.features, torch.autograd.grad(seen.features.sum(), planes)[0]))
    for features, gradient in results[1:]:
        assert torch.equal(features, results[0][0]) and torch.equal(gradient, results[0][1])


def test_what_the_kernels_do_not_know_is_rendered_by_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    given = problem(replace(CASES['demo'], activation='silu'))
    planes_field = given.field(given.leaves)
    kernel._told.clear()
    for _ in range(2):
        render_planes(planes_field, *given.leaves[-4:], 16, None, None, given.case.rule)
    told = [record.message for record in caplog.records if record.message.startswith('render_planes')]
    assert told == ["render_planes: reference, for activation 'silu'; the kernels know softplus, relu, lrelu"]
    with pytest.raises(ValueError, match="backend 'cpu' was asked for render_planes with activation 'silu'"):
        render_planes(planes_field, *given.leaves[-4:], 16, None, None, given.case.rule, backend='cpu')


def test_memory_of_a_gpu_is_asked_for_gradients_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """99 kB, as sm_86 has: enough for 192 + 192 samples of the published decoder, but not for their gradients."""
    properties = SimpleNamespace(shared_memory_per_block_optin=99 * 1024, multi_processor_count=84)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda device: properties)
    planes = SimpleNamespace(device=torch.device('cuda'), dtype=torch.float32, shape=torch.Size([1, 3, 32, 256, 256]))
    assert kernel.refusal(planes, [32, 64, 33], 'softplus', 192, 192, backward=False) is None
    assert ', with gradients; this GPU has 101376' in kernel.refusal(planes, [32, 64, 33], 'softplus', 192, 192, backward=True)
    assert ', without gradients; this GPU has 101376' in kernel.refusal(planes, [32, 64, 33], 'softplus', 999, 999, backward=False)


@pytest.mark.parametrize('wants', [None, 'planes', 'weight', 'bias', 'origins', 'far'])
def test_gradients_are_wanted_if_something_has_one(wants: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    given, asked = problem(CASES['demo']), []
    monkeypatch.setattr(kernel, 'refusal', lambda *arguments, backward: asked.append(backward))
    at = {'planes': 0, 'weight': 1, 'bias': 4, 'origins': -4, 'far': -1}
    if wants:
        given.leaves[at[wants]].requires_grad_()

    def run() -> None:
        render_planes(given.field(given.leaves), *given.leaves[-4:], 16, None, None, given.case.rule)
        decode_planes(given.leaves[0], given.leaves[-4], AXES, given.leaves[1:3], given.leaves[3:5])

    run()
    assert asked == [wants is not None, wants not in (None, 'far')]
    with torch.no_grad():
        run()
    assert asked[2:] == [False, False]


def test_registration() -> None:
    case = replace(CASES['deep, odd sizes'], rays=3)
    given = problem(case)
    planes_field = given.field([x.requires_grad_() for x in given.leaves])
    widths = [case.channels, *case.hidden, 1 + case.features]
    decoder = torch.cat([part for w, b in zip(planes_field.weights, planes_field.biases) for part in (w.t().reshape(-1), b)]).detach().requires_grad_()
    origins, directions, near, far = given.leaves[-4:]
    rest = (widths, case.coarse, 'softplus', 1.8, 4.0, 0.5, 5.0, 0.4, 1.0, 8.0, False, False, False)
    check_registration(
        'render_planes',
        (
            planes_field.planes, AXES, decoder, origins, directions, near[..., 0].detach(), far[..., 0].detach(), given.u_coarse, given.u_fine,
            given.noise, *rest,
        ),
    )
    check_registration('decode_planes', (planes_field.planes, origins.detach(), AXES, planes_field.weights, planes_field.biases))
    check_registration('decode_points', (planes_field.planes, origins.detach(), AXES, decoder, widths, 'softplus'))
    narrow = [x.detach().bfloat16().requires_grad_() for x in (planes_field.planes, origins, decoder)]
    check_registration('decode_points', (*narrow[:2], AXES, narrow[2], widths, 'softplus'))
