"""How well likeness alone arranges photographs (training.tasks.likeness), where the truth is known: python -m experiments.likeness."""

import time

import click
import numpy as np
import torch

from dnnlib.errors import DataError, run_command
from metrics.pose_accuracy import pose_accuracy
from training.cameras.orbit import angles_of
from training.cameras.rig import Rig
from training.data.archive import open_dataset
from training.data.item import from_uint8
from training.data.toyworld.catalogue import CATALOGUE
from training.tasks.likeness import ring_of

COLUMNS = ('class', 'median error', '90 %', 'reversed', 'the law alone', 'agree on the sense', 'seconds')


@click.command()
@click.option('--count', type=click.IntRange(min=1), default=2500, show_default=True, help='Photographs of each class.')
@click.option('--background', default='white', show_default=True, help='Of the scenes (docs/data.md).')
@click.option('--poses', default='wide', show_default=True, help='Law of their cameras.')
@click.option('--seed', type=int, default=0, show_default=True)
@click.option('--debug', is_flag=True, expose_value=False, help='Show tracebacks.')
def main(count: int, background: str, poses: str, seed: int) -> None:
    """Print a table: for each class of the toy world, degrees between where likeness puts its pictures and the truth, after one offset.

    reversed: the same for the opposite sense of rotation. the law alone: for yaws given to the wrong pictures.
    """
    print(f'| {" | ".join(COLUMNS)} |\n|{"---|" * len(COLUMNS)}')
    for name in CATALOGUE:
        data = open_dataset(f'synthetic:{name}?poses={poses}&background={background}&resolution=32&count={count}&seed={seed}')
        image = from_uint8(torch.from_numpy(np.stack([data[i].image for i in range(count)])))
        cameras = data.world.cameras(range(count))
        true = angles_of(cameras)[0].double().numpy()
        start = time.monotonic()
        try:
            found = ring_of(image, Rig())
        except DataError as error:
            print(f'| {name} | {error} |' + ' |' * (len(COLUMNS) - 2))
            continue
        seconds = time.monotonic() - start
        yaw = found.yaw_rad.double().numpy()
        right, turned = pose_accuracy(yaw, true), pose_accuracy(-yaw, true)
        guessed = pose_accuracy(np.random.RandomState(0).permutation(yaw), true)
        print(
            f'| {name} | {right.median_deg:.0f} | {np.quantile(right.errors_deg, 0.9):.0f} | {turned.median_deg:.0f} | {guessed.median_deg:.0f} '
            f'| {found.sense_share:.0%} | {seconds:.1f} |',
            flush=True,
        )


if __name__ == '__main__':
    run_command(main)
