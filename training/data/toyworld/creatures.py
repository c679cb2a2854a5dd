"""Dog and head. The front is +z, up is +y."""

from __future__ import annotations

from training.data.toyworld.colour import Colour, hsv, mixed, shaded
from training.data.toyworld.numbers import Draws
from training.data.toyworld.shapes import Builder, about_x, about_z

_BLACK = (0.08, 0.07, 0.08)
_EYE_WHITE = (0.97, 0.97, 0.95)


def dog(draws: Draws, paint: Colour) -> Builder:
    """Muzzle, nose and eyes in front, the tail up behind."""
    b = Builder()
    long_, thick = draws.between('length', 0.46, 0.54), draws.between('body', 0.19, 0.235)
    leg, thin = draws.between('leg', 0.32, 0.4), draws.between('leg/thick', 0.06, 0.078)
    fur, light = paint, mixed(paint, (1.0, 0.97, 0.9), 0.6)
    body = -0.1
    b.ellipsoid((0, body, -0.05), (thick, 1.05 * thick, long_), fur)
    for side in (-1, 1):
        for end in (-1, 1):
            z = -0.05 + end * 0.62 * long_
            b.rod((side * 0.62 * thick, body - 0.3 * thick, z), (side * 0.68 * thick, body - leg - 0.5 * thick, z), thin, fur)
    skull = draws.between('head', 0.21, 0.245)
    y, z = body + draws.between('neck', 0.3, 0.38), 0.66 * long_
    b.rod((0, body + 0.02, 0.5 * long_), (0, y, z), 0.6 * skull, fur)
    b.ellipsoid((0, y, z), (skull, 0.95 * skull, skull), fur)
    muzzle = draws.between('muzzle', 0.14, 0.19)
    b.ellipsoid((0, y - 0.3 * skull, z + 0.75 * skull + 0.3 * muzzle), (0.5 * skull, 0.42 * skull, muzzle), light)
    b.ellipsoid((0, y - 0.15 * skull, z + 0.75 * skull + 1.22 * muzzle), (0.065, 0.055, 0.05), _BLACK)
    for side in (-1, 1):
        b.ellipsoid((side * 0.42 * skull, y + 0.25 * skull, z + 0.84 * skull), (0.05, 0.055, 0.04), _BLACK)
        ear = (side * 0.98 * skull, y + 0.1 * skull, z - 0.1 * skull)
        b.ellipsoid(ear, (0.06, 0.85 * skull, 0.11), shaded(fur, 0.55), about_z(0.06 * side))
    b.rod((0, body + 0.3 * thick, -0.05 - 0.9 * long_), (0, body + 0.42, -0.05 - 1.28 * long_), 0.048, fur)
    return b


def head(draws: Draws, paint: Colour) -> Builder:
    """Eyes, nose and mouth in front, hair on the top and behind."""
    b = Builder()
    wide, tall = draws.between('width', 0.34, 0.4), draws.between('height', 0.42, 0.5)
    deep = 1.06 * wide
    skin = hsv(draws.between('skin/hue', 0.05, 0.09), draws.between('skin/saturation', 0.3, 0.55), draws.between('skin/value', 0.6, 0.97))
    hair = shaded(paint, 0.85)
    middle = 0.08
    b.cylinder((0, middle - tall, -0.04), (0.17, 0.24, 0.17), skin, along='y')
    b.ellipsoid((0, -0.68, -0.04), (0.48, 0.2, 0.27), mixed(paint, (0.2, 0.2, 0.3), 0.4))
    b.ellipsoid((0, middle, 0), (wide, tall, deep), skin)
    b.ellipsoid((0, middle + 0.36 * tall, -0.035), (1.08 * wide, 0.76 * tall, 1.02 * deep), hair, about_x(-0.03))
    b.ellipsoid((0, middle - 0.1 * tall, 1.02 * deep), (0.055, 0.1, 0.08), shaded(skin, 0.92))
    gap, eye = draws.between('eyes/gap', 0.13, 0.16), draws.between('eyes/size', 0.065, 0.08)
    for side in (-1, 1):
        b.ellipsoid((side * gap, middle + 0.12 * tall, 0.89 * deep), (eye, 0.75 * eye, 0.05), _EYE_WHITE)
        b.ellipsoid((side * gap, middle + 0.12 * tall, 0.93 * deep), (0.5 * eye, 0.55 * eye, 0.045), _BLACK)
        b.box((side * gap, middle + 0.34 * tall, 0.87 * deep), (0.08, 0.018, 0.05), shaded(hair, 0.6))
        b.ellipsoid((side * wide, middle - 0.02, -0.02), (0.05, 0.1, 0.07), shaded(skin, 0.95))
    b.ellipsoid((0, middle - 0.48 * tall, 0.84 * deep), (draws.between('mouth', 0.1, 0.15), 0.035, 0.06), (0.72, 0.18, 0.2))
    return b
