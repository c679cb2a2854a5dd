"""Where cameras stand, as a picture: how often each yaw occurs, and yaw against pitch. Drawn with Pillow; the legend is part of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from training.cameras.camera import Camera
from training.cameras.orbit import angles_of

WIDTH, HEIGHT = 1120, 480
BIN_DEG = 10
# The first law is filled, the second a line on top of it: both stay visible where they agree. The two colours differ for every kind of eye.
COLOURS = ((60, 120, 190), (220, 110, 20))
INK, FAINT, PAPER = (40, 40, 40), (215, 215, 215), (255, 255, 255)
SCALE = 2  # drawn so much larger and then reduced: Pillow's lines have hard edges
Box = tuple[float, float, float, float]  # left, top, right, bottom of the axes, px


@dataclass(frozen=True, slots=True)
class Poses:
    """Directions of N cameras under one name: yaw in (-180, 180], pitch in [-90, 90], degrees, each float64 [N]."""

    name: str
    yaw_deg: np.ndarray
    pitch_deg: np.ndarray

    @staticmethod
    def of(name: str, camera: Camera, target: Sequence[float] = (0.0, 0.0, 0.0)) -> 'Poses':
        """Of where cameras stand as seen from `target`. The seam is at the back, which belongs to +180 degrees."""
        yaw, pitch, _ = angles_of(camera.detach().to('cpu'), target)
        return Poses(name, np.degrees(yaw.double().numpy()), np.degrees(pitch.double().numpy()))

    def __str__(self) -> str:
        # Circular standard deviation: a resultant of length 0 means all directions alike.
        resultant = max(abs(np.exp(1j * np.radians(self.yaw_deg)).mean()), 1e-6)
        spread = math.degrees(math.sqrt(2 * math.log(1 / min(resultant, 1.0))))
        return (
            f'{self.name}: {len(self.yaw_deg):,} cameras, spread of yaw {spread:.0f}°, pitch {np.percentile(self.pitch_deg, 5):.0f}° to '
            f'{np.percentile(self.pitch_deg, 95):.0f}° (90 %)'
        )


def pose_picture(title: str, laws: Sequence[Poses]) -> np.ndarray:
    """Picture uint8 [480, 1120, 3] of one or two laws: shares of yaw on the left, one point per camera on the right, the legend on top."""
    assert 1 <= len(laws) <= len(COLOURS) and all(len(law.yaw_deg) for law in laws), [len(law.yaw_deg) for law in laws]
    image = Image.new('RGB', (WIDTH * SCALE, HEIGHT * SCALE), PAPER)
    pen = _Pen(ImageDraw.Draw(image))
    pen.text(24, 24, title, size=17)
    for i, law in enumerate(laws):
        y = 52 + 22 * i
        pen.rectangle((24, y - 6, 48, y + 6), COLOURS[i], filled=i == 0)
        pen.text(58, y, str(law), size=14)
    _draw_shares(pen, (72, 118, 530, HEIGHT - 52), laws)
    _draw_points(pen, (630, 118, WIDTH - 24, HEIGHT - 52), laws)
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


class _Pen:
    """Draws in px of the finished picture."""

    def __init__(self, draw: ImageDraw.ImageDraw) -> None:
        self._draw = draw

    def text(self, x: float, y: float, words: str, size: int = 13, anchor: str = 'lm', colour: tuple[int, int, int] = INK) -> None:
        self._draw.text((x * SCALE, y * SCALE), words, fill=colour, font=ImageFont.load_default(size * SCALE), anchor=anchor)

    def line(self, points: Sequence[tuple[float, float]], colour: tuple[int, int, int], width: float = 1.0) -> None:
        self._draw.line([(x * SCALE, y * SCALE) for x, y in points], fill=colour, width=round(width * SCALE))

    def rectangle(self, box: Box, colour: tuple[int, int, int], filled: bool) -> None:
        corners = [value * SCALE for value in box]
        self._draw.rectangle(corners, fill=colour if filled else None, outline=colour, width=2 * SCALE)

    def dot(self, x: float, y: float, colour: tuple[int, int, int], filled: bool) -> None:
        radius = (1.6 if filled else 2.2) * SCALE
        box = [x * SCALE - radius, y * SCALE - radius, x * SCALE + radius, y * SCALE + radius]
        self._draw.ellipse(box, fill=colour if filled else None, outline=colour, width=SCALE)


@dataclass(frozen=True, slots=True)
class _Axes:
    """The map from values to px. y grows upwards."""

    box: Box
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.box
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return left + (x - x0) / (x1 - x0) * (right - left), bottom - (y - y0) / (y1 - y0) * (bottom - top)

    def draw(self, pen: _Pen, x_ticks: Sequence[float], y_ticks: Sequence[float], unit: str, x_name: str, y_name: str) -> None:
        left, top, right, bottom = self.box
        for tick in x_ticks:
            x, _ = self.at(tick, self.y_range[0])
            pen.line([(x, top), (x, bottom)], FAINT)
            pen.text(x, bottom + 14, f'{tick:+.0f}°' if tick else '0°', anchor='mm')
        for tick in y_ticks:
            _, y = self.at(self.x_range[0], tick)
            pen.line([(left, y), (right, y)], FAINT)
            pen.text(left - 8, y, f'{tick:g}{unit}', anchor='rm')
        pen.line([(left, top), (left, bottom), (right, bottom)], INK)
        pen.text((left + right) / 2, bottom + 36, x_name, anchor='mm')
        pen.text(left - 8, top - 14, y_name)


_YAW_TICKS = range(-180, 181, 60)
_YAW_NAME = 'yaw: 0° the front, positive to the viewer\'s right'


def _draw_shares(pen: _Pen, box: Box, laws: Sequence[Poses]) -> None:
    edges = np.arange(-180, 181, BIN_DEG)
    shares = [np.histogram(law.yaw_deg, edges)[0] / len(law.yaw_deg) * 100 for law in laws]
    step = _round_step(max(share.max() for share in shares) / 4)
    top = step * math.ceil(max(share.max() for share in shares) / step)
    axes = _Axes(box, (-180, 180), (0, top))
    axes.draw(pen, _YAW_TICKS, np.arange(0, top + step / 2, step), ' %', _YAW_NAME, f'share of cameras per {BIN_DEG}° of yaw')
    for i, share in enumerate(shares):
        if i == 0:
            for start, value in zip(edges, share, strict=False):
                (x0, y0), (x1, y1) = axes.at(start, value), axes.at(start + BIN_DEG, 0)
                if value:
                    pen.rectangle((x0 + 1, y0, x1 - 1, y1), COLOURS[0], filled=True)
        else:
            corners = [axes.at(x, value) for start, value in zip(edges, share, strict=False) for x in (start, start + BIN_DEG)]
            pen.line([axes.at(-180, 0), *corners, axes.at(180, 0)], COLOURS[i], width=2)


def _draw_points(pen: _Pen, box: Box, laws: Sequence[Poses]) -> None:
    pitches = np.concatenate([law.pitch_deg for law in laws])
    step = 10 if np.ptp(pitches) <= 60 else 30
    low, high = max(-90, step * math.floor(pitches.min() / step)), min(90, step * math.ceil((pitches.max() + 1e-3) / step))
    if high - low < 2 * step:  # a single pitch would fill the height with nothing
        low, high = low - step, high + step
    axes = _Axes(box, (-180, 180), (low, high))
    axes.draw(pen, _YAW_TICKS, np.arange(low, high + 1, step), '°', _YAW_NAME, 'pitch, degrees above the horizon')
    for i, law in reversed(list(enumerate(laws))):
        for yaw, pitch in zip(law.yaw_deg, law.pitch_deg, strict=True):
            pen.dot(*axes.at(yaw, pitch), COLOURS[i], filled=i == 0)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 ... that is not below `rough`."""
    power = 10.0 ** math.floor(math.log10(max(rough, 1e-9)))
    return max(1.0, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9)))
