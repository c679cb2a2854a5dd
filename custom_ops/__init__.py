"""Tensors in, tensors out: operations that PyTorch lacks, each defined by a readable reference and registered as `torch.ops.unposed.*`.

The names below are functions; they hide the sub-packages of the same name, whose modules are reached by full path
(`from custom_ops.upfirdn2d.reference import ...`).
"""

from custom_ops.bias_act import bias_act
from custom_ops.synthesis_epilogue import synthesis_epilogue
from custom_ops.triplane import TriplaneField, decode_planes, render_planes, sample_planes
from custom_ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    'TriplaneField',
    'bias_act',
    'decode_planes',
    'downsample2d',
    'filter2d',
    'render_planes',
    'sample_planes',
    'setup_filter',
    'synthesis_epilogue',
    'upfirdn2d',
    'upsample2d',
]
