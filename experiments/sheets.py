"""Pictures to look at: the same eight scenes of every arm, from their own side, from five others, and their depth; real scenes above."""

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dnnlib.atomic import atomic_write
from metrics.subject import Subject, Views
from training.cameras.camera import Camera
from training.cameras.orbit import angles_of, orbit
from training.pictures.depth import depth_pictures
from training.pictures.grid import tile, to_pictures

SCENES = 8
YAWS_DEG = (-60.0, -30.0, 0.0, 30.0, 60.0)
SCALE = 2
LABEL_PX = 14
MOST_BYTES = 300_000
COLOURS = (256, 128, 64, 32, 16)


def draw_sheet(path: Path, subjects: Mapping[str, Subject]) -> None:
    """Write a .png of at most about 300 kB: a labelled group per subject, a column per scene; rows: own view, yaw -60 ... 60, depth of the own view."""
    groups = [_group(label, subject) for label, subject in subjects.items()]
    width = max(group.shape[1] for group in groups)
    sheet = np.concatenate([np.pad(g, ((0, 0), (0, width - g.shape[1]), (0, 0)), constant_values=255) for g in groups])
    with atomic_write(path) as file:
        file.write(small_png(sheet))


def small_png(picture: np.ndarray) -> bytes:
    """A PNG of a picture uint8 [H, W, 3], with as many colours of a palette as fit into MOST_BYTES (at least COLOURS[-1])."""
    for colours in COLOURS:
        stream = io.BytesIO()
        Image.fromarray(picture).quantize(colours, dither=Image.Dither.NONE).save(stream, format='PNG', optimize=True)
        if stream.tell() <= MOST_BYTES:
            break
    return stream.getvalue()


def _group(label: str, subject: Subject) -> np.ndarray:
    own = subject.sample(0, SCENES)
    rows = [_pictures(own)]
    if subject.render is not None and own.camera is not None:
        rows += [_pictures(subject.render(0, SCENES, _from_yaw(own.camera, yaw))) for yaw in YAWS_DEG]
    if own.depth is not None:
        rows.append(depth_pictures(own.depth, own.opacity))
    side = own.image.shape[-1]
    shown = [row if row.shape[1] == side else _resized(row, side) for row in rows]
    grid = tile(np.concatenate(shown), SCENES, len(shown))
    grid = grid.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    title = Image.new('RGB', (grid.shape[1], LABEL_PX), 'white')
    ImageDraw.Draw(title).text((2, 1), label, fill='black')
    return np.concatenate([np.asarray(title), grid])


def _from_yaw(camera: Camera, yaw_deg: float) -> Camera:
    """Each camera moved along its circle of latitude to this yaw."""
    _, pitch, radius = angles_of(camera)
    return orbit(torch.full_like(pitch, math.radians(yaw_deg)), pitch, radius, focal=camera.intrinsics[:, 0, 0])


def _pictures(views: Views) -> np.ndarray:
    return to_pictures(views.image)


def _resized(pictures: np.ndarray, side: int) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)) for picture in pictures])
