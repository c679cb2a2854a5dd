"""The law for kernels (custom_ops.testing) lets good kernels pass and finds bad ones: results that are cut off, that drift, that are wrong."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from custom_ops import bias_act
from custom_ops.testing import check_errors, check_twin

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rounded(exact: Tensor, dtype: torch.dtype) -> Tensor:
    return exact.to(dtype)


def cut_off(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """The number of `dtype` next to `exact` on the side of zero, as of a store that only drops digits."""
    nearest = exact.to(dtype)
    integer = {2: torch.int16, 4: torch.int32}[dtype.itemsize]
    beyond = (nearest.double().abs() > exact.double().abs()).to(integer)
    return (nearest.view(integer) - beyond).view(dtype)  # sign and size: the number below is the one nearer to zero


def rounded_up(exact: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(exact > 0, -cut_off(-exact - exact.abs() * torch.finfo(dtype).eps / 2, dtype), cut_off(exact, dtype))


SIGNALS: dict[str, Tensor] = {
    'of both signs': random(4000).double(),
    'positive': F.softplus(random(4000).double()),
    'after a leaky ReLU': F.leaky_relu(random(4000).double(), 0.2),
    'few': random(300).double(),
}


@pytest.mark.parametrize('dtype', DTYPES[1:])  # a float is stored as it was computed
@pytest.mark.parametrize('signal', SIGNALS)
def test_results_that_are_cut_off_break_the_law(signal: str, dtype: torch.dtype) -> None:
    truth = SIGNALS[signal]
    nearest = rounded(truth, dtype)
    check_errors('rounded', nearest, nearest, truth)
    with pytest.raises(AssertionError, match='bias'):
        check_errors('cut off', cut_off(truth, dtype), nearest, truth)
    with pytest.raises(AssertionError, match='bias'):
        check_errors('rounded up', rounded_up(truth, dtype), nearest, truth)


@pytest.mark.parametrize('dtype', DTYPES)
def test_an_error_of_twice_the_size_is_the_limit(dtype: torch.dtype) -> None:
    truth, step = SIGNALS['of both signs'], torch.finfo(dtype).eps
    noise, other = (random(4000, seed=seed).double() * step * 4 for seed in (1, 2))
    check_errors('1.9 times', rounded(truth + 1.9 * noise, dtype), rounded(truth + other, dtype), truth)
    with pytest.raises(AssertionError, match='2.2 times'):
        check_errors('2.2 times', rounded(truth + 2.2 * noise, dtype), rounded(truth + other, dtype), truth)


def test_an_exact_reference_allows_a_rounding_and_no_unit() -> None:
    ours = SIGNALS['of both signs'].float()
    errors = torch.finfo(torch.float32).eps * ours.double() * random(4000, seed=1).sign()
    for part in (0, 1 / 5):
        check_errors('a part of a unit', ours, ours + part * errors, ours + part * errors)
    with pytest.raises(AssertionError, match='half a unit'):
        check_errors('half a unit', ours, ours + errors / 2, ours + errors / 2)


def test_what_is_not_finite_breaks_the_law() -> None:
    truth = SIGNALS['few']
    broken = truth.float()
    broken[3] = torch.nan
    with pytest.raises(AssertionError):
        check_errors('broken', broken, truth.float(), truth)


class _Store(torch.autograd.Function):
    @staticmethod
    def forward(ctx, exact: Tensor, store: Callable[[Tensor, torch.dtype], Tensor], dtype: torch.dtype) -> Tensor:
        return store(exact, dtype)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.float(), None, None


@pytest.mark.parametrize('dtype', DTYPES[1:])
def test_a_kernel_whose_results_are_cut_off_is_no_twin(dtype: torch.dtype) -> None:
    """All of it right but the last step, in which it drops the digits that 16 bits cannot hold."""

    def reference(x: Tensor, bias: Tensor) -> Tensor:
        return bias_act(x, bias, 'swish', backend='reference')

    def kernel(store: Callable[[Tensor, torch.dtype], Tensor]) -> Callable[..., Tensor]:
        return lambda x, bias: _Store.apply(reference(x.float(), bias.float()), store, dtype)

    inputs = random(3, 8, 16, 16).to(dtype), random(8, seed=1).to(dtype)
    check_twin(kernel(rounded), reference, *inputs)
    with pytest.raises(AssertionError, match='bias'):
        check_twin(kernel(cut_off), reference, *inputs)
