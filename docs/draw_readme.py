"""Draws the README's picture of a run: python docs/draw_readme.py --run runs/00000-demo --dest docs/figures/demo.png."""

import sys
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dnnlib.errors import run_command
from training.cameras.camera import Camera
from training.data.archive import open_dataset
from training.data.image_set import ImageSet
from training.pictures.depth import depth_pictures
from training.pictures.grid import save_picture, tile, to_pictures
from training.sampling import drawn_cameras, front_of, latents, look_at_scene, make_scene
from training.snapshot import load_generator

COLUMNS = 12
MARGIN_PX = 6
TITLE_PX = 16


@click.command()
@click.option('--run', required=True, help='Run folder or weights file.')
@click.option('--data', help='Data set of the first row; by default what the run was trained on.')
@click.option('--dest', required=True, type=click.Path(path_type=Path), help='Picture to write.')
@click.option('--zoom', default=2, help='Screen pixels per pixel.')
@click.option('--orbit-seed', default=0, help='Seed that is seen from all sides (or, without labelled cameras, from a fan of 60 degrees).')
@click.option('--reals/--no-reals', 'show_reals', default=True, help='Whether to show real pictures; photographs have owners.')
@torch.no_grad()
def main(run: str, data: str | None, dest: Path, zoom: int, orbit_seed: int, show_reals: bool) -> None:
    """Five strips: real pictures, generated ones, their depth, one scene from many sides, and its depth."""
    generator, snapshot = load_generator(run)
    reals = open_dataset(data or snapshot.config.data.path)
    num_classes = generator.config.num_classes
    chosen = torch.arange(COLUMNS) % num_classes if num_classes else None
    cameras = drawn_cameras(snapshot.cameras, range(COLUMNS))
    front = front_of(snapshot.cameras)
    output = look_at_scene(generator, make_scene(generator, latents(range(COLUMNS), generator.z_dim), chosen, front.camera()), cameras)
    turn = np.linspace(0, 360, COLUMNS, endpoint=False) if isinstance(snapshot.cameras, Camera) else np.linspace(-30, 30, COLUMNS)
    around = Camera.cat([replace(front, yaw_deg=float(yaw)).camera() for yaw in turn])
    z = latents([orbit_seed], generator.z_dim).expand(COLUMNS, -1)
    classes = None if chosen is None else chosen[:1].expand(COLUMNS)
    orbit = look_at_scene(generator, make_scene(generator, z, classes, front.camera()), around)
    strips = {'real': np.stack([reals[i].image.transpose(1, 2, 0) for i in real_rows(reals, chosen)])} if show_reals else {}
    strips |= {
        'generated': to_pictures(output.image),
        'depth': depth_pictures(output.depth, output.opacity),
        'one scene, seen from different sides': to_pictures(orbit.image),
        'its depth': depth_pictures(orbit.depth, orbit.opacity),
    }
    save_picture(dest, sheet(strips, zoom))


def real_rows(reals: ImageSet, chosen: torch.Tensor | None) -> list[int]:
    """Which real images to show: the first ones, or the first of each class."""
    if chosen is None:
        return list(range(COLUMNS))
    classes = reals.classes()
    return [int(np.flatnonzero(classes == wanted)[0]) for wanted in chosen.tolist()]


def sheet(strips: dict[str, np.ndarray], zoom: int) -> np.ndarray:
    """The strips, enlarged, one below the other, each under its title: uint8 [H, W, 3]."""
    rows = []
    for title, pictures in strips.items():
        strip = Image.fromarray(tile(pictures, len(pictures), 1))
        strip = strip.resize((strip.width * zoom, strip.height * zoom), Image.Resampling.LANCZOS)
        row = Image.new('RGB', (strip.width + 2 * MARGIN_PX, strip.height + TITLE_PX + MARGIN_PX), 'white')
        ImageDraw.Draw(row).text((MARGIN_PX, 1), title, fill='black')
        row.paste(strip, (MARGIN_PX, TITLE_PX))
        rows.append(np.asarray(row))
    return np.concatenate(rows)


if __name__ == '__main__':
    run_command(main)
