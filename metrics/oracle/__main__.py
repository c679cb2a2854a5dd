"""Oracles trained or loaded, how well they read, how far they differ: python -m metrics.oracle --seed 0 --seed 1."""

from dataclasses import replace
from pathlib import Path

import click
import torch
from torch import Tensor

from dnnlib.atomic import atomic_write
from dnnlib.errors import run_command
from metrics.oracle.damage import blurred
from metrics.oracle.quality import disagreement, score
from metrics.oracle.reading import Oracle
from metrics.oracle.recipe import HELD_OUT_SEED, PLAIN, OracleRecipe
from metrics.oracle.scenes import Scenes, draw_scenes
from metrics.oracle.train import train_oracle
from metrics.oracle.weights import file_name, load_oracle
from training.data.item import from_uint8

BLUR_PIXELS = 1.0
COLUMNS = (
    ('class', 'class_accuracy', 100, '{:.2f} %'),
    ('colour mode', 'mode_accuracy', 100, '{:.2f} %'),
    ('azimuth median', 'azimuth_median_deg', 1, '{:.2f}'),
    ('p90', 'azimuth_p90_deg', 1, '{:.1f}'),
    ('flips', 'azimuth_flips', 100, '{:.2f} %'),
    ('elevation median', 'elevation_median_deg', 1, '{:.2f}'),
    ('depth MAE', 'depth_mae', 1, '{:.4f}'),
    ('mask IoU', 'mask_iou', 1, '{:.3f}'),
)


@click.command(context_settings={'show_default': True})
@click.option('--seed', 'seeds', type=click.IntRange(min=0), multiple=True, default=(0,), help='Of the oracle; may be given several times.')
@click.option('--style', default=PLAIN.style, help='Style of the scenes.')
@click.option('--count', type=click.IntRange(min=2), default=2000, help='Held-out scenes per table row.')
@click.option('--dest', type=click.Path(path_type=Path, file_okay=False), help='Train anew, and write the weights files into this folder.')
@click.option('--per-class', is_flag=True, help='A row for each class as well.')
@click.option('--quiet', is_flag=True, help='No progress.')
def main(seeds: tuple[int, ...], style: str, count: int, dest: Path | None, per_class: bool, quiet: bool) -> None:
    """Trains or loads oracles; prints their quality on held-out scenes (angles in degrees, depth in world units) and their disagreement."""
    recipes = [replace(PLAIN, seed=seed, style=style) for seed in seeds]
    oracles = [load_oracle(recipe, quiet) if dest is None else _trained(recipe, dest, quiet) for recipe in recipes]
    for oracle in oracles:
        parameters, cost = oracle.header['parameters'], oracle.header['cpu_seconds']
        print(f'oracle {oracle.recipe.seed} ({style}): {parameters} parameters, trained in {cost:.0f} CPU s, SHA-256 {oracle.sha256}')
    kinds = (('white', 'wide'), ('env', 'wide'), ('white', 'uniform'))
    sets = {f'{background}, {law}': draw_scenes((background,), (law,), style, HELD_OUT_SEED, count, quiet) for background, law in kinds}
    pictures = {name: from_uint8(scenes.images) for name, scenes in sets.items()}
    blur = f'white, wide, blur {BLUR_PIXELS:g}'
    sets[blur], pictures[blur] = sets['white, wide'], blurred(pictures['white, wide'], torch.full((count,), BLUR_PIXELS))
    _print_quality(oracles, sets, pictures, per_class)
    _print_disagreement(oracles, pictures)


def _trained(recipe: OracleRecipe, folder: Path, quiet: bool) -> Oracle:
    content, path = train_oracle(recipe, quiet), folder / file_name(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content)
    return Oracle(content, str(path))


def _print_quality(oracles: list[Oracle], sets: dict[str, Scenes], pictures: dict[str, Tensor], per_class: bool) -> None:
    print('\n| oracle | scenes | ' + ' | '.join(title for title, *_ in COLUMNS) + ' |\n|' + '---|' * (len(COLUMNS) + 2))
    for oracle in oracles:
        for name, scenes in sets.items():
            result = score(oracle.read(pictures[name]), scenes)
            kinds = result['per_class'] if per_class else {}
            for title, numbers in ({name: result} | {f'{name}: {kind}': kinds[kind] for kind in kinds}).items():
                cells = [form.format(scale * numbers[key]) for _, key, scale, form in COLUMNS]
                print(f'| {oracle.recipe.seed} | {title} | ' + ' | '.join(cells) + ' |', flush=True)


def _print_disagreement(oracles: list[Oracle], pictures: dict[str, Tensor]) -> None:
    pairs = [(a, b) for i, a in enumerate(oracles) for b in oracles[i + 1 :]]
    if not pairs:
        return
    print('\n| oracles | scenes | other class | other mode | azimuth median | p90 | flips | elevation median | depth | mask IoU |')
    print('|' + '---|' * 10)
    for a, b in pairs:
        for name, images in pictures.items():
            d = disagreement(a, b, images)
            names = f'{d["class_disagreement"]:.2%} | {d["mode_disagreement"]:.2%}'
            azimuth = f'{d["azimuth_median_deg"]:.2f} | {d["azimuth_p90_deg"]:.1f} | {d["azimuth_flips"]:.2%}'
            rest = f'{d["elevation_median_deg"]:.2f} | {d["depth_mae"]:.4f} | {d["mask_iou"]:.3f}'
            print(f'| {a.recipe.seed}, {b.recipe.seed} | {name} | {names} | {azimuth} | {rest} |', flush=True)


if __name__ == '__main__':
    run_command(main)
