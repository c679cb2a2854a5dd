"""The tensor-core decoder, on the emulated GPU, against float64: no error but the rounding of features, hidden units and colours."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from custom_ops.jit import load_host
from custom_ops.triplane.tensor_cores import pack_decoder

SOURCE = Path(__file__).parent / 'emulator' / 'tensor_cores.cpp'
SIZES = [(32, 64, 32), (16, 16, 3), (48, 32, 20), (64, 128, 8)]  # channels, hidden units, features
PLANES, TEXELS, GROUPS = 3, 7, 5
ROUNDING = 2.0**-8  # of bfloat16, relative, at most: half a unit in the last of 8 places


class Task(ctypes.Structure):
    """Task of tensor_core_kernel.h."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ('image', 'weights', 'tap_weights', 'tap_offsets', 'shares', 'raw', 'colours', 'sums')),
        ('planes', ctypes.c_int32),
        ('groups', ctypes.c_int32),
    ]  # fmt: skip


@dataclass
class Scene:
    image: Tensor  # bfloat16 [texels, C]
    tap_weights: Tensor  # [groups, taps, 32]
    tap_texels: Tensor  # int64 [groups, taps, 32]
    shares: Tensor  # [groups, 32]
    weights: list[Tensor]  # float32; what the kernel rounds to bfloat16 is representable in it
    biases: list[Tensor]


@dataclass
class Decoded:
    raw: Tensor  # [groups, 32]
    colours: Tensor  # [groups, 32, F]
    sums: Tensor  # [groups, F]


@pytest.fixture(scope='module')
def library() -> ctypes.CDLL:
    return load_host('emulator_tensor_cores', [SOURCE])


def scene(channels: int, hidden: int, features: int) -> Scene:
    generator = torch.Generator().manual_seed(channels)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    def uniform(*shape):
        return torch.rand(*shape, generator=generator)

    taps = (GROUPS, 4 * PLANES, 32)
    second = normal(1 + features, hidden) / hidden**0.5
    second[1:] = second[1:].bfloat16().float()  # the row of the density stays float
    return Scene(
        image=normal(PLANES * TEXELS**2, channels).bfloat16(),
        tap_weights=uniform(*taps) / 3,
        tap_texels=torch.randint(PLANES * TEXELS**2, taps, generator=generator),
        shares=uniform(GROUPS, 32),
        weights=[(2 * normal(hidden, channels) / channels**0.5).bfloat16().float(), second],
        biases=[normal(hidden), normal(1 + features)],
    )


def decode(library: ctypes.CDLL, scene: Scene) -> Decoded:
    channels, hidden, features = scene.image.shape[1], *scene.weights[1].shape[::-1]
    features -= 1
    found = Decoded(torch.empty(GROUPS, 32), torch.empty(GROUPS, 32, features), torch.empty(GROUPS, features))
    weights = pack_decoder(scene.weights, scene.biases)
    offsets = (scene.tap_texels * channels).int()
    tensors = (scene.image, weights, scene.tap_weights, offsets, scene.shares, found.raw, found.colours, found.sums)
    assert all(tensor.is_contiguous() for tensor in tensors)
    task = Task(*(tensor.data_ptr() for tensor in tensors), PLANES, GROUPS)
    library.decode.restype = ctypes.c_bool
    assert library.decode(ctypes.byref(task), channels, hidden, features), f'tensor_cores.cpp lacks {(channels, hidden, features)}'
    return found


def expected(scene: Scene) -> tuple[Decoded, Decoded]:
    """Float64 values, and the size of the errors that rounding leads to.

    Rounding x errs by at most ROUNDING |x|. To first order the errors of features, hidden units and colours reach the results through the
    derivatives of these. They are independent, so the size is the root of the sum of their squares; the standard deviation is less than
    half of it.
    """
    (first, second), (first_bias, second_bias) = [w.double() for w in scene.weights], [b.double() for b in scene.biases]
    texels = scene.image.double()[scene.tap_texels]  # [groups, taps, 32, C]
    features = (texels * scene.tap_weights.double()[..., None]).sum(1)
    inner = features @ first.t() + first_bias
    hidden = F.softplus(inner)
    outputs = hidden @ second.t() + second_bias
    colours = outputs[..., 1:].sigmoid() * 1.002 - 0.001
    shares = scene.shares.double()[:, None]

    of_features = torch.einsum('oh,gsh,hc->gsoc', second, inner.sigmoid(), first) * features[:, :, None]
    squares = of_features.square().sum(-1)
    squares[..., 1:] += hidden.square() @ second[1:].square().t()  # density takes hidden units as they are
    slope = 1.002 * outputs[..., 1:].sigmoid() * (1 - outputs[..., 1:].sigmoid())
    colour_squares = slope.square() * squares[..., 1:] + colours.square()
    return (
        Decoded(outputs[..., 0], colours, (shares @ colours)[:, 0]),
        Decoded(*(ROUNDING * x.sqrt() for x in (squares[..., 0], colour_squares, (shares.square() @ colour_squares)[:, 0]))),
    )


@pytest.mark.parametrize('order', [0, -1, 1])
@pytest.mark.parametrize('sizes', SIZES)
def test_errors_are_those_of_rounding(library, sizes, order):
    case = scene(*sizes)
    library.set_thread_order(order)
    found = decode(library, case)
    library.set_thread_order(0)
    truth, size = expected(case)
    for name in ('raw', 'colours', 'sums'):
        error, most = (getattr(found, name) - getattr(truth, name)).abs(), getattr(size, name)
        assert error.square().mean() <= most.square().mean() / 4, name
        assert (error <= 2 * most).all(), (name, (error / most).max())


@pytest.mark.parametrize('sizes', SIZES)
def test_density_is_exact_where_features_are(library, sizes):
    """A sample on the middle of one texel has features that bfloat16 holds, and no other rounding is on the way to its density."""
    case = scene(*sizes)
    case.tap_weights.zero_()[:, 5] = 1
    torch.testing.assert_close(decode(library, case).raw.double(), expected(case)[0].raw, rtol=0, atol=1e-5)


@pytest.mark.parametrize(('bias', 'colour'), [(40.0, 1.001), (-40.0, -0.001)])
def test_ends_of_the_colours(library, bias, colour):
    case = scene(*SIZES[0])
    case.biases[1][1:] = bias
    assert (decode(library, case).colours == torch.tensor(colour).bfloat16().float()).all()


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match='multiples of 16'):
        pack_decoder([torch.zeros(16, 20), torch.zeros(4, 16)], [torch.zeros(16), torch.zeros(4)])
