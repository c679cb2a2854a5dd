"""The eight classes of toyworld, in the order of their class numbers, and the scene that a class builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from training.data.toyworld.colour import Colour
from training.data.toyworld.creatures import dog, head
from training.data.toyworld.household import chair, house, mug
from training.data.toyworld.numbers import Draws
from training.data.toyworld.shapes import Builder
from training.data.toyworld.vehicles import boat, car, plane


@dataclass(frozen=True, slots=True)
class Kind:
    """`build` makes the parts from the draws and the main colour; `hue` (turns) is the hue of colour mode 0."""

    build: Callable[[Draws, Colour], Builder]
    hue: float


CATALOGUE: dict[str, Kind] = {
    'car': Kind(car, 0.0),
    'chair': Kind(chair, 0.13),
    'mug': Kind(mug, 0.26),
    'dog': Kind(dog, 0.07),
    'plane': Kind(plane, 0.2),
    'head': Kind(head, 0.05),
    'house': Kind(house, 0.02),
    'boat': Kind(boat, 0.29),
}
