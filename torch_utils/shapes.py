"""Tensors say their shape, and are taken at their word only after a look."""

from collections.abc import Sequence

from torch import Tensor

from dnnlib.errors import UsageError


def check_shape(tensor: Tensor, shape: Sequence[int | str | None], name: str) -> None:
    """Raise UsageError unless `tensor` has the shape: a number is that size, None any size, and equal letters are equal sizes.

    check_shape(image, ('N', 3, 'S', 'S'), 'image') asks for square RGB images.
    """
    sizes: dict[str, int] = {}
    fits = tensor.ndim == len(shape)
    for size, wanted in zip(tensor.shape, shape, strict=False):
        if isinstance(wanted, str):
            fits = fits and sizes.setdefault(wanted, size) == size
        elif wanted is not None:
            fits = fits and size == wanted
    if not fits:
        asked = ', '.join('any' if wanted is None else str(wanted) for wanted in shape)
        raise UsageError(f'{name} must have the shape [{asked}], but has {list(tensor.shape)}.')
