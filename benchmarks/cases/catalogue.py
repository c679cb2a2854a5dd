"""The cases of every section, at the sizes of the targets, and at sizes that take seconds for all of them together."""

from dataclasses import replace

from benchmarks.cases.case import GRAPH, KERNELS_BF16, NAIVE_TUNED, REFERENCE, Case, Target
from benchmarks.cases.inference import InferenceCase
from benchmarks.cases.operations import OperationCase
from benchmarks.cases.rendering import RendererCase
from benchmarks.cases.steps import StepCase, WaysCase
from benchmarks.curves import Curve

CAR, FRUITFUL = 'synthetic:car?background=env', 'synthetic:toyworld8?background=texture'


def cases(section: str, quick: bool) -> tuple[Case, ...]:
    """What `section` (renderer, step, ways, inference, ops) compares."""
    return {'renderer': _renderer, 'step': _steps, 'ways': _ways, 'inference': _inference, 'ops': _operations}[section](quick)


def _renderer(quick: bool) -> tuple[Case, ...]:
    if quick:
        return (RendererCase(8, coarse=6, fine=6, plane_side=16, backward=True, targets=(Target(2),)),)
    rows = []
    # Side, images, planes; the targets of forward and of forward + backward: the reference's, the kernels'.
    for side, images, planes, forward, both in (
        (64, 1, 256, (2.5, 10), (2, 8)),
        (128, 1, 256, (2.5, 13), (2, 12)),
        (32, 4, 64, (2.5, 10), (2, 8)),
    ):
        for backward, (reference, kernels) in ((False, forward), (True, both)):
            targets = [Target(reference, contestant=REFERENCE), Target(kernels)]
            if side == 128 and backward:
                targets.append(Target(64, 'MiB'))
            if side == 128 and not backward:  # 2.5 times what special functions and the second cache of an H200 need
                targets.append(Target(0.28, 'ms', device='cuda'))
            rows.append(RendererCase(side, images, plane_side=planes, backward=backward, targets=tuple(targets)))
    return tuple(rows)


_STEP_TARGETS = (Target(3), Target(4.5, contestant=KERNELS_BF16))
_WIDTHS = tuple(f'{place}.{name}' for place in ('generator.synthesis', 'discriminator') for name in ('channel_base=8192', 'channel_max=256'))


def _steps(quick: bool) -> tuple[Case, ...]:
    if quick:
        tiny = ('generator.synthesis.channels=(4,8),(8,8),(16,4),(32,4)', 'generator.rendering.samples_coarse=4')
        return (StepCase('`demo` with narrow networks', 'demo', CAR, 32, 2, tiny, (Target(2),)),)
    small = (*_WIDTHS, 'generator.superres.channels=(128,64)')
    return (
        StepCase(
            '`ffhq` at 64 px, planes 64^2, 32^2 rays x (48 + 48), widths up to 256', 'ffhq', CAR, 64, 4,
            (*small, 'generator.render_resolution=32', 'generator.superres.input_resolution=32', 'generator.synthesis.plane_resolution=64'),
        ),
        StepCase(
            '`ffhq` at 128 px, planes 256^2, 64^2 rays x (48 + 48), widths up to 256', 'ffhq', CAR, 128, 2,
            (*small, 'generator.render_resolution=64', 'generator.superres.input_resolution=64'), _STEP_TARGETS,
        ),
        StepCase('`demo`', 'demo', CAR, 32, 16),
        StepCase('`photos`', 'photos', FRUITFUL, 32, 16),
        StepCase(
            '`ffhq`, 64^2 rays', 'ffhq', CAR, 512, 32,
            targets=(Target(3, device='cuda'), Target(1.5, against=NAIVE_TUNED, device='cuda')),
        ),
        StepCase(
            '`ffhq`, 128^2 rays', 'ffhq', CAR, 512, 32, ('generator.render_resolution=128',),
            (Target(3.5, device='cuda'), Target(2, against=NAIVE_TUNED, device='cuda')),
        ),
    )


_EG3D = 'EG3D, cameras known'
_ON_WHITE = 'poses=wide&background=white'


def _ways(quick: bool) -> tuple[Case, ...]:
    """Methods that find cameras or judge several views, beside EG3D's step at the same sizes on the same pictures."""
    found, two, one = 'PoF3D, cameras found', 'two views', 'one view'
    cases = (
        WaysCase(
            '`demo-pof3d`', f'synthetic:car?{_ON_WHITE}', 32, 16, ((_EG3D, 'demo', ()), (found, 'demo-pof3d', ())),
            (Target(1.6, 'times', found, _EG3D),),
        ),
        WaysCase(
            '`demo-imagenet`', f'synthetic:toyworld8?{_ON_WHITE}', 32, 16,
            ((_EG3D, 'demo', ()), (one, 'demo-imagenet', ('gan.views=1',)), (two, 'demo-imagenet', ())),
            (Target(1.7, 'times', two, _EG3D),),
        ),
    )
    if not quick:
        return cases
    tiny = ('generator.synthesis.channels=(4,8),(8,8),(16,4),(32,4)', 'generator.rendering.samples_coarse=4')
    return tuple(replace(case, batch=4, ways=tuple((name, preset, (*settings, *tiny)) for name, preset, settings in case.ways)) for case in cases)


def _inference(quick: bool) -> tuple[Case, ...]:
    if quick:
        return (InferenceCase('demo', 8, settings=('generator.conditions_on_camera=true',), targets=(Target(2),)),)
    on_gpu = (Target(5, device='cuda'), Target(3, against=NAIVE_TUNED, device='cuda'))
    whole = (Target(4.5), Target(4.5, contestant=KERNELS_BF16), *on_gpu, Target(1.5, 'ms', GRAPH, device='cuda'))
    cached = (Target(6), Target(6, contestant=KERNELS_BF16), Target(1, 'ms', GRAPH, device='cuda'))
    return (InferenceCase('ffhq', 128, targets=whole), InferenceCase('ffhq', 128, cached=True, targets=cached))


def _operations(quick: bool) -> tuple[Case, ...]:
    images, channels, side, plane_side = (1, 4, 8, 16) if quick else (2, 128, 128, 256)
    found: list[Case] = []
    for operation in ('bias_act', 'synthesis_epilogue', 'upsample2d', 'downsample2d', 'filter'):
        found += [OperationCase(operation, images, channels, side, backward) for backward in (False, True)]
    for operation in ('bias_act', 'filter'):
        found += [OperationCase(operation, images, channels, side, backward, in_16_bits=True) for backward in (False, True)]
    return (*found, *(OperationCase('decode_planes', images, 32, side, backward, plane_side) for backward in (False, True)))


def curves(quick: bool) -> tuple[Curve, ...]:
    """How the renderer's time grows, with gradients, in rays, samples and images."""
    if quick:
        return (Curve('rays', tuple((side**2, RendererCase(side, coarse=4, fine=4, plane_side=16, backward=True)) for side in (8, 12, 16))),)
    return (
        Curve('rays', tuple((side**2, RendererCase(side, backward=True)) for side in (16, 32, 64, 96))),
        Curve('samples per ray', tuple((2 * n, RendererCase(32, coarse=n, fine=n, backward=True)) for n in (12, 24, 48, 96))),
        Curve('images', tuple((n, RendererCase(32, n, plane_side=64, backward=True)) for n in (1, 2, 4, 8))),
    )


