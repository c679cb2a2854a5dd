"""An experiment small enough for tests, its readers, and evidence that was made by hand."""

from collections.abc import Callable

import numpy as np

from experiments.experiment import Arm, Bar, Experiment
from metrics.evidence import Counts, Evidence, Readers
from metrics.features import PhotoFeatures
from metrics.oracle.reading import Oracle
from metrics.oracle.recipe import OracleRecipe
from metrics.oracle.train import train_oracle
from tests.training.tiny import SETTINGS

DATA = 'synthetic:car?poses=wide&background=white&resolution=16&count=40&seed='
COUNTS = Counts(images=24, shapes=24, pairs=12, novel=0)
EARLIER = Counts(images=20, shapes=20, pairs=6, novel=0)

TINY = Experiment(
    name='T',
    claim='Runs of seconds go through every step.',
    preset='demo',
    data=f'{DATA}3',
    held_out=f'{DATA}4',
    kimg=0.8,
    arms={
        'A': Arm('as it is'),
        'B': Arm(
            'flat pictures',
            ('generator.picture=flat', 'generator.conditions_on_camera=true', 'gan.camera_swap_final=0', 'gan.camera_swap_fade_kimg=0'),
        ),
    },
    bars=(Bar('A', 'finite', low=1.0), Bar('A', 'finite', high=0.5), Bar('A', 'thickness', low=0.1, against='B', relation='difference')),
    settings=tuple(
        [setting for setting in SETTINGS if not setting.startswith(('data.', 'loop.', 'metrics.'))]
        + ['discriminator.channels=(4,6),(8,6),(16,6)', 'loop.batch=16', 'loop.tick_kimg=0.08', 'loop.snapshot_ticks=5', 'monitors.every_kimg=0']
    ),
    columns=('coverage', 'class_accuracy', 'thickness', 'slope'),
    curves=('fd_photo', 'thickness'),
)


def tiny_readers() -> Readers:
    """The photo network, and an oracle that has hardly learned."""
    recipe = OracleRecipe(images=32, epochs=1, batch=16, width=4, num_features=8)
    return Readers(PhotoFeatures(), Oracle(train_oracle(recipe, quiet=True), 'tiny'))


def evidence(seed: int, *, rows: int = 60, right: float = 1.0, thickness: float = 0.3, **columns: np.ndarray) -> Evidence:
    """Evidence by hand: `right`: share of images of the class that was asked for (exact); thickness: its mean, spread .02; the rest is noise."""
    draw = np.random.default_rng(seed)
    asked = np.zeros(rows, dtype=np.int64)
    read = (np.arange(rows) >= round(right * rows)).astype(np.int64)
    images = {
        'photo': draw.normal(size=(rows, 6)), 'oracle': draw.normal(size=(rows, 4)), 'class': read, 'asked_class': asked,
        'finite': np.ones(rows, dtype=bool),
    }
    shapes = {'thickness': thickness + 0.02 * _centred(draw, rows)}
    return Evidence(images | columns, shapes, absent={'pairs': 'no pairs were asked for'})


def arms_of(make: Callable[[str, int], Evidence], arms: str, seeds: tuple[int, ...]) -> dict[tuple[str, int], Evidence]:
    """{(arm, seed): evidence} of every combination."""
    return {(arm, seed): make(arm, seed) for arm in arms for seed in seeds}


def _centred(draw: np.random.Generator, rows: int) -> np.ndarray:
    numbers = draw.normal(size=rows)
    return (numbers - numbers.mean()) / numbers.std()
