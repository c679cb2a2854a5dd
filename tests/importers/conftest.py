"""What published checkpoints of EG3D and PoF3D contain, built from the rules of their names; and where golden values would lie."""

from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[2] / '..' / 'shared' / 'golden'

Shapes = dict[str, tuple[int, ...]]


def _layer(name: str, out: int, inputs: int, kernel: int, w_dim: int, noise_side: int | None) -> Shapes:
    shapes = {
        f'{name}.weight': (out, inputs, kernel, kernel),
        f'{name}.bias': (out,),
        f'{name}.affine.weight': (inputs, w_dim),
        f'{name}.affine.bias': (inputs,),
    }
    if noise_side:
        shapes |= {f'{name}.noise_strength': (), f'{name}.noise_const': (noise_side,) * 2, f'{name}.resample_filter': (4, 4)}
    return shapes


def published_generator(
    *, widths: dict[int, int], superres: list[tuple[int, int]], z_dim: int, w_dim: int = 512, plane_channels: int = 32, hidden: int = 64,
    superres_filter: bool = True,
) -> Shapes:
    """`widths` of the backbone by resolution; `superres` as (width, output side) per block."""
    shapes: Shapes = {'dataset_label_std': (25,), 'backbone.mapping.w_avg': (w_dim,)}
    shapes |= {'backbone.mapping.embed.weight': (w_dim, 25), 'backbone.mapping.embed.bias': (w_dim,)}
    for i, inputs in enumerate((z_dim + w_dim, w_dim)):
        shapes |= {f'backbone.mapping.fc{i}.weight': (w_dim, inputs), f'backbone.mapping.fc{i}.bias': (w_dim,)}
    shapes['backbone.synthesis.b4.const'] = (widths[4], 4, 4)
    for r, width in widths.items():
        block = f'backbone.synthesis.b{r}'
        if r > 4:
            shapes |= _layer(f'{block}.conv0', width, widths[r // 2], 3, w_dim, r)
        shapes |= _layer(f'{block}.conv1', width, width, 3, w_dim, r)
        shapes |= _layer(f'{block}.torgb', 3 * plane_channels, width, 1, w_dim, None)
        shapes[f'{block}.resample_filter'] = (4, 4)
    inputs = plane_channels
    for i, (width, side) in enumerate(superres):
        block = f'superresolution.block{i}'
        shapes |= _layer(f'{block}.conv0', width, inputs, 3, w_dim, side) | _layer(f'{block}.conv1', width, width, 3, w_dim, side)
        shapes |= _layer(f'{block}.torgb', 3, width, 1, w_dim, None)
        shapes[f'{block}.resample_filter'] = (4, 4)
        inputs = width
    if superres_filter:
        shapes['superresolution.resample_filter'] = (4, 4)
    for name, out, inputs in (('decoder.net.0', hidden, plane_channels), ('decoder.net.2', plane_channels + 1, hidden)):
        shapes |= {f'{name}.weight': (out, inputs), f'{name}.bias': (out,)}
    return shapes


def published_discriminator(*, widths: dict[int, int]) -> Shapes:
    """`widths` by resolution from 4 to the image's; dual, conditioned on the camera."""
    top, last = max(widths), widths[4]
    shapes: Shapes = {f'b{top}.fromrgb.weight': (widths[top], 6, 1, 1), f'b{top}.fromrgb.bias': (widths[top],), 'resample_filter': (4, 4)}
    shapes[f'b{top}.fromrgb.resample_filter'] = (4, 4)
    for r in (r for r in widths if r > 4):
        inputs, out = widths[r], widths[r // 2]
        shapes |= {f'b{r}.conv0.weight': (inputs, inputs, 3, 3), f'b{r}.conv0.bias': (inputs,)}
        shapes |= {f'b{r}.conv1.weight': (out, inputs, 3, 3), f'b{r}.conv1.bias': (out,), f'b{r}.skip.weight': (out, inputs, 1, 1)}
        shapes |= {f'b{r}{part}.resample_filter': (4, 4) for part in ('', '.conv0', '.conv1', '.skip')}
    shapes |= {'b4.conv.weight': (last, last + 1, 3, 3), 'b4.conv.bias': (last,), 'b4.conv.resample_filter': (4, 4)}
    shapes |= {'b4.fc.weight': (last, 16 * last), 'b4.fc.bias': (last,), 'b4.out.weight': (last, last), 'b4.out.bias': (last,)}
    for name, inputs in (('embed', 25), *((f'fc{i}', last) for i in range(8))):
        shapes |= {f'mapping.{name}.weight': (last, inputs), f'mapping.{name}.bias': (last,)}
    return shapes


def capped(base: int, most: int, top: int) -> dict[int, int]:
    """{4: width, ..., top: width} by the published rule."""
    return {4 << i: min(base // (4 << i), most) for i in range(top.bit_length() - 2)}


CHECKPOINTS: dict[str, tuple[Shapes, Shapes, str, int]] = {
    'tiny': (
        published_generator(widths=capped(1024, 32, 256), superres=[(128, 64), (64, 128)], z_dim=64),
        published_discriminator(widths=capped(1024, 32, 128)),
        'training.superresolution.SuperresolutionHybrid2X',
        32,
    ),
    'shapenet128-64': (
        published_generator(widths=capped(32768, 512, 256), superres=[(128, 64), (64, 128)], z_dim=512),
        published_discriminator(widths=capped(32768, 512, 128)),
        'training.superresolution.SuperresolutionHybrid2X',
        64,
    ),
    'ffhq512-128': (
        published_generator(widths=capped(32768, 512, 256), superres=[(256, 256), (128, 512)], z_dim=512, superres_filter=False),
        published_discriminator(widths=capped(32768, 512, 512)),
        'training.superresolution.SuperresolutionHybrid8XDC',
        128,
    ),
}


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request: pytest.FixtureRequest) -> tuple[str, Shapes, Shapes, str, int]:
    """(name, generator shapes, discriminator shapes, super-resolution class, render resolution)."""
    return (request.param, *CHECKPOINTS[request.param])


@pytest.fixture(scope='session')
def tiny() -> tuple[Shapes, Shapes, str, int]:
    return CHECKPOINTS['tiny']


@pytest.fixture(scope='session')
def golden() -> Path:
    """The folder of golden values, which may not exist."""
    return GOLDEN


def published_pof3d(generator: Shapes, discriminator: Shapes) -> tuple[Shapes, Shapes]:
    """What PoF3D makes of the tensors of EG3D's networks: no camera for the mapping, layers for poses, a condition of two numbers."""
    mapping, w_dim, last = 'backbone.mapping', generator['backbone.mapping.w_avg'][0], discriminator['b4.fc.weight'][0]
    generator = {name: shape for name, shape in generator.items() if not name.startswith((f'{mapping}.embed', 'dataset_label_std'))}
    generator[f'{mapping}.fc0.weight'] = (w_dim, generator[f'{mapping}.fc0.weight'][1] - w_dim)
    for name, out in (('affine_layer1', w_dim), ('affine_layer2', 2)):
        generator |= {f'{mapping}.{name}.weight': (out, w_dim), f'{mapping}.{name}.bias': (out,)}
    discriminator = discriminator | {'mapping.embed.weight': (last, 2)}
    for name, out, inputs in (('b4.cam_out1', 8 * last, 16 * last), ('b4.cam_out2', 2, 8 * last)):
        discriminator |= {f'{name}.weight': (out, inputs), f'{name}.bias': (out,)}
    return generator, discriminator


POF3D_CHECKPOINTS: dict[str, tuple[Shapes, Shapes, str, int]] = {
    name: (
        *published_pof3d(
            published_generator(widths=capped(base, most, 256), superres=[(128, 128), (64, 256)], z_dim=z_dim),
            published_discriminator(widths=capped(base, most, 256)),
        ),
        'training.superresolution.SuperresolutionHybrid4X',
        resolution,
    )
    for name, base, most, z_dim, resolution in (('pof3d.small', 1024, 32, 64, 32), ('pof3d.full', 32768, 512, 512, 64))
}


@pytest.fixture(params=POF3D_CHECKPOINTS)
def pof3d_checkpoint(request: pytest.FixtureRequest) -> tuple[str, Shapes, Shapes, str, int]:
    """(name, generator shapes, discriminator shapes, super-resolution class, render resolution)."""
    return (request.param, *POF3D_CHECKPOINTS[request.param])


@pytest.fixture(scope='session')
def pof3d_small() -> tuple[Shapes, Shapes, str, int]:
    return POF3D_CHECKPOINTS['pof3d.small']
