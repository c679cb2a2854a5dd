"""Draws the figures of docs/conventions.md with the project's own cameras and renderer: `python docs/draw_conventions.py`. Needs matplotlib."""

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Arc, Rectangle

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from training.cameras.camera import Camera
from training.cameras.convention import fov_to_focal
from training.cameras.orbit import orbit
from training.cameras.rays import rays
from training.rendering.planes import PLANE_AXES
from training.rendering.renderer import RenderingConfig, render
from training.rendering.reproject import project, unproject

FIGURES = Path(__file__).resolve().parent / 'figures'
RED, GREEN, BLUE, GREY, INK = '#d1495b', '#3a9e5c', '#2e6fb7', '#9aa0a6', '#30343a'
plt.rcParams.update({'font.size': 9, 'axes.titlesize': 10, 'figure.dpi': 110, 'text.color': INK, 'font.family': 'DejaVu Sans'})


def save(figure: plt.Figure, name: str) -> None:
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / name, bbox_inches='tight', pad_inches=0.08)
    plt.close(figure)


OBSERVER = orbit(math.radians(-38), math.radians(22), 9.0, (0.7, 0.42, 0.6), focal=2.6)  # who looks at the world in the first figure


def seen(point: torch.Tensor) -> tuple[float, float]:
    """Where the observer sees a world point, with v upwards as matplotlib has it."""
    u, v = project(OBSERVER, point.view(1, 1, 3))[0][0, 0].tolist()
    return u, 1 - v


def line(axes: plt.Axes, *points: torch.Tensor) -> None:
    axes.plot(*zip(*(seen(point) for point in points), strict=True), color=GREY, lw=0.9)


def arrow(axes: plt.Axes, start: torch.Tensor, step: torch.Tensor, colour: str, label: str, reach: float) -> None:
    tip = {'arrowstyle': '-|>', 'color': colour, 'lw': 1.8, 'shrinkA': 0, 'shrinkB': 0}
    axes.annotate('', seen(start + step), seen(start), arrowprops=tip)
    axes.text(*seen(start + reach * step), label, color=colour, ha='center', va='center', bbox={'fc': 'white', 'ec': 'none', 'pad': 0.6, 'alpha': 0.85})


def draw_camera(axes: plt.Axes, camera: Camera, depth: float) -> None:
    """The pyramid of the view, and the three axes of the camera."""
    corners = unproject(rays(camera, 2), torch.full((1, 4, 1), depth))[0]
    eye, middle = camera.origins[0], corners.mean(0)
    corners = middle + 2 * (corners - middle)  # pixel centres of a 2 x 2 image -> corners of the image
    for corner in corners:
        line(axes, eye, corner)
    line(axes, *corners[[0, 1, 3, 2, 0]])
    right, down, forward = camera.world_from_camera[0, :3, :3].unbind(-1)
    arrow(axes, eye, 0.6 * right, RED, 'x right', 1.2)
    arrow(axes, eye, 0.6 * down, GREEN, 'y down', 1.2)
    arrow(axes, eye, 0.75 * forward, BLUE, 'z forward', 1.25)


def draw_world_and_camera() -> None:
    figure = plt.figure(figsize=(8.6, 2.9))
    axes = figure.add_axes((0.0, 0.0, 0.46, 0.9))
    origin = torch.zeros(3)
    for vector, label in (((1.0, 0, 0), 'X'), ((0, 1.0, 0), 'Y up'), ((0, 0, 1.0), 'Z front')):
        arrow(axes, origin, 0.9 * torch.tensor(vector), INK, label, 1.14)
    draw_camera(axes, orbit(math.radians(48), math.radians(22), 2.5, focal=1.3), 0.95)
    axes.set(aspect='equal', title='the world and a camera', xlim=(0.16, 1.0), ylim=(0.22, 0.86))
    axes.set_axis_off()
    draw_angle(figure.add_axes((0.49, 0.0, 0.25, 0.9)), 'seen from above', 'X', 'Z front', 'yaw', 40.0, True)
    draw_angle(figure.add_axes((0.77, 0.0, 0.25, 0.9)), 'seen from the side', 'level', 'Y', 'pitch', 32.0, False)
    save(figure, 'conventions_frames.png')


def draw_angle(axes: plt.Axes, title: str, across: str, up: str, name: str, angle_deg: float, from_above: bool) -> None:
    """One flat view of where orbit(yaw, pitch) puts the camera. From above, front is drawn downwards, as on a plan seen by the viewer."""
    camera = orbit(math.radians(angle_deg), 0.0, 1.0, focal=1.0) if from_above else orbit(0.0, math.radians(angle_deg), 1.0, focal=1.0)
    x, y, z = camera.origins[0].tolist()
    position = (x, -z) if from_above else (z, y)
    front = -1.0 if from_above else 1.0
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color=GREY, lw=0.8, ls=':'))
    tip = {'arrowstyle': '-|>', 'color': INK, 'shrinkA': 0, 'shrinkB': 0}
    axes.annotate('', (1.32, 0), (0, 0), arrowprops=tip)
    axes.annotate('', (0, 1.32 * front), (0, 0), arrowprops=tip)
    axes.text(1.36, -0.08 if not from_above else 0.08, across, ha='right', va='top' if not from_above else 'bottom')
    axes.text(0.06, 1.3 * front, up, ha='left', va='center')
    axes.plot([0, position[0]], [0, position[1]], color=BLUE, lw=1.2)
    axes.plot(*position, 's', color=BLUE, ms=7)
    axes.annotate('', (0.72 * position[0], 0.72 * position[1]), position, arrowprops={'arrowstyle': '-|>', 'color': BLUE, 'lw': 2})
    start, stop = (-90, -90 + angle_deg) if from_above else (0, angle_deg)
    axes.add_patch(Arc((0, 0), 1.0, 1.0, theta1=start, theta2=stop, color=RED, lw=1.6))
    middle = math.radians((start + stop) / 2)
    axes.text(0.56 * math.cos(middle), 0.56 * math.sin(middle), name, color=RED, ha='left' if not from_above else 'center', va='top' if from_above else 'center')
    axes.set(xlim=(-1.1, 1.45), ylim=(-1.45, 1.1) if from_above else (-1.1, 1.45), aspect='equal', title=title)
    axes.set_axis_off()


def draw_pixels() -> None:
    figure, axes = plt.subplots(figsize=(4.6, 3.5))
    width, height = 4, 3
    for row in range(height):
        for column in range(width):
            axes.add_patch(Rectangle((column / width, row / height), 1 / width, 1 / height, fill=False, color=GREY, lw=0.8))
            axes.plot((column + 0.5) / width, (row + 0.5) / height, '.', color=BLUE, ms=6)
            axes.text((column + 0.5) / width, (row + 0.66) / height, str(row * width + column), color=GREY, ha='center', va='center', fontsize=8)
    axes.plot(0.5, 0.5, '+', color=RED, ms=12, mew=2)
    axes.text(0.515, 0.44, 'cx, cy = 0.5, 0.5', color=RED, ha='left', va='center', fontsize=8)
    axes.annotate('pixel (row 0, column 2)\nu = 2.5 / 4, v = 0.5 / 3', ((2.5) / 4, 0.5 / 3), (0.74, -0.14), color=BLUE, fontsize=8, ha='left', va='center',
                  arrowprops={'arrowstyle': '-', 'color': BLUE, 'lw': 0.8}, annotation_clip=False)
    axes.annotate('', (0.55, -0.07), (0, -0.07), arrowprops={'arrowstyle': '-|>', 'color': INK}, annotation_clip=False)
    axes.text(0.0, -0.14, 'u: 0 to 1, to the right', fontsize=9, va='center')
    axes.annotate('', (-0.05, 1), (-0.05, 0), arrowprops={'arrowstyle': '-|>', 'color': INK}, annotation_clip=False)
    axes.text(-0.1, 0.5, 'v: 0 to 1, downwards', rotation=90, ha='center', va='center')
    axes.set(xlim=(-0.02, 1.02), ylim=(1.02, -0.02), aspect=height / width)
    axes.set_axis_off()
    save(figure, 'conventions_pixels.png')


def draw_planes() -> None:
    """What each plane of both tables sees of the coloured axes."""
    names, colours = 'XYZ', (RED, GREEN, BLUE)
    figure, grid = plt.subplots(2, 3, figsize=(5.6, 3.9))
    for row, (name, table) in zip(grid, PLANE_AXES.items(), strict=True):
        for number, (axes, plane) in enumerate(zip(row, table, strict=True)):
            across, down = plane.argmax(-1).tolist()
            axes.add_patch(Rectangle((-1, -1), 2, 2, color='#f1f3f4'))
            for end, axis in (((1.0, 0.0), across), ((0.0, 1.0), down)):
                axes.annotate('', end, (0, 0), arrowprops={'arrowstyle': '-|>', 'color': colours[axis], 'lw': 2.2, 'shrinkA': 0, 'shrinkB': 0})
                axes.text(end[0] * 0.8 + 0.14 * end[1], end[1] * 0.8 + 0.24 * end[0], names[axis], color=colours[axis], ha='center', va='center', fontsize=11)
            axes.text(-0.92, -0.82, f'plane {number}', color=GREY, fontsize=8, va='center')
            axes.set(xlim=(-1.02, 1.02), ylim=(1.02, -1.02), aspect='equal')
            axes.set_axis_off()
        row[0].text(-1.2, 0, name, rotation=90, ha='center', va='center', fontsize=9, family='monospace')
    figure.subplots_adjust(wspace=0.04, hspace=0.06)
    save(figure, 'conventions_planes.png')


def toy(points: torch.Tensor, directions: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """A head that looks to +z, with one red ear on its left (+x), and a nose."""
    def inside(centre: tuple[float, float, float], size: tuple[float, float, float]) -> torch.Tensor:
        return 1 - ((points - points.new_tensor(centre)) / points.new_tensor(size)).norm(dim=-1, keepdim=True)

    parts = [
        (inside((0, 0, 0), (0.42, 0.5, 0.42)), (0.96, 0.82, 0.62)), (inside((0.34, 0.42, -0.05), (0.2, 0.2, 0.14)), (0.82, 0.29, 0.36)),
        (inside((0, -0.05, 0.46), (0.1, 0.12, 0.16)), (0.93, 0.6, 0.4)), (inside((0.16, 0.12, 0.38), (0.07, 0.09, 0.07)), (0.15, 0.25, 0.4)),
        (inside((-0.16, 0.12, 0.38), (0.07, 0.09, 0.07)), (0.15, 0.25, 0.4)),
    ]
    values = torch.cat([value for value, _ in parts], -1)
    colours = torch.tensor([colour for _, colour in parts])
    light = (0.75 + 0.25 * torch.nn.functional.normalize(points, dim=-1) @ torch.tensor([-0.3, 0.8, 0.5])).clamp(0, 1)
    # A detail counts where it reaches outside the head.
    nearest = torch.cat([values[..., :1], values[..., 1:] * 4], -1).argmax(-1)
    return 400 * values.amax(-1, keepdim=True) + 1, colours[nearest] * light[..., None]


def mirrored_toy(points: torch.Tensor, directions: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    return toy(points * torch.tensor([-1.0, 1.0, 1.0]))


@torch.no_grad()
def draw_mirror_and_depth() -> None:
    side = 128
    config = RenderingConfig(samples_coarse=64, samples_fine=64, box_side=1.4, background='white', depth_rule='median')
    camera = orbit(math.radians(35), math.radians(12), 2.7, focal=fov_to_focal(32.0))
    pictures = [
        ('scene, camera at yaw 35', render(toy, rays(camera, side), config)),
        ('same scene,\ncamera.mirrored() (yaw -35)', render(toy, rays(camera.mirrored(), side), config)),
        ('mirrored scene,\ncamera.mirrored()', render(mirrored_toy, rays(camera.mirrored(), side), config)),
    ]
    figure, grid = plt.subplots(1, 4, figsize=(8.6, 2.5))
    for axes, (title, rendered) in zip(grid, pictures, strict=False):
        axes.imshow(((rendered.features[0].view(side, side, 3) + 1) / 2).clamp(0, 1))
        axes.set_title(title, fontsize=8.5)
    first = pictures[0][1]
    depth = first.depth[0].view(side, side)
    depth = torch.where(first.opacity[0].view(side, side) > 0.5, depth, torch.nan)
    image = grid[3].imshow(depth, cmap='magma_r')
    grid[3].set_title('depth of the first\n(distance along the ray)', fontsize=8.5)
    bar = figure.colorbar(image, ax=grid.tolist(), fraction=0.012, pad=0.015)
    bar.ax.tick_params(labelsize=7)
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color('#d9dcdf')
    save(figure, 'conventions_mirror.png')


if __name__ == '__main__':
    draw_world_and_camera()
    draw_pixels()
    draw_planes()
    draw_mirror_and_depth()
