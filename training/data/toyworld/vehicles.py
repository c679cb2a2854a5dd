"""Car, plane and boat. The front is +z, up is +y; y of about -.3 is where they would stand."""

from __future__ import annotations

from training.data.toyworld.colour import Colour, mixed, shaded
from training.data.toyworld.numbers import Draws
from training.data.toyworld.shapes import Builder

_RUBBER = (0.12, 0.12, 0.13)
_GLASS = (0.2, 0.28, 0.38)
_LAMP = (1.0, 0.94, 0.55)
_TAIL_LAMP = (0.88, 0.08, 0.08)
_WOOD = (0.5, 0.31, 0.16)
_SAILCLOTH = (0.95, 0.9, 0.78)


def car(draws: Draws, paint: Colour) -> Builder:
    """Head lamps and a dark grille in front, red tail lamps behind, the cabin towards the rear."""
    b = Builder()
    length, width = draws.between('length', 0.58, 0.72), draws.between('width', 0.26, 0.34)
    tall, cabin = draws.between('body', 0.12, 0.16), draws.between('cabin', 0.11, 0.15)
    wheel = draws.between('wheel', 0.125, 0.16)
    middle = -0.3 + wheel + 0.6 * tall
    top = middle + tall
    cabin_at, cabin_long = -draws.between('cabin/at', 0.10, 0.28) * length, draws.between('cabin/length', 0.46, 0.58) * length
    b.box((0, middle, 0), (width, tall, length), paint)
    # The axes of a box may be sheared: the windscreen leans back.
    leaning = ((1.0, 0.0, 0.0), (0.0, 1.0, -0.45), (0.0, 0.0, 1.0))
    b.box((0, top + cabin, cabin_at), (0.86 * width, cabin, cabin_long), _GLASS, leaning)
    b.box((0, top + 2 * cabin, cabin_at - 0.45 * cabin), (0.88 * width, 0.025, 0.96 * cabin_long), paint)
    for side in (-1, 1):
        for end in (-1, 1):
            b.cylinder((side * width, -0.3 + wheel, end * 0.62 * length), (0.055, wheel, wheel), _RUBBER, along='x')
        b.ellipsoid((side * 0.68 * width, middle + 0.35 * tall, length), (0.07, 0.06, 0.035), _LAMP)
        b.box((side * 0.7 * width, middle + 0.35 * tall, -length), (0.07, 0.05, 0.02), _TAIL_LAMP)
    b.box((0, middle - 0.45 * tall, length), (0.5 * width, 0.3 * tall, 0.02), _RUBBER)
    b.box((0, middle - 0.4 * tall, -length), (0.3 * width, 0.25 * tall, 0.015), (0.93, 0.93, 0.88))
    return b


def plane(draws: Draws, paint: Colour) -> Builder:
    """Swept wings, a dark cockpit over the nose, the fin and tailplane behind."""
    b = Builder()
    length, round_ = draws.between('length', 0.66, 0.78), draws.between('fuselage', 0.115, 0.15)
    span, chord = draws.between('span', 0.58, 0.74), draws.between('chord', 0.11, 0.15)
    sweep, dihedral = draws.between('sweep', 0.2, 0.55), draws.between('dihedral', 0.0, 0.12)
    wing = shaded(mixed(paint, (0.9, 0.9, 0.95), 0.25), 0.9)
    b.ellipsoid((0, 0, 0), (round_, round_, length), paint)
    b.ellipsoid((0, 0.55 * round_, 0.58 * length), (0.62 * round_, 0.6 * round_, 0.2 * length), _GLASS)
    b.ellipsoid((0, -0.1 * round_, 0.94 * length), (0.5 * round_, 0.5 * round_, 0.06), (0.92, 0.9, 0.85))
    fin = draws.between('fin', 0.15, 0.2)
    b.box((0, 0.3 * round_ + fin, -0.86 * length), (0.02, fin, 0.1), _TAIL_LAMP, ((1.0, 0.0, 0.0), (0.0, 1.0, -0.5), (0.0, 0.0, 1.0)))
    for side in (-1, 1):
        swept = ((1.0, dihedral * side, -sweep * side), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        b.box((side * span / 2, -0.2 * round_ + dihedral * span / 2, 0.12 - sweep * span / 2), (span / 2, 0.022, chord), wing, swept)
        b.box((side * 0.14, 0.3 * round_, -0.88 * length - 0.07), (0.14, 0.018, 0.07), wing, swept)
        x, y, z = side * 0.45 * span, -0.2 * round_ - 0.07, 0.2 - sweep * 0.45 * span
        b.cylinder((x, y, z), (0.055, 0.055, 0.13), (0.85, 0.85, 0.88), along='z')
        b.ellipsoid((x, y, z + 0.13), (0.045, 0.045, 0.02), _RUBBER)
    return b


def boat(draws: Draws, paint: Colour) -> Builder:
    """A pointed bow in front, a square sail bellied forwards, the cabin and a red flag at the stern."""
    b = Builder()
    length, width, deep = draws.between('length', 0.5, 0.6), draws.between('width', 0.19, 0.25), draws.between('hull', 0.10, 0.13)
    deck = -0.32 + deep
    stern, bow = -length, 0.35 * length
    hull = shaded(paint, 0.8)
    b.box((0, -0.32, (stern + bow) / 2), (width, deep, (bow - stern) / 2), hull)
    b.diamond((0, -0.32, bow), (width, deep, 0.85 * length), hull, along='y')
    b.box((0, deck, (stern + bow) / 2), (1.06 * width, 0.022, (bow - stern) / 2 + 0.02), _WOOD)
    b.diamond((0, deck, bow), (1.06 * width, 0.022, 0.9 * length), _WOOD, along='y')
    cabin = draws.between('cabin', 0.08, 0.11)
    b.box((0, deck + cabin, stern + 0.24), (0.68 * width, cabin, 0.15), (0.93, 0.93, 0.9))
    b.box((0, deck + 1.2 * cabin, stern + 0.24), (0.7 * width, 0.35 * cabin, 0.11), _GLASS)
    b.box((0, deck + 2 * cabin, stern + 0.24), (0.78 * width, 0.018, 0.18), paint)
    mast_at, mast = draws.between('mast/at', 0.0, 0.1), draws.between('mast', 0.86, 0.98)
    b.rod((0, deck, mast_at), (0, deck + mast, mast_at), 0.022, _WOOD)
    wide, tall = draws.between('sail/width', 0.3, 0.38), draws.between('sail/height', 0.26, 0.31)
    middle = deck + mast - tall - 0.1
    b.box((0, middle, mast_at + 0.03), (wide, tall, 0.015), _SAILCLOTH)
    b.ellipsoid((0, middle, mast_at + 0.04), (0.96 * wide, 0.96 * tall, 0.13), _SAILCLOTH)
    b.ellipsoid((0, middle, mast_at + 0.045), (0.97 * wide, 0.34 * tall, 0.145), paint)
    b.box((0, deck + 0.14, stern), (0.012, 0.14, 0.012), _WOOD)
    b.box((0, deck + 0.3, stern - 0.075), (0.014, 0.055, 0.09), _TAIL_LAMP)
    return b
