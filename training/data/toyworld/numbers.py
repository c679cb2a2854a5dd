"""Random numbers and functions whose bits are the same on every machine.

Only +, -, *, / and the square root are used, which IEEE 754 rounds correctly; sine, cosine and logarithm of the C library are not
(they differ in the last bit between libraries). A draw is addressed by name: a new draw does not disturb the others.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

_TAU = 6.283185307179586
_LN2 = 0.6931471805599453


def cos_sin_turns(turns: float) -> tuple[float, float]:
    """Cosine and sine of an angle in turns (1 turn = 360 degrees), to about 1e-16."""
    turns = turns - math.floor(turns)
    quarter = math.floor(4 * turns + 0.5)
    angle = (turns - quarter / 4) * _TAU  # in [-pi/4, pi/4]; the subtraction is exact
    square = angle * angle
    sine, cosine = 0.0, 0.0
    for k in (17, 15, 13, 11, 9, 7, 5, 3):  # Taylor series by Horner's rule
        sine = (1 + sine) * (-square / (k * (k - 1)))
        cosine = (1 + cosine) * (-square / ((k - 1) * (k - 2)))
    sine, cosine = angle * (1 + sine), 1 + cosine
    return ((cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine))[quarter % 4]


def logarithm(x: float) -> float:
    """Natural logarithm of x > 0, to about 1e-15: 2 artanh((m-1)/(m+1)) + e ln 2 for x = m 2^e."""
    mantissa, exponent = math.frexp(x)
    if mantissa < 0.7071067811865476:
        mantissa, exponent = mantissa * 2, exponent - 1
    s = (mantissa - 1) / (mantissa + 1)
    square, total = s * s, 0.0
    for k in range(23, 0, -2):
        total = total * square + 1 / k
    return 2 * s * total + exponent * _LN2


class Draws:
    """The random numbers of one scene: functions of (seed, index, name)."""

    __slots__ = ('_prefix',)

    def __init__(self, seed: int, index: int) -> None:
        self._prefix = f'toyworld/{seed}/{index}/'

    def unit(self, name: str) -> float:
        """Uniform in [0, 1), a multiple of 2^-53."""
        digest = hashlib.blake2b((self._prefix + name).encode(), digest_size=8).digest()
        return (int.from_bytes(digest, 'little') >> 11) * 2.0**-53

    def units(self, name: str, count: int) -> np.ndarray:
        """`count` numbers at one address, uniform in [0, 1), multiples of 2^-53: float64 [count]. Much faster than one by one."""
        digest = hashlib.shake_128((self._prefix + name).encode()).digest(8 * count)
        return (np.frombuffer(digest, dtype='<u8') >> 11).astype(np.float64) * 2.0**-53

    def between(self, name: str, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit(name)

    def normal(self, name: str) -> float:
        """Standard normal (Box and Muller, 1958)."""
        radius = math.sqrt(-2 * logarithm(1 - self.unit(name + '/radius')))
        return radius * cos_sin_turns(self.unit(name + '/angle'))[0]

    def choice(self, name: str, weights: tuple[float, ...]) -> int:
        """Index k with probability weights[k] (they sum to 1)."""
        u, total = self.unit(name), 0.0
        for k, weight in enumerate(weights[:-1]):
            total += weight
            if u < total:
                return k
        return len(weights) - 1

    def integer(self, name: str, high: int) -> int:
        """Uniform in 0 .. high-1."""
        return int(self.unit(name) * high)
