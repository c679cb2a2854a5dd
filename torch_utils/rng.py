"""Randomness is addressed, not consumed: every number is a function of (seed, step, phase, name, row, position).

Nothing about randomness is saved, a resumed run is the same run, adding a draw does not disturb the others, and splitting a batch over
ranks or micro-batches changes nothing, because a row is named by its index in the global batch. PyTorch's global generators are not used.

The bits come from a counter-based hash: two rounds of the SplitMix64 finaliser (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", 2014) with a 64-bit key before each round. Only integer operations that wrap modulo 2^64 and float operations that IEEE 754
rounds correctly (add, multiply, divide, square root) are used, each one as an operation of its own, so that every device gets the same bits
and a value does not depend on which values are computed beside it. (The logarithms and cosines of the libraries do: a vector loop and its
tail may differ.)
"""

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST_MULTIPLIER = 0xBF58476D1CE4E5B9
_SECOND_MULTIPLIER = 0x94D049BB133111EB
_BITS_OF_ONE = 0x3F800000  # as float32
_BITS_OF_SQRT_HALF = 0x3F3504F3
_SHARED_ROW = -1  # the row of draws that belong to the whole batch; rows of samples start at 0

Device = torch.device | str | None


@dataclass(frozen=True, slots=True)
class Stream:
    """The draws of one step. `rows` are indexes in the global batch of this step; None stands for one draw without a row dimension.

    Streams are values: to draw, name the draw. The same name gives the same numbers however often it is asked for, so a name is used once.
    """

    seed: int
    step: int
    phase: str = ''
    rows: Sequence[int] | None = None

    def __post_init__(self) -> None:
        assert self.rows is None or (isinstance(self.rows, tuple | range) and all(row >= 0 for row in self.rows)), self.rows

    def __len__(self) -> int:
        """Return the number of rows (0 for a shared stream)."""
        return 0 if self.rows is None else len(self.rows)

    def shared(self) -> 'Stream':
        """Return the stream whose draws have no row dimension and are the same on every rank."""
        return replace(self, rows=None)

    def within(self, name: str) -> 'Stream':
        """Return the stream of the same rows at an address below this one's: draws of the two never coincide."""
        return replace(self, phase=f'{self.phase}/{name}')

    def for_rows(self, start: int, stop: int) -> 'Stream':
        """Return the stream of `self.rows[start:stop]`, the rows of a micro-batch."""
        assert self.rows is not None, 'a shared stream has no rows'
        return replace(self, rows=self.rows[start:stop])

    def at(self, step: int) -> 'Stream':
        """Return the stream of the same rows at another step."""
        return replace(self, step=step)

    def uniform(self, name: str, *shape: int, device: Device = None) -> Tensor:
        """Draw float32 [rows, *shape] uniformly from the multiples of 2^-24 in [0, 1)."""
        return self._shaped(_unit(self._words(name, shape, device)), shape)

    def normal(self, name: str, *shape: int, device: Device = None) -> Tensor:
        """Draw float32 [rows, *shape] from the normal distribution of mean 0 and variance 1; |value| < 5.77 (Box and Muller, 1958)."""
        pairs = _unit(self._words(name, shape, device)).unflatten(-1, (-1, 2))
        radius = _log(1.0 - pairs[..., 0]).mul_(-2.0).sqrt_()
        cosine, sine = _cosine_sine_of_turns(pairs[..., 1])
        values = torch.stack([radius * cosine, radius * sine], dim=-1).flatten(-2)
        return self._shaped(values, shape)

    def integers(self, name: str, high: int, *shape: int, device: Device = None) -> Tensor:
        """Draw int64 [rows, *shape] uniformly from 0 .. high - 1 (high <= 2^31; no value is favoured by more than high / 2^32)."""
        assert 0 < high <= 2**31, high
        words = self._words(name, shape, device).to(torch.int64).bitwise_and_(0xFFFFFFFF)
        return self._shaped(words.mul_(high).bitwise_right_shift_(32), shape)

    def bernoulli(self, name: str, p: float | Tensor, *shape: int, device: Device = None) -> Tensor:
        """Draw bool [rows, *shape], true with probability p (a number, or a tensor that broadcasts against the result)."""
        return self.uniform(name, *shape, device=device) < p

    def _words(self, name: str, shape: tuple[int, ...], device: Device) -> Tensor:
        """Return int32 [rows or 1, an even number >= prod(shape)] of random bits."""
        first_key, second_key = _keys(self.seed, self.step, self.phase, name)
        rows = _row_tensor(self.rows, device)
        row_keys = _mix(rows.mul_(_signed(_GOLDEN)).add_(first_key))
        count = (math.prod(shape) + 1) // 2
        counters = torch.arange(1, count + 1, dtype=torch.int64, device=device).mul_(_signed(_GOLDEN))
        bits = torch.empty(len(rows), count, dtype=torch.int64, device=device)
        torch.add(row_keys[:, None], counters, out=bits)
        return _mix(_mix(bits).bitwise_xor_(second_key)).view(torch.int32)

    def _shaped(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Cut [rows or 1, count] to the shape that was asked for."""
        lead = () if self.rows is None else (len(self.rows),)
        return values[:, : math.prod(shape)].reshape((*lead, *shape))


@functools.lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """Return the order in which epoch number `epoch` visits n items: int64 [n], read-only, the same on every machine and NumPy version."""
    first_key, second_key = _keys(seed, epoch, 'permutation', str(n))
    counters = torch.arange(1, n + 1, dtype=torch.int64).mul_(_signed(_GOLDEN)).add_(first_key)
    hashes = _mix(_mix(counters).bitwise_xor_(second_key)).numpy()
    order = np.argsort(hashes, kind='stable')
    order.flags.writeable = False
    return order


def _keys(seed: int, step: int, phase: str, name: str) -> tuple[int, int]:
    """Hash an address to two signed 64-bit keys. repr() quotes the strings, so no two addresses are written the same way."""
    digest = hashlib.blake2b(repr((int(seed), int(step), phase, name)).encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], 'little', signed=True), int.from_bytes(digest[8:], 'little', signed=True)


def _row_tensor(rows: Sequence[int] | None, device: Device) -> Tensor:
    """Return the rows as a new int64 tensor. Consecutive rows, the usual case, are counted on the device instead of copied to it."""
    if rows is None:
        return torch.full((1,), _SHARED_ROW, dtype=torch.int64, device=device)
    if len(rows) > 0 and all(row == rows[0] + offset for offset, row in enumerate(rows)):
        return torch.arange(rows[0], rows[0] + len(rows), dtype=torch.int64, device=device)
    return torch.tensor(rows, dtype=torch.int64, device=device)


def _mix(words: Tensor) -> Tensor:
    """Apply the SplitMix64 finaliser to int64 words in place. Int64 shifts keep the sign, so the copies of the sign bit are masked away."""
    shifted = torch.empty_like(words)
    for shift, multiplier in ((30, _FIRST_MULTIPLIER), (27, _SECOND_MULTIPLIER), (31, None)):
        torch.bitwise_right_shift(words, shift, out=shifted).bitwise_and_((1 << (64 - shift)) - 1)
        words.bitwise_xor_(shifted)
        if multiplier is not None:
            words.mul_(_signed(multiplier))
    return words


def _signed(word: int) -> int:
    """Return the int64 that has the bits of an unsigned 64-bit word."""
    return word - (1 << 64) if word >= 1 << 63 else word


def _unit(words: Tensor) -> Tensor:
    """Turn int32 bits into float32 in [0, 1): the upper 24 bits, exactly."""
    return words.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _log(x: Tensor) -> Tensor:
    """Return ln x of float32 in (0, 1], to about 1e-7 relative, from correctly rounded operations only.

    With x = m 2^e and sqrt(1/2) <= m < sqrt(2):  ln x = e ln 2 + 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172.
    """
    # In the ordering of float32 bits, adding the distance from sqrt(1/2) to 1 moves the exponent's steps from 2^e to sqrt(1/2) 2^e.
    bits = x.view(torch.int32)
    exponent = ((bits + (_BITS_OF_ONE - _BITS_OF_SQRT_HALF)) >> 23) - 127
    mantissa = (bits - (exponent << 23)).view(torch.float32)
    exponent = exponent.to(torch.float32)
    s = (mantissa - 1.0).div_(mantissa + 1.0)
    s2 = s * s
    series = _polynomial(s2, (2.0, 2.0 / 3.0, 2.0 / 5.0, 2.0 / 7.0, 2.0 / 9.0)).mul_(s)
    return series.add_(exponent.mul_(math.log(2.0)))


def _cosine_sine_of_turns(turns: Tensor) -> tuple[Tensor, Tensor]:
    """Return cos(2 pi t) and sin(2 pi t) of float32 t in [0, 1), to about 1e-7, from correctly rounded operations only.

    A quarter q and an angle a of at most an eighth of a turn, where the Taylor series are short:  2 pi t = q pi / 2 + a.
    """
    quarter = (turns * 4.0).add_(0.5).floor_()
    angle = (turns - quarter * 0.25).mul_(2.0 * math.pi)
    a2 = angle * angle
    cosine = _polynomial(a2, tuple((-1.0) ** k / math.factorial(2 * k) for k in range(6)))
    sine = _polynomial(a2, tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(5))).mul_(angle)
    odd = (quarter == 1.0) | (quarter == 3.0)
    cosine, sine = torch.where(odd, sine, cosine), torch.where(odd, cosine, sine)
    cosine_sign = 1.0 - 2.0 * ((quarter == 1.0) | (quarter == 2.0)).to(torch.float32)
    sine_sign = 1.0 - 2.0 * ((quarter == 2.0) | (quarter == 3.0)).to(torch.float32)
    return cosine * cosine_sign, sine * sine_sign


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Return sum_k coefficients[k] x^k by Horner's rule."""
    result = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result.mul_(x).add_(coefficient)
    return result
