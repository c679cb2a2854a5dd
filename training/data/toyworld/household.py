"""Chair, mug and house. The front is +z, up is +y."""

from __future__ import annotations

from itertools import pairwise

from training.data.toyworld.colour import Colour, mixed, shaded
from training.data.toyworld.numbers import Draws
from training.data.toyworld.shapes import Builder, about_x

_OAK = (0.42, 0.27, 0.15)
_WINDOW = (0.35, 0.5, 0.72)


def chair(draws: Draws, paint: Colour) -> Builder:
    """The back stands behind the seat and leans away from it; the cushion is in front of it."""
    b = Builder()
    width, deep = draws.between('width', 0.28, 0.36), draws.between('depth', 0.26, 0.34)
    seat, thick = draws.between('seat', -0.16, -0.06), draws.between('thick', 0.03, 0.045)
    back, lean = draws.between('back', 0.28, 0.36), draws.between('lean', 0.02, 0.05)
    leg, foot = draws.between('leg', 0.03, 0.042), -0.66
    wood = shaded(_OAK, draws.between('wood', 0.85, 1.3))
    b.box((0, seat, 0), (width, thick, deep), wood)
    b.ellipsoid((0, seat + thick + 0.015, 0.03), (0.88 * width, 0.06, 0.88 * deep), paint)
    leaning = about_x(-lean)
    rise = seat + thick + back
    away = -deep + thick - 0.1 * back - 6 * lean * back
    b.box((0, rise + 0.08, away - 3 * lean * back * 0.4), (0.98 * width, 0.62 * back, 0.035), paint, leaning)
    for side in (-1, 1):
        x, z = side * (width - leg), deep - leg
        b.rod((x, seat, -z), (x, rise + 0.55 * back, away - 0.35 * back * lean * 6), leg, wood)
        for end in (-1, 1):
            b.rod((x, seat, end * z), (1.12 * x, foot, 1.12 * end * z), leg, wood)
    b.rod((-(width - leg), -0.45, deep), (width - leg, -0.45, deep), 0.02, wood)
    return b


def mug(draws: Draws, paint: Colour) -> Builder:
    """The handle in front, a logo on the right side only (seen from the front of the mug: towards +x). No mirror symmetry."""
    b = Builder()
    wide, tall = draws.between('width', 0.34, 0.43), draws.between('height', 0.38, 0.48)
    drink = ((0.3, 0.17, 0.09), (0.6, 0.35, 0.12))[draws.integer('drink', 2)]
    light = mixed(paint, (1.0, 1.0, 1.0), 0.55)
    b.cylinder((0, 0, 0), (wide, tall, wide), paint, along='y')
    b.cylinder((0, tall, 0), (1.04 * wide, 0.035, 1.04 * wide), light, along='y')
    b.cylinder((0, tall + 0.034, 0), (0.88 * wide, 0.004, 0.88 * wide), drink, along='y')
    b.cylinder((0, -tall, 0), (0.86 * wide, 0.04, 0.86 * wide), light, along='y')
    reach, thick = draws.between('reach', 0.24, 0.3), draws.between('thick', 0.045, 0.06)
    grip = draws.between('grip', 0.5, 0.66) * tall
    handle = mixed(shaded(paint, 0.7), (1.0, 1.0, 1.0), 0.3)
    knots = [(0.96 * wide, grip), (wide + 0.75 * reach, 0.86 * grip), (wide + reach, 0.25 * grip), (wide + reach, -0.25 * grip),
             (wide + 0.75 * reach, -0.86 * grip), (0.96 * wide, -grip)]
    for (z0, y0), (z1, y1) in pairwise(knots):
        b.rod((0, y0, z0), (0, y1, z1), thick, handle)
    size = draws.between('logo', 0.14, 0.19)
    contrast = mixed((1.0, 1.0, 1.0), (1 - paint[0], 1 - paint[1], 1 - paint[2]), 0.25)
    b.ellipsoid((0.93 * wide, -0.02, 0), (0.11 * wide, size, size), contrast)
    b.ellipsoid((0.99 * wide, -0.02, 0), (0.11 * wide, 0.5 * size, 0.5 * size), shaded(paint, 0.5))
    return b


def house(draws: Draws, paint: Colour) -> Builder:
    """Door and gable in front, a chimney on the left only, a window on the right wall only. No mirror symmetry."""
    b = Builder()
    width, deep, tall = draws.between('width', 0.36, 0.44), draws.between('depth', 0.38, 0.5), draws.between('wall', 0.22, 0.28)
    roof = draws.between('roof', 0.27, 0.36)
    base = -0.22
    top = base + tall
    wall = mixed((0.94, 0.9, 0.8), paint, 0.08)
    b.box((0, base, 0), (width, tall, deep), wall)
    b.diamond((0, top, 0), (0.985 * width, 0.93 * roof, 1.0 * deep), wall, along='z')
    # The slopes of the roof: two slabs that meet at the ridge.
    steep = roof / width
    for side in (-1, 1):
        slope = ((1.0, -steep * side, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        b.box((side * 0.58 * width, top + roof - 0.58 * roof + 0.02, 0), (0.58 * width, 0.035, 1.1 * deep), paint, slope)
    b.box((-0.55 * width, top + 0.62 * roof, -0.35 * deep), (0.065, 0.3, 0.065), (0.62, 0.27, 0.22))
    at = draws.between('door', -0.35, -0.1) * width
    b.box((at, base - 0.42 * tall, deep), (0.1, 0.58 * tall, 0.02), _OAK)
    b.ellipsoid((at + 0.06, base - 0.42 * tall, deep + 0.025), (0.018, 0.018, 0.018), (0.95, 0.8, 0.3))
    b.box((at + 0.52 * width + 0.06, base + 0.1 * tall, deep), (0.1, 0.09, 0.015), _WINDOW)
    b.ellipsoid((0, top + 0.38 * roof, deep), (0.075, 0.075, 0.015), _WINDOW)
    b.box((width, base + 0.1 * tall, 0), (0.015, 0.1, 0.2), _WINDOW)
    b.box((at, base - tall + 0.02, deep + 0.06), (0.15, 0.025, 0.07), (0.6, 0.6, 0.6))
    b.box((0, base - tall - 0.02, 0), (1.12 * width, 0.025, 1.12 * deep), (0.45, 0.6, 0.3))
    return b
