"""Everything that has a kernel, where there is nothing to build one with: test_backend.py runs this without a PATH.

Says through logging which implementation ran. Prints whether results and gradients are numbers, how many images were trained on, and the
programs that were started on the way.
"""

import logging
import os
import sys
from pathlib import Path

import torch

import custom_ops

assert 'torch._dynamo' not in sys.modules, 'the import of custom_ops brings in the compiler of torch, which takes seconds'

from custom_ops.volume import LightRule
from dnnlib import config as configs
from torch_utils.distributed import World
from training.build import build, trainer_of
from training.presets import find_preset

AXES = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[1.0, 0, 0], [0, 0, 1]], [[0, 0, 1.0], [0, 1, 0]]])
SETTINGS = ('data.path=synthetic:car?poses=wide&background=white&resolution=32&count=8&seed=0', 'loop.batch=4', 'metrics.names=')
STEPS = 2


def operations() -> dict[str, list[torch.Tensor]]:
    """The result of every operation, and variables that it depends on; of sizes for which kernels pay."""
    x = torch.randn(2, 32, 32, 32, requires_grad=True)
    scale, bias, strength = (torch.ones(shape, requires_grad=True) for shape in ((2, 32), (32,), ()))
    planes = torch.randn(1, 3, 8, 16, 16, requires_grad=True)
    points = torch.rand(1, 100, 3, requires_grad=True)
    decoder = [torch.randn(24, 8), torch.randn(4, 24)], [torch.randn(24), torch.randn(4)]
    rays = torch.zeros(1, 100, 3), torch.tensor([0.0, 0, 1]).expand(1, 100, 3), torch.full((1, 100, 1), -1.0), torch.ones(1, 100, 1)
    field = custom_ops.TriplaneField(planes, AXES, *decoder, 1.8)
    return {
        'bias_act': [custom_ops.bias_act(x, bias, act='lrelu', clamp=1.0), x, bias],
        'upfirdn2d': [custom_ops.upsample2d(x, custom_ops.setup_filter([1, 3, 3, 1])), x],
        'synthesis_epilogue': [custom_ops.synthesis_epilogue(x, scale, bias, torch.ones(32, 32), strength), x, scale, bias, strength],
        'sample_planes': [custom_ops.sample_planes(planes, points, AXES), planes, points],
        'decode_planes': [custom_ops.decode_planes(planes, points, AXES, *decoder), planes, points],
        'render_planes': [custom_ops.render_planes(field, *rays, 8, torch.rand(1, 100, 8), None, LightRule()).features, planes],
    }


def main() -> None:
    started = []

    def note(event: str, arguments: tuple) -> None:
        if event in ('subprocess.Popen', 'os.exec', 'os.posix_spawn', 'os.spawn', 'os.system'):
            started.append(arguments)

    sys.addaudithook(note)
    torch.set_num_threads(1)
    logging.basicConfig(format='%(levelname)s %(name)s %(message)s', level=logging.INFO)
    for op, (result, *leaves) in operations().items():
        gradients = torch.autograd.grad(result.square().sum(), leaves)
        print(op, all(x.isfinite().all().item() and x.any().item() for x in (result, *gradients)))
    trainer = trainer_of(build(configs.override(find_preset('demo'), SETTINGS)), World(), Path(os.devnull))
    for _ in range(STEPS):
        trainer.iterate()
    print('images', trainer.nimg)
    print('started', started)


if __name__ == '__main__':
    main()
