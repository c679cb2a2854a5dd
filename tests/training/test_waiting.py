"""A training step never asks a device for a number: on an accelerator every answer would cost a wait for all work queued before it.

The step runs on the CPU, where nothing waits; what is watched is who reads a number of a tensor. The few places that may are listed with why.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.training.tiny import WAYS, config_of, full_config, tiny_config, trainer_of
from torch_utils.distributed import World
from torch_utils.gradients import Watch
from training.cameras.camera import Camera
from training.networks.generator3d import Generator3D

ROOT = Path(__file__).resolve().parents[2]

MAY_READ = {
    'training/augment/': 'draws stay on the host, so that Python may decide which rows to warp; p moves every few iterations',
    'training/data/': 'which images, and which of them mirrored, is decided on the host',
}

# Operations whose result has a shape or a Python value that depends on numbers, and methods that hand numbers to Python.
READING_OPERATIONS = {
    '_local_scalar_dense', 'nonzero', 'masked_select', 'is_nonzero', 'equal', '_unique2', 'unique_dim', 'unique_consecutive', 'bincount',
    'repeat_interleave', 'histc',
}  # fmt: skip
READING_METHODS = {'tolist', 'numpy', 'cpu', '__array__'}


def reader() -> str:
    """The innermost file of ours on the stack, relative to the repository."""
    frame = sys._getframe(2)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / 'tests') and '.venv' not in path.parts:
            return f'{path.relative_to(ROOT)}:{frame.f_lineno}'
        frame = frame.f_back
    return 'PyTorch itself'


class Operations(TorchDispatchMode):
    """Notes who runs READING_OPERATIONS, within autograd's backward passes too."""

    def __init__(self, readers: Counter) -> None:
        super().__init__()
        self.readers = readers

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        indexes_by_bool = name in ('index', 'index_put', 'index_put_') and any(i is not None and i.dtype == torch.bool for i in args[1])
        if name in READING_OPERATIONS and not (name == 'repeat_interleave' and 'output_size' in (kwargs or {})) or indexes_by_bool:
            self.readers[f'{reader()} {name}'] += 1
        return func(*args, **(kwargs or {}))


class Methods(TorchFunctionMode):
    """Notes who calls READING_METHODS, which on the CPU are no operations."""

    def __init__(self, readers: Counter) -> None:
        super().__init__()
        self.readers = readers

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, '__name__', '') in READING_METHODS:
            self.readers[f'{reader()} {func.__name__}'] += 1
        return func(*args, **(kwargs or {}))


def readers_of(function) -> Counter:
    readers = Counter()
    with Methods(readers), Operations(readers):
        function()
    return readers


def test_reading_is_noticed() -> None:
    x = torch.ones(3)
    for read in (
        lambda: x.sum().item(), lambda: bool(x.sum() > 0), lambda: float(x[0]), x.tolist, x.cpu, x.numpy, x.nonzero, lambda: x[x > 0],
        lambda: torch.equal(x, x),
    ):  # fmt: skip
        assert readers_of(read), read
    assert not readers_of(lambda: torch.where(x > 0, x[[0, 1, 2]], 0).sum())


@pytest.mark.parametrize(
    'config',
    [
        tiny_config('gan.style_mixing_probability=0.5', 'gan.blur_fade_kimg=1', 'gan.blur_sigma_px=2', 'data.mirror=true'),
        full_config(),
        full_config('gan.views=2'),
        full_config('gan.precision_discriminator=bf16', 'gan.precision_backbone=bf16', 'generator.superres.precision=bf16'),
        *map(config_of, WAYS),
    ],
    ids=['demo', 'eg3d', 'several labelled views', 'bf16', *WAYS],
)
def test_a_step_reads_no_number(config, tmp_path: Path) -> None:
    trainer, _ = trainer_of(config, tmp_path, World())
    trainer.watch = Watch(late=True)
    trainer.iterate()  # fills caches
    trainer.iterate()
    assert trainer.step % config.gan.r1_every == 0
    trainer.watch.raise_if_spoilt()
    readers = readers_of(trainer.iterate)
    uninvited = {who: count for who, count in readers.items() if not who.startswith(tuple(MAY_READ))}
    assert not uninvited


class OnHost(TorchDispatchMode):
    """Notes operations with a tensor of the host among their inputs or outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if any(isinstance(x, torch.Tensor) and x.device.type == 'cpu' for x in tree_leaves((args, kwargs, out))):
            self.found[f'{reader()} {func.overloadpacket.__name__}'] += 1
        return out


@pytest.mark.parametrize('config', [tiny_config(), full_config(), *map(config_of, WAYS)], ids=['demo', 'eg3d', *WAYS])
def test_a_picture_needs_nothing_of_the_host(config, monkeypatch) -> None:
    """A GPU would wait for it, and a CUDA graph could not be recorded. The network is on a device without numbers, where all that the host does shows."""
    autocast = torch.autocast
    monkeypatch.setattr('torch.autocast', lambda kind, **options: autocast('cpu' if kind == 'meta' else kind, **options))
    net = Generator3D(config.generator).eval().requires_grad_(False).to('meta')
    with torch.device('meta'):
        z, camera, classes = torch.empty(2, net.z_dim), Camera(torch.empty(2, 4, 4), torch.empty(2, 3, 3)), torch.zeros(2, dtype=torch.int64)

    def picture() -> torch.Tensor:
        return net(z, classes if config.generator.num_classes else None, camera).image

    with torch.no_grad():
        picture()  # fills caches
        with OnHost() as host:
            image = picture()
            assert image.device.type == 'meta' and not host.found
            image.sum() + torch.tensor(1.0).to('meta')
            assert len(host.found) == 2, 'a number made on the host and moved is noticed'
