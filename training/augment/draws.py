"""All the numbers that one call of the pipe needs: two draws from the stream, one column per use."""

from functools import cached_property

from torch import Tensor

from torch_utils.rng import Stream

# A column is an address: append to these lists, never reorder them.
_UNIFORM = (
    'xflip/happens', 'xflip', 'rotate90/happens', 'rotate90', 'xint/happens', 'xint/x', 'xint/y',
    'scale/happens', 'rotate_before/happens', 'rotate_before', 'aniso/happens', 'rotate_after/happens', 'rotate_after', 'xfrac/happens',
    'brightness/happens', 'contrast/happens', 'lumaflip/happens', 'lumaflip', 'hue/happens', 'hue', 'saturation/happens',
    'imgfilter0/happens', 'imgfilter1/happens', 'imgfilter2/happens', 'imgfilter3/happens',
    'noise/happens', 'cutout/happens', 'cutout/x', 'cutout/y',
)  # fmt: skip
_NORMAL = (
    'scale', 'aniso', 'xfrac/x', 'xfrac/y', 'brightness', 'contrast', 'saturation', 'imgfilter0', 'imgfilter1', 'imgfilter2',
    'imgfilter3', 'noise',
)  # fmt: skip
_UNIFORM_COLUMN = {name: column for column, name in enumerate(_UNIFORM)}
_NORMAL_COLUMN = {name: column for column, name in enumerate(_NORMAL)}


class Draws:
    """Numbers per row of a stream, float64 [N] on the CPU.

    They stay on the CPU so that Python may decide what to do (which rows to warp, how far to pad) without waiting for an accelerator, and
    because the streams give the same bits on every device there is nothing to lose by it.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    @cached_property
    def _uniforms(self) -> Tensor:
        return self.stream.uniform('augment/uniform', len(_UNIFORM)).double()

    @cached_property
    def _normals(self) -> Tensor:
        return self.stream.normal('augment/normal', len(_NORMAL)).double()

    def happens(self, name: str, probability: float) -> Tensor:
        """bool [N]: true with `probability`."""
        return self._uniforms[:, _UNIFORM_COLUMN[f'{name}/happens']] < probability

    def uniform(self, name: str) -> Tensor:
        """[N] in [0, 1)."""
        return self._uniforms[:, _UNIFORM_COLUMN[name]]

    def normal(self, name: str) -> Tensor:
        """[N] of mean 0 and variance 1."""
        return self._normals[:, _NORMAL_COLUMN[name]]
