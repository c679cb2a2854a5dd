"""Colours of toyworld: hue, saturation and value to RGB, and the colour modes of a class."""

from __future__ import annotations

import math

from training.data.toyworld.numbers import Draws

Colour = tuple[float, float, float]
MODE_WEIGHTS = (0.5, 0.3, 0.2)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """RGB in [0, 1]; hue in turns (red 0, green 1/3, blue 2/3), wrapped."""
    sector = 6 * (hue - math.floor(hue))
    out = []
    for offset in (5.0, 3.0, 1.0):
        k = sector + offset
        k = k - 6 * math.floor(k / 6)
        out.append(value - value * saturation * max(0.0, min(k, 4 - k, 1.0)))
    return (out[0], out[1], out[2])


def paint(draws: Draws, class_hue: float, mode: int) -> Colour:
    """The main colour of an object: the hues of the three modes of a class lie a third of the circle apart."""
    hue = class_hue + mode / 3 + draws.between('paint/hue', -0.03, 0.03)
    return hsv(hue, draws.between('paint/saturation', 0.6, 0.8), draws.between('paint/value', 0.72, 0.9))


def mixed(a: Colour, b: Colour, share_of_b: float) -> Colour:
    """(1 - s) a + s b."""
    return tuple(x * (1 - share_of_b) + y * share_of_b for x, y in zip(a, b, strict=True))


def shaded(a: Colour, factor: float) -> Colour:
    """The colour times a factor in [0, 1]."""
    return (a[0] * factor, a[1] * factor, a[2] * factor)
